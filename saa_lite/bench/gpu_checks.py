"""What must hold on a GPU: results against the oracle, and torch's ways of calling an operator."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saa_lite.bench.gpu_cases import (
    BOUND,
    ONE,
    Case,
    byte_difference,
    cases,
    difference,
    differences,
    edge_cases,
    operands,
)
from saa_lite.bench.gpu_run import Place, Row, in_parallel
from saa_lite.ops import adder_conv2d, reference
from saa_lite.ops.adder import INPUT_GRADIENTS, WEIGHT_GRADIENTS

LAYERS = (  # images, filters, groups
    ((4, 16, 32, 32), (16, 16, 3, 3), 1),
    ((4, 96, 16, 16), (16, 96, 1, 1), 1),
    ((4, 40, 9, 7), (24, 20, 3, 3), 2),
    ((4, 24, 9, 7), (24, 1, 3, 3), 24),
)
THROUGH_AUTOGRAD = 1e-5  # of the largest number: cuDNN's sums are longer than the kernels'
REPEATS = 5
FAR = (37, 64, 1000, 1000)  # 2.4e9 numbers: more than 32 bits can count
FAR_BYTES = 14 << 30


def kernels(place: Place) -> Iterator[Row]:
    """Every axis of the kernels against the oracle, the cases of the tests."""
    yield from in_parallel(compare, cases()[:: 20 if place.rehearsal else 1], place)


def edges(place: Place) -> Iterator[Row]:
    """One-pixel maps, layouts and odd offsets against the oracle."""
    yield from in_parallel(compare, edge_cases()[:: 6 if place.rehearsal else 1], place)


def compare(case: Case, place: Place) -> Row:
    """The largest difference of one case, and of which kernel."""
    found = differences(case, place.device)
    if not case.bad:
        found["bytes"] = byte_difference(case, place.device)
    kernel = max(found, key=lambda name: found[name])
    return _row(case.name, found[kernel], BOUND, kernel=kernel)


def _row(check: str, found: float, bound: float, **more: object) -> Row:
    return {"check": check, "difference": found, "bound": bound, "holds": found <= bound, **more}


def operator(place: Place) -> Iterator[Row]:
    """Through autograd with all kinds of gradients, against the oracle."""
    kinds = itertools.product(WEIGHT_GRADIENTS, INPUT_GRADIENTS)
    for (of_weight, of_input), layer in itertools.product(kinds, LAYERS):
        case = _case(layer)
        x, w, grad = operands(case, place.device)
        chosen = {"weight_gradient": of_weight, "input_gradient": of_input}
        y, dx, dw = with_gradients(x, w, grad, case, **chosen)
        host = (x.cpu().double(), w.cpu().double(), *case.geometry, case.groups)
        upstream = grad.cpu().double()
        wanted = (
            reference.adder_conv2d(*host),
            reference.adder_input_gradient(upstream, *host, of_input),
            reference.adder_weight_gradient(upstream, *host, of_weight),
        )
        worst = max(map(difference, (y, dx, dw), wanted))
        name = f"{_name(case)}, {of_weight} and {of_input}"
        yield _row(name, worst, THROUGH_AUTOGRAD)
        if place.rehearsal:
            return


def _case(layer: tuple[Any, Any, int]) -> Case:
    shape, weight, groups = layer
    return Case(shape, weight, (ONE, (weight[2] // 2,) * 2, ONE), groups)


def _name(case: Case) -> str:
    return f"{list(case.shape)} with {list(case.weight)}, groups {case.groups}"


def with_gradients(
    x: Tensor, w: Tensor, grad: Tensor, case: Case, call: Any = adder_conv2d, **kinds: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, input gradient and weight gradient."""
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = call(x, w, *case.geometry, case.groups, **kinds)
    return (y.detach(), *torch.autograd.grad(y, (x, w), grad))


