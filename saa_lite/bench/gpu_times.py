"""What is timed on a GPU: first calls, rates of the kernels, their company, launches, clocks."""

import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.bench.contenders import LAYOUTS
from saa_lite.bench.gpu_run import Place, Row, in_parallel
from saa_lite.bench.shapes import SHAPES, Shape
from saa_lite.nn import AdderConv2d
from saa_lite.ops import adder_conv2d, adder_conv2d_u8
from saa_lite.ops.adder_tiles import COST, Tile, choose_tile, tiles

BATCHES = (128, 32)
STEPS = ((128, True), (128, True), (80, True), (128, True), (500, False), (500, False), (16, False))
TURN = 10e-3  # seconds that are timed at once
DEPTHWISE = Shape("depthwise", 96, 96, 16, 3)
ROUNDS = 4000  # of the loops that measure instructions
Call = Callable[[], object]


def device(place: Place) -> Iterator[Row]:
    """What the shares are of."""
    if place.rehearsal:
        yield {"quantity": "device", "value": "none: a rehearsal in Triton's interpreter"}
        return
    found = torch.cuda.get_device_properties(place.device)
    yield {"quantity": "device", "value": found.name}
    yield {"quantity": "compute capability", "value": f"{found.major}.{found.minor}"}
    yield {"quantity": "multiprocessors", "value": found.multi_processor_count}
    yield {"quantity": "memory (GiB)", "value": round(found.total_memory / 2**30, 1)}
    yield {"quantity": "highest clock (GHz)", "value": _clock(place) / 1e9}
    yield {"quantity": "limit (T taps/s)", "value": round(limit(place) / 1e12, 2)}


def _clock(place: Place) -> float:
    """The highest in Hz; NaN where neither torch nor the driver's program knows it."""
    found = torch.cuda.get_device_properties(place.device)
    if kilohertz := getattr(found, "clock_rate", 0):  # not in every torch
        return float(kilohertz) * 1e3
    query = ("--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits", f"--id={found.uuid}")
    try:
        done = subprocess.run(
            ("nvidia-smi", *query), check=True, timeout=10, capture_output=True, text=True
        )
        return float(done.stdout) * 1e6
    except (OSError, subprocess.SubprocessError, ValueError):
        return float("nan")


def limit(place: Place) -> float:
    """Most |x − w| per second: two instructions each, of all lanes at the highest clock."""
    if place.rehearsal:
        return float("inf")
    found = torch.cuda.get_device_properties(place.device)
    lanes = 64 if (found.major, found.minor) == (8, 0) else 128
    return found.multi_processor_count * lanes * _clock(place) / 2


def first_calls(place: Place) -> Iterator[Row]:
    """Steps through ResNet-20's layers with nothing compiled: does a short batch make them wait?"""
    torch.manual_seed(0)
    model = _layers_of_resnet20(3 if place.rehearsal else 19)
    model = model.to(place.device).to(memory_format=torch.channels_last)
    for number, (batch, training) in enumerate(STEPS[:1] if place.rehearsal else STEPS):
        images = torch.randn(2 if place.rehearsal else batch, 3, 32, 32, device=place.device)
        model.train(training)
        seconds = _once(partial(_step, model, images, training), place)
        yield {
            "call": number + 1,
            "batch": len(images),
            "work": "training step" if training else "evaluation",
            "ms": 1e3 * seconds,
            "kernels compiled so far": _compiled(),
        }


