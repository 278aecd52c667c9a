"""``export()``: a trained network and some images in, a folder of C and a report out.

What can be checked here is checked: by the C compiler of this machine, by the linker for RV32I, in
the emulator. What cannot be, for want of a tool, the report and the README of the folder say so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from saa_lite.deploy.emulate import Emulator
from saa_lite.deploy.golden import CHECK, golden
from saa_lite.deploy.host import HostNetwork, compiler
from saa_lite.deploy.lower import lower
from saa_lite.deploy.network import integer_network
from saa_lite.deploy.predict import predict_flash
from saa_lite.deploy.source import Source, input_codes, write_source
from saa_lite.deploy.targets import (
    HOST,
    TARGETS,
    Image,
    MultiplicationError,
    link,
    missing_tools,
)
from saa_lite.errors import UsageError, check_choice
from saa_lite.files import check_writable, write_text

GOLDEN_IMAGES = 8


@dataclass(frozen=True)
class LayerReport:
    """One layer. Bytes that only a link tells are None without it, instructions without a run.

    Attributes:
        weights, thresholds, code: bytes of flash.
        predicted: bytes of flash by :mod:`saa_lite.deploy.predict`.
        held: bytes of the arena that are needed while it runs.
        instructions: of one image.
        multiplications: of one image, in the inner loops.
    """

    name: str
    kind: str
    weights: int
    thresholds: int
    code: int | None
    predicted: int
    held: int
    instructions: int | None
    multiplications: int

    def as_row(self) -> dict[str, Any]:
        """For a table or JSON."""
        return {
            "layer": self.name,
            "kind": self.kind,
            "weights": self.weights,
            "thresholds": self.thresholds,
            "code": self.code,
            "predicted": self.predicted,
            "RAM held": self.held,
            "instructions": self.instructions,
        }


@dataclass(frozen=True)
class Report:
    """What came of an export.

    Attributes:
        flash, ram: bytes as linked for the target; None for the host or without the extra.
        predicted_flash: by :mod:`saa_lite.deploy.predict`; ``predicted_ram`` by the liveness of
            ``costs``.
        inner: multiplications of one image in the inner loops.
        proof: what is known about multiplications in the program.
        checks: what was compared, and what could not be.
    """

    target: str
    layers: tuple[LayerReport, ...]
    flash: int | None
    ram: int | None
    predicted_flash: int
    predicted_ram: int
    inner: int
    proof: str
    checks: tuple[str, ...]


def export(
    network: nn.Module,
    calibration_batches: Iterable[Any],
    images: Tensor,
    folder: Path | str,
    *,
    bits: int = 4,
    target: str = HOST,
    multiply: bool = False,
) -> Report:
    """Write ``net.h``, ``net.c``, ``golden.h``, ``check.c``, ``Makefile`` and ``README.md``.

    Args:
        network, calibration_batches, bits: of :func:`~saa_lite.deploy.integer_network`.
        images: normalised [N, C, H, W]; the first eight go into ``golden.h``.
        folder: is made; files of these names in it are replaced.
        target: ``"host"``, ``"rv32i"``, ``"cortex-m0"``, ``"cortex-m4"`` or ``"cortex-m7"``.
        multiply: leave the layers that multiply their multiplications, as a baseline.

    Raises:
        UsageError: what :func:`~saa_lite.deploy.integer_network` and
            :func:`~saa_lite.deploy.lower` refuse, an unknown target, no image, or a layer whose
            C does not give the bits of PyTorch. Nothing has been written then.
    """
    check_choice("target", target, (HOST, *TARGETS))
    if len(images) == 0:
        raise UsageError("images must hold at least one image; got none")
    place = Path(folder)
    check_writable(place)
    twin = integer_network(network, calibration_batches, bits=bits)
    graph = lower(twin, images.shape[1:])
    lanes = target != HOST and TARGETS[target].lanes
    source = write_source(graph, lanes=lanes, multiply=multiply)
    expected = graph.expected(images[:GOLDEN_IMAGES])
    checks = [_on_the_host(source, expected)]
    image, instructions, said = _on_the_target(source, target, expected, multiply)
    checks += said
    report = _report(source, target, image, instructions, _proof(source), tuple(checks))
    texts = {
        "net.h": source.header,
        "net.c": source.code,
        "golden.h": golden(source, expected),
        "check.c": CHECK,
        "Makefile": MAKEFILE,
        "README.md": _readme(source, report),
    }
    for name, text in texts.items():
        write_text(place / name, text)
    return report


def _on_the_host(source: Source, expected: dict[int, Any]) -> str:
    if compiler() is None:
        return "not compared on this machine, as there is no C compiler"
    if wrong := HostNetwork(source).first_difference(expected):
        raise UsageError(f"layer {wrong!r} gives other bits in C on this machine than in PyTorch")
    return f"every layer of {len(expected[0])} images gives the bits of PyTorch on this machine"


def _on_the_target(
    source: Source, target: str, expected: dict[int, Any], multiply: bool
) -> tuple[Image | None, tuple[int, ...] | None, list[str]]:
    """The linked image, instructions per layer, and what was compared."""
    if target == HOST:
        return None, None, []
    if missing := missing_tools():
        names = " and ".join(missing)
        return None, None, [f"not linked and not run for {target}, as {names} is not installed"]
    image = link(source, target, lend_multiplication=multiply)
    emulator = Emulator(source, image)
    run = emulator.run(expected[0][0])
    if wrong := emulator.first_difference(run, expected, 0):
        raise UsageError(f"layer {wrong!r} gives other bits on {target} than in PyTorch")
    said = f"every layer of one image gives the bits of PyTorch on {target}, emulated"
    return image, run.instructions, [said]


def _proof(source: Source) -> str:
    if missing_tools():
        return "not proved, as the extra deploy is not installed"
    try:
        link(source, "rv32i")
    except MultiplicationError as error:
        return str(error)
    return "0: it links for RV32I, which has no multiplication, without any library"


def _report(
    source: Source,
    target: str,
    image: Image | None,
    instructions: tuple[int, ...] | None,
    proof: str,
    checks: tuple[str, ...],
) -> Report:
    predicted = predict_flash(source, target)
    layers = tuple(
        LayerReport(
            layer.name,
            layer.kind,
            function.weights,
            function.thresholds,
            image.symbols[function.symbol][1] if image else None,
            predicted.layers[index],
            source.arena.held[index],
            instructions[index] if instructions else None,
            function.multiplications,
        )
        for index, (layer, function) in enumerate(
            zip(source.graph.layers, source.functions, strict=True)
        )
    )
    return Report(
        target,
        layers,
        image.flash if image else None,
        image.ram if image else None,
        predicted.total,
        source.arena.predicted,
        source.multiplications,
        proof,
        checks,
    )


MAKEFILE = """\
# make check: on this machine, with the sanitizers. make proof: linked for RV32I without a library.
CC ?= cc
FLAGS := -std=c99 -O2 -Wall -Wextra -Werror
RISCV ?= python3 -m ziglang cc -target riscv32-freestanding-none -mcpu=generic_rv32

