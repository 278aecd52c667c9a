"""The adder operators inside torch: registration, compile, autocast, threads, forks, layers."""

import os
import subprocess
import sys

import pytest
import torch
from adder_samples import (
    ALL_LAYOUTS,
    KERNELS,
    KINDS,
    TOLERANCE,
    Case,
    error,
    expected,
    forced,
    upstream,
)
from adder_samples import results as run
from torch import Tensor

from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.ops import (
    _launch,
    adder_conv2d,
    adder_kernels,
    adder_linear,
    reference,
)

SPARSE = Case(3, 5, (6, 5), (3, 2), (2, 1), (1, 2), groups=2)
DENSE = Case(16, 9, (6, 9), (3, 3), padding=(1, 1), groups=2)
DEPTHWISE = Case(1, 1, (5, 5), (3, 3), padding=(1, 1), groups=4)
SAMPLES = {"sparse": SPARSE, "dense": DENSE, "depthwise": DEPTHWISE}
REGISTERED = ("contiguous", "channels_last", "transposed")
ROTATED = (*REGISTERED, *REGISTERED[1:], REGISTERED[0])  # one for each of the six kinds


@pytest.mark.parametrize("case", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize(("kinds", "layout"), [*zip(KINDS, ROTATED, strict=True)])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # opcheck's own
def test_registration(case, kinds, layout):
    x, w = case.tensors(torch.float32, layout)
    *geometry, groups = case.geometry
    rest = (*map(list, geometry), groups)
    grad = upstream(adder_conv2d(x, w, *case.geometry), layout)
    torch.library.opcheck(adder_kernels.input_gradient_operator, (grad, x, w, *rest, kinds[1]))
    torch.library.opcheck(adder_kernels.weight_gradient_operator, (grad, x, w, *rest, kinds[0]))
    torch.library.opcheck(
        adder_kernels.adder_operator, (x.requires_grad_(), w.requires_grad_(), *rest, *kinds)
    )


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
def test_fake_tensors_have_the_strides_of_real_ones(layout):
    x, w = DENSE.tensors(torch.float32, layout)
    fake = adder_conv2d(x.to("meta"), w.to("meta"), *DENSE.geometry)
    assert fake.stride() == adder_conv2d(x, w, *DENSE.geometry).stride()


@pytest.mark.parametrize("case", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize(("kinds", "dynamic"), [*zip(KINDS, [False, True] * 3, strict=True)])
def test_compiles_in_one_graph(case, kinds, dynamic):
    x, w = case.tensors(torch.float32)
    grad = upstream(adder_conv2d(x, w, *case.geometry), "contiguous")
    right = run(case, x, w, grad, kinds)
    x, w = x.requires_grad_(), w.requires_grad_()

    torch.compiler.reset()  # every parameter set compiles the same function anew

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=dynamic)
    def compiled(a: Tensor, b: Tensor) -> Tensor:
        return 2 * adder_conv2d(
            a, b, *case.geometry, weight_gradient=kinds[0], input_gradient=kinds[1]
        )

    y = compiled(x, w)
    got = (y.detach() / 2, *torch.autograd.grad(y, (x, w), grad / 2))
    assert all(torch.equal(a, b) for a, b in zip(got, right, strict=True))


def test_linear_compiles_too():
    x, w = torch.randn(2, 3, 8), torch.randn(9, 8)
    compiled = torch.compile(adder_linear, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, w), adder_linear(x, w))