def _layers_of_resnet20(count: int) -> nn.Module:
    """The first layers of an adder ResNet-20 one after another, without its shortcuts."""
    widths = [16] * 7 + [32] * 6 + [64] * 6
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for before, after in itertools.pairwise(widths[:count]):
        stride = 1 if before == after else 2
        layers += [AdderConv2d(before, after, 3, stride, padding=1), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _step(model: nn.Module, images: Tensor, training: bool) -> None:
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.set_grad_enabled(training):
        logits = model(images)
    if training:
        F.cross_entropy(logits, images.new_zeros(len(images), dtype=torch.long)).backward()


def _compiled() -> int:
    """Variants that this process has compiled or loaded; 0 in the interpreter."""
    from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton

    launched = (adder_triton.forward_kernel, adder_triton.input_gradient_kernel)
    caches = [getattr(kernel, "device_caches", {}) for kernel in launched]
    return sum(len(cache[0]) for by_device in caches for cache in by_device.values())


def forward_rates(place: Place) -> Iterator[Row]:
    """The forward kernel on the seven shapes, all tile sizes."""
    yield from _rates("forward", place)


def gradient_rates(place: Place) -> Iterator[Row]:
    """The kernel of the clipped input gradient on the seven shapes, all tile sizes."""
    yield from _rates("gradient", place)


def _rates(task: str, place: Place) -> Iterator[Row]:
    work = [
        (task, shape, batch, TM)
        for batch in ((1,) if place.rehearsal else BATCHES)
        for shape in _shapes(place)
        for TM in COST[task]
    ]
    for _ in in_parallel(_compile, [part for part in work if part[2] == work[0][2]], place):
        pass
    for part in work:
        shape, batch, tile = part[1], part[2], _tile(*part)
        call = _kernel_call(part, place)
        seconds = _on_device(call, place)
        rate = shape.distances / shape.batch * batch / seconds
        chosen = choose_tile(*_size(*part[:3]), _multiprocessors(place), task)
        yield {
            "shape": str(shape), "batch": batch, "pixels per thread": tile.TM,
            "chosen": tile == chosen, "us": 1e6 * seconds, "T taps/s": rate / 1e12,
            "of limit": rate / limit(place),
        }  # fmt: skip


def _shapes(place: Place) -> tuple[Shape, ...]:
    return (Shape("tiny", 4, 4, 3, 1),) if place.rehearsal else SHAPES


def _multiprocessors(place: Place) -> int:
    if place.rehearsal:
        return 1
    return torch.cuda.get_device_properties(place.device).multi_processor_count


def _size(task: str, shape: Shape, batch: int) -> tuple[int, int, int]:
    """Pixels, lanes and groups, as the kernels count them."""
    outputs = batch * (-(-shape.size // shape.stride)) ** 2
    if task == "forward":
        return outputs, shape.filters, 1
    return outputs * shape.stride**2, shape.channels, 1


def _tile(task: str, shape: Shape, batch: int, TM: int) -> Tile:
    lanes = _size(task, shape, batch)[1]
    return next(tile for tile in tiles(lanes, task) if tile.TM == TM)


def _kernel_call(part: tuple[str, Shape, int, int], place: Place) -> Call:
    from saa_lite.ops import adder_triton  # noqa: PLC0415 - imports Triton

    task, shape, batch, _ = part
    x, w = _tensors(shape, batch, place)
    stride, padding = shape.geometry
    geometry = (stride,) * 2, (padding,) * 2, (1, 1), 1
    if task == "forward":
        return lambda: adder_triton.forward(x, w, *geometry, tile=_tile(*part))
    grad = torch.randn_like(adder_triton.forward(x, w, *geometry))
    return lambda: adder_triton.input_gradient(grad, x, w, *geometry, "clip", tile=_tile(*part))


def _compile(part: tuple[str, Shape, int, int], place: Place) -> None:
    _kernel_call(part, place)()


def _tensors(shape: Shape, batch: int, place: Place, groups: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(place.device).manual_seed(0)
    size = (batch, shape.channels, shape.size, shape.size)
    x = torch.randn(size, generator=generator, device=place.device)
    kernel = (shape.filters, shape.channels // groups, shape.kernel, shape.kernel)
    w = torch.randn(kernel, generator=generator, device=place.device)
    return x.contiguous(memory_format=torch.channels_last), w


def company(place: Place) -> Iterator[Row]:
    """Layers as they are called: layouts, kinds of gradient, depthwise, bytes, and convolution."""
    batch = 2 if place.rehearsal else BATCHES[0]
    for shape in (*_shapes(place), DEPTHWISE):
        if place.rehearsal and shape is DEPTHWISE:
            continue
        groups = shape.channels if shape is DEPTHWISE else 1
        for name, (call, taps) in layer_calls(shape, batch, groups, place).items():
            yield {
                "shape": str(shape), "call": name, "batch": batch,
                "us": 1e6 * _seconds(call, place),
                "us without Python": None if "gradients" in name else 1e6 * _on_device(call, place),
                "taps": taps,
            }  # fmt: skip


def layer_calls(shape: Shape, batch: int, groups: int, place: Place) -> dict[str, tuple[Call, int]]:
    """Each with the number of |x − w|, or products, of its forward pass."""
    x, w = _tensors(shape, batch, place, groups)
    stride, padding = shape.geometry
    how = stride, padding, 1, groups
    taps = shape.distances // shape.batch * batch // groups
    small, codes = ((t * 40 + 128).clamp(0, 255).to(torch.uint8) for t in (x, w))
    calls: dict[str, Call] = {"uint8": partial(adder_conv2d_u8, small, codes, *how)}
    for name, layout in LAYOUTS.items():
        y = x.contiguous(memory_format=layout)
        v = w.contiguous(memory_format=layout)
        calls[f"adder, {name}"] = partial(adder_conv2d, y, w, *how)
        calls[f"convolution, {name}"] = partial(F.conv2d, y, v, None, *how)
        calls[f"adder with gradients, {name}"] = _with_gradients(adder_conv2d, y, w, how)
        convolution = partial(_convolution, F.conv2d)
        calls[f"convolution with gradients, {name}"] = _with_gradients(convolution, y, v, how)
    signs = {"weight_gradient": "sign", "input_gradient": "sign"}
    calls["adder with gradients, sign"] = _with_gradients(adder_conv2d, x, w, how, **signs)
    return {name: (call, taps) for name, call in calls.items()}


def _convolution(function: Any, x: Tensor, w: Tensor, *how: Any) -> Tensor:
    found: Tensor = function(x, w, None, *how)
    return found


def _with_gradients(function: Any, x: Tensor, w: Tensor, how: Any, **kinds: str) -> Call:
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    grad = torch.randn_like(function(x, w, *how, **kinds))
    return lambda: torch.autograd.grad(function(x, w, *how, **kinds), (x, w), grad)


def launches(place: Place) -> Iterator[Row]:
    """Kernels of one layer and of one training step, by torch's profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if not place.rehearsal:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    calls = layer_calls(_shapes(place)[0], 2 if place.rehearsal else BATCHES[0], 1, place)
    for name, (call, _) in calls.items():
        call()
        with torch.profiler.profile(activities=activities) as profile:
            call()
            _wait(place)
        kernels = [e.name for e in profile.events() if e.device_type.name == "CUDA"]
        copies = sum("copy" in kernel.lower() for kernel in kernels)
        yield {"call": name, "kernels": len(kernels), "of these copies": copies}


def clocks(place: Place) -> Iterator[Row]:
    """Rates of an fp32 addition and of vabsdiff4 from registers; the first tells the true clock."""
    from saa_lite.bench.gpu_clock import ADD, BYTES, run_instructions  # noqa: PLC0415 - Triton

    programs, rounds = (1, 1) if place.rehearsal else (16 * _multiprocessors(place), ROUNDS)
    rates = []
    for name, assembly in (("fp32 add", ADD), ("vabsdiff4", BYTES)):
        call = partial(run_instructions, programs, rounds, assembly, place.device)
        rates.append(call() / _seconds(call, place))
        yield {
            "instruction": name, "T/s": rates[-1] / 1e12,
            "of fp32 adds": rates[-1] / rates[0],
            "of their limit": rates[-1] / (2 * limit(place)),
        }  # fmt: skip


def _wait(place: Place) -> None:
    if not place.rehearsal:
        torch.cuda.synchronize()


def _once(call: Call, place: Place, times: int = 1) -> float:
    _wait(place)
    started = time.perf_counter()
    for _ in range(times):
        call()
    _wait(place)
    return (time.perf_counter() - started) / times


def _seconds(call: Call, place: Place) -> float:
    """Median seconds of a call among others of its kind, which may overlap on the device."""
    if place.rehearsal:
        return _once(call, place)
    fastest = min(_once(call, place) for _ in range(3))
    times = max(1, round(TURN / fastest))
    return statistics.median(_once(call, place, times) for _ in range(place.rounds))


def _on_device(call: Call, place: Place) -> float:
    """Seconds without Python's: by a CUDA graph of ten calls."""
    if place.rehearsal:
        return _once(call, place)
    _once(call, place, 3)
    graph, calls = torch.cuda.CUDAGraph(), 10
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    return _seconds(graph.replay, place) / calls
