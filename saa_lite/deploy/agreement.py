"""Whether C gives PyTorch's bits, over the whole grid: networks, operators, bits, processors.

The grid takes an hour or two, so each combination that is done is a line of a tracked file, and a
run goes on with those that have none, or whose line was made by other code. The networks are not
trained, which changes nothing about bits: their weights are drawn from a seed, their norms have
factors of either sign and the statistics of random images.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from saa_lite.deploy.emulate import Emulator
from saa_lite.deploy.graph import Graph
from saa_lite.deploy.host import HostNetwork, compiler_name
from saa_lite.deploy.lower import lower
from saa_lite.deploy.network import integer_network
from saa_lite.deploy.predict import predict_flash
from saa_lite.deploy.source import Source, write_source
from saa_lite.deploy.targets import HOST, TARGETS, link
from saa_lite.errors import RecordError
from saa_lite.files import PACKAGE, measured_dir, runs_dir, write_text
from saa_lite.locks import locked
from saa_lite.models import create_model
from saa_lite.provenance import provenance
from saa_lite.records.record import now

SIZES = {"lenet5_bn": 32, "resnet8": 16, "resnet20": 16, "mobilenet_v2_tiny": 16}
OPERATORS = ("adder", "shift", "binary")
BITS = range(2, 9)
EMULATED = ("resnet8", "lenet5_bn")  # at 4 bits
IMAGES = {"host": 1000, "emulated": 20}
BATCH = 50
CALIBRATION = 8
# What the C and the integer network depend on; a line made by other code is out of date.
MAKERS = ("arena", "functions", "graph", "kernels", "layers", "lower", "network", "pack", "source",
          "staircase", "text")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One combination."""

    network: str
    operator: str
    bits: int
    target: str

    def __str__(self) -> str:
        return f"{self.network}-{self.operator}-{self.bits}-{self.target}"

    @property
    def images(self) -> int:
        """How many are compared."""
        return IMAGES["host" if self.target == HOST else "emulated"]


@dataclass(frozen=True)
class Agreement:
    """What came of one combination.

    Attributes:
        case: the combination.
        size: rows and columns of the images.
        images: how many were compared.
        maps: of an image; every byte of each was compared, and so was its CRC.
        wrong: the first layer whose map is another one, by its name; None if there is none.
        ram, predicted_ram, flash, predicted_flash: bytes; flash only where it was linked.
        instructions: of the first image, where it was emulated.
        code: a hash of the modules that make the C and the integer network.
        source: a hash of the C.
    """

    case: Case
    size: int
    images: int
    maps: int
    wrong: str | None
    ram: int
    predicted_ram: int
    flash: int | None
    predicted_flash: int | None
    instructions: int | None
    code: str
    source: str
    device: str
    versions: dict[str, str]
    commit: str
    created: str

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "Agreement":
        """Undo :meth:`to_line`.

        Raises:
            ValueError, TypeError, KeyError: the line is not one.
        """
        value: dict[str, Any] = json.loads(line)
        return cls(**{**value, "case": Case(**value["case"])})


def cases() -> list[Case]:
    """The grid: small networks first, all bits of each."""
    here = [Case(name, conv, bits, HOST) for name in SIZES for conv in OPERATORS for bits in BITS]
    there = [Case(n, c, 4, target) for target in TARGETS for n in EMULATED for c in OPERATORS]
    return [*here, *there]


def agreements_path() -> Path:
    """The tracked file."""
    return measured_dir() / "deploy" / "agreements.jsonl"


def read_agreements() -> list[Agreement]:
    """The tracked lines, in the order of the grid; an absent file holds none.

    Raises:
        RecordError: a line cannot be read.
    """
    path = agreements_path()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = {}
    for number, line in enumerate(lines, 1):
        try:
            one = Agreement.from_line(line)
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
        found[one.case] = one
    return [found[case] for case in cases() if case in found]