@pytest.mark.parametrize("case", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(case, half):
    x, w = case.tensors(torch.float32)
    x, w = x.to(half).requires_grad_(), w.requires_grad_()
    with torch.autocast("cpu", half):
        y = adder_conv2d(x, w, *case.geometry)
    y.sum().backward()
    assert y.dtype == torch.float32
    assert torch.equal(y, adder_conv2d(x.float(), w, *case.geometry))
    assert x.grad is not None
    assert w.grad is not None
    assert (x.grad.dtype, w.grad.dtype) == (half, torch.float32)


def test_autocast_leaves_float64_alone_and_reaches_layers():
    x, w = DENSE.tensors(torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert adder_conv2d(x, w, *DENSE.geometry).dtype == torch.float64
        between = torch.nn.functional.linear(torch.ones(2, 4), torch.ones(3, 4))
        assert between.dtype == torch.bfloat16
        assert adder_linear(between, torch.ones(5, 3)).dtype == torch.float32
        layer = AdderConv2d(3, 4, 3, adaptive_lr="off")
        assert layer(torch.ones(1, 3, 5, 5).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("weight", ["int", "double", "to_complex", "to_meta", "list"])
def test_autocast_does_not_excuse_wrong_arguments(weight):
    x, w = DENSE.tensors(torch.float32)
    wrong = {
        "int": w.int(),
        "double": w.double(),
        "to_complex": w.to(torch.complex64),
        "to_meta": w.to("meta"),
        "list": w.tolist(),
    }[weight]
    kind = ValueError if weight == "to_meta" else TypeError
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(kind, match="adder_conv2d: "):
        adder_conv2d(x, wrong, *DENSE.geometry)


def test_second_derivatives_and_changed_tensors_are_refused():
    x, w = (t.requires_grad_() for t in DENSE.tensors(torch.float32))
    (dx,) = torch.autograd.grad(adder_conv2d(x, w, *DENSE.geometry).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives are not defined"):
        dx.sum().backward()
    y = adder_conv2d(x, w, *DENSE.geometry)
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("wanted", ["input", "weight"])
def test_only_the_gradients_asked_for_are_computed(wanted, monkeypatch):
    name = "weight_gradient" if wanted == "input" else "input_gradient"
    monkeypatch.setattr(adder_kernels, name, lambda *_: pytest.fail("not asked for"))
    x, w = DENSE.tensors(torch.float32)
    leaf = {"input": x, "weight": w}[wanted].requires_grad_()
    adder_conv2d(x, w, *DENSE.geometry).sum().backward()
    assert leaf.grad is not None


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [1, 5, 9])
@pytest.mark.parametrize("kinds", KINDS)
def test_thread_count_changes_no_bit(kernel, batch, kinds, monkeypatch):
    """Except in the ordinary convolution gradients behind "full", which are torch's."""
    monkeypatch.setattr(_launch, "SMALL_WORK", 0)
    case = Case(8, 9, (13, 10), (3, 3), (2, 1), (1, 1), groups=2, batch=batch)
    x, w = case.tensors(torch.float32)
    grad = upstream(adder_conv2d(x, w, *case.geometry), "contiguous")
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with forced(kernel):
                results.append(run(case, x, w, grad, kinds))
    finally:
        torch.set_num_threads(before)
    exact = (True, kinds[1] != "full", kinds[0] != "full")
    for one, two, same in zip(*results, exact, strict=True):
        assert torch.equal(one, two) or not same
    for two, right in zip(results[1], expected(case, x, w, grad, kinds), strict=True):
        assert error(two, right) <= TOLERANCE[torch.float32]


IMPORTS = """
import os, threading, torch
from saa_lite.ops import adder_conv2d
torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
x = torch.randn(4, 16, 9, 9, generator=generator)
w = torch.randn(16, 16, 3, 3, generator=generator)

def work(x=x, kinds=("full", "clip")):
    a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = adder_conv2d(a, b, 1, 1, weight_gradient=kinds[0], input_gradient=kinds[1])
    return y.detach(), *torch.autograd.grad(y, (a, b), torch.ones_like(y))

def same(left, right):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(left, right))
"""

TWO_THREADS = """
kinds = ("sign", "clip"), ("full", "sign")
expected, good = [work(kinds=k) for k in kinds], []

def repeat(i):
    torch.set_num_threads(2)
    good.extend(same(work(kinds=kinds[i]), expected[i]) for _ in range(30))

workers = [threading.Thread(target=repeat, args=(i,)) for i in (0, 1)]
[worker.start() for worker in workers]
[worker.join(60) for worker in workers]
raise SystemExit(0 if len(good) == 60 and all(good) else 3)
"""

FORK = """
expected = work()
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # torch's own pool does not survive a fork either
    os._exit(0 if same(work(), expected) else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

LOADER = """
class Distances(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return work(x[i : i + 1])[0][0]

expected = work()[0]
loader = torch.utils.data.DataLoader(
    Distances(), batch_size=2, num_workers=2, multiprocessing_context="fork"
)
got = torch.cat(list(loader))
again = work()[0]  # and the parent goes on in parallel
raise SystemExit(0 if same([got, again], [expected, expected]) else 3)
"""


def run_script(body: str, **environment: str) -> None:
    """In a process of its own, where an abort or a hang fails this test alone."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS + body]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"NUMBA_NUM_THREADS": "2"} | environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_two_python_threads_at_once(layer):
    """Numba's workqueue aborts the process on concurrent launches; ours take turns."""
    run_script(TWO_THREADS, NUMBA_THREADING_LAYER=layer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_children_compute_after_a_parallel_kernel():
    run_script(FORK + LOADER)


@pytest.mark.parametrize("case", [SPARSE, DENSE], ids=["sparse", "dense"])
def test_the_layer_is_the_operator_plus_bias(case):
    x, w = case.tensors(torch.float32)
    *geometry, groups = case.geometry
    filters = case.filters * groups
    layer = AdderConv2d(x.shape[1], filters, case.kernel, *geometry, groups, adaptive_lr="off")
    with torch.no_grad():
        layer.weight.copy_(w)
        layer.bias.copy_(torch.arange(filters))
    right = reference.adder_conv2d(x, w, *case.geometry) + torch.arange(filters)[:, None, None]
    assert error(layer(x), right) <= TOLERANCE[torch.float32]
    assert torch.equal(layer(x[0]), layer(x[:1])[0])  # [C, H, W], as nn.Conv2d takes it
    layer(x[0].requires_grad_()).sum().backward()
    assert layer.weight.grad.shape == w.shape


def test_the_linear_layer_takes_any_leading_axes():
    layer = AdderLinear(6, 4, adaptive_lr="off")
    x = torch.randn(2, 3, 5, 6)
    assert layer(x).shape == (2, 3, 5, 4)
    assert torch.equal(layer(x[0, 0, 0]), layer(x)[0, 0, 0])


@pytest.mark.gpu
@pytest.mark.parametrize("case", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_gpu_agrees(case, kinds, dtype, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    x, w = case.tensors(dtype)
    grad = upstream(adder_conv2d(x, w, *case.geometry), "contiguous")
    got = run(case, x.cuda(), w.cuda(), grad.cuda(), kinds)
    for a, b in zip(got, expected(case, x, w, grad, kinds), strict=True):
        assert a.is_cuda
        assert error(a.cpu(), b) <= TOLERANCE[dtype]