.PHONY: check proof

check:
\t$(CC) $(FLAGS) -fsanitize=undefined,address -o check net.c check.c
\t./check

proof:
\t$(RISCV) $(FLAGS) -ffreestanding -fno-builtin -fno-sanitize=all -nostdlib -static \\
\t\t-Wl,--entry=net_run net.c -o net.elf
"""


def _readme(source: Source, report: Report) -> str:
    arena, graph = source.arena, source.graph
    given, logits = graph.input, graph.logits
    flash = f"{report.flash} bytes" if report.flash is not None else "known when linked"
    rows = [
        f"| {n.name} | {n.kind} | {n.weights} | {n.thresholds} | {n.held} |" for n in report.layers
    ]
    lines = [
        "# An exported network",
        "",
        f"`net.c` and `net.h` are C99 for any processor, here for {report.target}: freestanding, "
        "no heap, no library",
        "(beside `memset` and `memcpy`, which compilers may call on their own).",
        "",
        f"Put {given.rows} x {given.columns} x {given.channels} codes (channels last) into "
        "`NET_INPUT`, call `net_run()`,",
        f"read {logits.channels} codes from `NET_LOGITS`; the greatest is the class. An input",
        f"code is {' '.join(input_codes(given).split())}.",
        "",
        f"- RAM: {arena.bytes} bytes, one static array. Predicted: {arena.predicted}.",
        f"- Flash: {flash}. Predicted: {report.predicted_flash}.",
        f"- Multiplications in inner loops, per image: {report.inner}.",
        f"- Multiplications in the program: {report.proof}.",
        *(f"- Compared: {said}." for said in report.checks),
        "",
        "`make check` runs the images of `golden.h` and names the first layer that differs; "
        "`make proof` links for RV32I.",
        "",
        "| layer | kind | weights, bytes | thresholds, bytes | RAM held, bytes |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)