@cache  # what this process has loaded, whatever is edited meanwhile
def code_hash() -> str:
    """Of the modules that make the C and the integer network, comments included."""
    texts = [(PACKAGE / "deploy" / f"{name}.py").read_bytes() for name in MAKERS]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def compare(wanted: Iterable[Case]) -> Iterator[Agreement]:
    """Each combination that the file does not hold, compared and written down."""
    code = code_hash()
    done = {one.case for one in read_agreements() if one.code == code}
    for case in wanted:
        if case not in done:
            found = compare_one(case)
            _keep(found)
            yield found


def compare_one(case: Case, images: int | None = None) -> Agreement:
    """One combination on that many random images, or on as many as the grid takes."""
    graph = sample_graph(case.network, case.operator, case.bits, SIZES[case.network])
    lanes = case.target != HOST and TARGETS[case.target].lanes
    source = write_source(graph, lanes=lanes)
    batches = _batches(images or case.images, SIZES[case.network])
    flash = instructions = None
    if case.target == HOST:
        wrong = _on_the_host(source, batches)
    else:
        wrong, flash, instructions = _emulated(source, case.target, batches)
    known = provenance()
    return Agreement(
        case,
        SIZES[case.network],
        images or case.images,
        sum(len(layer.outputs) for layer in graph.layers),
        wrong,
        source.arena.bytes,
        source.arena.predicted,
        flash,
        None if flash is None else predict_flash(source, case.target).total,
        instructions,
        code_hash(),
        hashlib.sha256((source.header + source.code).encode()).hexdigest()[:16],
        known["device"],
        {**known["versions"], "compiler": _compiler_of(case.target)},
        known["commit"] + ("+dirty" if known["dirty"] else ""),
        now(),
    )


def _compiler_of(target: str) -> str:
    return compiler_name() if target == HOST else f"ziglang {metadata.version('ziglang')}"


def _on_the_host(source: Source, batches: Iterable[Tensor]) -> str | None:
    host = HostNetwork(source)
    found = (host.first_difference(source.graph.expected(batch)) for batch in batches)
    return next((wrong for wrong in found if wrong), None)


def _emulated(
    source: Source, target: str, batches: Iterable[Tensor]
) -> tuple[str | None, int, int | None]:
    """The first layer that differs, bytes of flash, instructions of the first image."""
    image = link(source, target)
    emulator = Emulator(source, image)
    instructions = None
    for batch in batches:
        expected = source.graph.expected(batch)
        for number in range(len(batch)):
            run = emulator.run(expected[0][number])
            instructions = instructions or sum(run.instructions)
            if wrong := emulator.first_difference(run, expected, number):
                return wrong, image.flash, instructions
    return None, image.flash, instructions


def _keep(found: Agreement) -> None:
    """Put a line into the file, in place of an older one; in the order of the grid."""
    path = agreements_path()
    with locked(runs_dir() / "deploy"):
        lines = {one.case: one.to_line() for one in read_agreements()}
        lines[found.case] = found.to_line()
        write_text(path, "".join(f"{lines[case]}\n" for case in cases() if case in lines))


def _batches(count: int, size: int) -> Iterator[Tensor]:
    for seed, start in enumerate(range(0, count, BATCH), 1):
        yield sample_images(min(BATCH, count - start), size, seed=seed)


def sample_images(count: int, size: int = 16, channels: int = 3, seed: int = 0) -> Tensor:
    """Random images [N, C, size, size], as if normalised."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, size, size, generator=draw)


def sample_network(name: str, operator: str, size: int = 16) -> nn.Module:
    """A network of the registry; the generators of torch are left as they were."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        plain = create_model(name, conv=operator, small_input=name.startswith("mobilenet"))
        settle(plain, sample_images(CALIBRATION, size))
    return plain


def settle(network: nn.Module, given: Tensor) -> None:
    """Give norms factors of either sign and the statistics of ``given``, for evaluation."""
    for part in network.modules():
        if isinstance(part, _BatchNorm):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias, std=0.3)
    for _ in range(10):
        network.train()(given)
    network.eval()


def sample_graph(name: str, operator: str, bits: int = 4, size: int = 16) -> Graph:
    """Its graph for images of that size."""
    twin = integer_network(
        sample_network(name, operator, size), [sample_images(CALIBRATION, size)], bits=bits
    )
    return lower(twin, (3, size, size))