def repeats(place: Place) -> Iterator[Row]:
    """The same bits five times, and on another stream."""
    for layer, of_weight in itertools.product(LAYERS, WEIGHT_GRADIENTS):
        case = _case(layer)
        given = operands(case, place.device)
        first = with_gradients(*given, case, weight_gradient=of_weight)
        again = [
            with_gradients(*given, case, weight_gradient=of_weight) for _ in range(REPEATS - 1)
        ]
        names = ("output", "input gradient", f"{of_weight} weight gradient")
        for name, wanted, *found in zip(names, first, *again, strict=True):
            same = all(torch.equal(wanted, other) for other in found)
            row: Row = {"check": f"{_name(case)}: {name} {REPEATS} times", "equal": same}
            # cuDNN makes the full weight gradient, and promises no order unless asked for one.
            yield row if name == "full weight gradient" else {**row, "holds": same}
        if not place.rehearsal:
            yield _on_another_stream(given, case, first[0])


def _on_another_stream(given: tuple[Tensor, Tensor, Tensor], case: Case, wanted: Tensor) -> Row:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = with_gradients(given[0] * 1, *given[1:], case)[0]
    torch.cuda.current_stream().wait_stream(stream)
    same = torch.equal(found, wanted)
    return {"check": f"{_name(case)}: output on another stream", "equal": same, "holds": same}


def graph(place: Place) -> Iterator[Row]:
    """A CUDA graph, warmed up as torch says, replayed with other numbers."""
    if place.rehearsal:
        return
    for layer in LAYERS:
        case = _case(layer)
        x, w, grad = operands(case, place.device)
        with_gradients(x, w, grad, case)  # compiles and loads, which a capture forbids
        torch.cuda.synchronize()
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            found = with_gradients(x, w, grad, case)
        x.copy_(torch.randn_like(x))
        captured.replay()
        wanted = with_gradients(x, w, grad, case)
        worst = max(map(difference, found, wanted))
        yield _row(f"{_name(case)}: captured", worst, THROUGH_AUTOGRAD)


def compiled(place: Place) -> Iterator[Row]:
    """torch.compile without a break in the graph, forward and backward."""
    backend = "aot_eager" if place.rehearsal else "inductor"
    call = torch.compile(adder_conv2d, fullgraph=True, backend=backend, dynamic=False)
    for layer in LAYERS[:1] if place.rehearsal else LAYERS:
        case = _case(layer)
        given = operands(case, place.device)
        found = with_gradients(*given, case, call)
        worst = max(map(difference, found, with_gradients(*given, case)))
        yield _row(f"{_name(case)}: compiled", worst, THROUGH_AUTOGRAD)


def dtypes(place: Place) -> Iterator[Row]:
    """Half precision under autocast, double precision, and batches without images."""
    case = _case(LAYERS[0])
    x, w, grad = operands(case, place.device)
    wanted = with_gradients(x.half().float(), w, grad, case)[0]
    with torch.autocast(x.device.type, torch.bfloat16):
        found = adder_conv2d(x.half(), w, *case.geometry)
    yield _row("autocast computes in float32", difference(found, wanted), BOUND)
    double = with_gradients(x.double(), w.double(), grad.double(), case)
    worst = max(map(difference, with_gradients(x, w, grad, case), double))
    yield _row("float64, by torch's operations", worst, THROUGH_AUTOGRAD)
    y, dx, dw = with_gradients(x[:0], w, grad[:0], case)
    right = (y.numel(), dx.numel(), float(dw.abs().sum())) == (0, 0, 0.0)
    yield {"check": "an empty batch", "holds": right}


def far(place: Place) -> Iterator[Row]:
    """Addresses beyond 32 bits: the last image comes out as if it stood alone."""
    if place.rehearsal or torch.cuda.mem_get_info()[0] < FAR_BYTES:
        yield {"check": "addresses beyond 32 bits", "skipped": "needs 14 GiB of free GPU memory"}
        return
    images = torch.empty(FAR, device=place.device, memory_format=torch.channels_last).zero_()
    images[-1] = torch.randn_like(images[-1])
    w = torch.randn(16, FAR[1], 1, 1, device=place.device)
    same = torch.equal(adder_conv2d(images, w)[-1:], adder_conv2d(images[-1:], w))
    yield {"check": "addresses beyond 32 bits", "equal": same, "holds": same}
