"""The exported target: the same bits, nothing else, and no need for the augment package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from augment_samples import KINDS, READINGS, TARGETS, images, model, target, warm_up
from torch import nn

from saa_lite.augment import AugmentConfig, Mutation, augment, export
from saa_lite.errors import UsageError
from saa_lite.models import create_model
from saa_lite.nn import AdderConv2d, ShiftConv2d
from saa_lite.ops.shift import shift_codes
from saa_lite.train import save_checkpoint

# Narrow enough to be quick, wide enough for every kind of block.
NARROW = {"width": (1.0, 1.25), "expand": (1.0, 1.25)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TARGETS)
def test_bits_and_size_of_every_target(name: str, kind: str) -> None:
    plain = target(name, kind)
    wide = augment(plain, AugmentConfig(depth=1, **NARROW))
    wide.train()
    with torch.no_grad(), wide.configured(wide.largest):
        wide(images(8, 32))
    wide.eval()
    alone = export(wide).eval()
    x = images(2, 32)
    with torch.no_grad():
        assert torch.equal(alone(x), wide(x))
    assert type(alone) is type(plain)
    shapes = {k: v.shape for k, v in alone.state_dict().items()}
    assert shapes == {k: v.shape for k, v in plain.state_dict().items()}
    assert [type(m) for m in alone.modules()] == [type(m) for m in plain.modules()]
    assert not any(p.requires_grad for p in alone.parameters())
    fresh = create_model(name, 4, kind, small_input=True)
    fresh.load_state_dict(alone.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh.eval()(x), wide(x))


@pytest.mark.parametrize("remap", [None, "analytic"])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", ["shift", "adder"])
def test_bits_of_every_reading(kind: str, reading: str, remap: str | None) -> None:
    wide = model(kind, reading=reading, remap=remap)
    warm_up(wide)
    alone = export(wide).eval()
    with torch.no_grad():
        assert torch.equal(alone(images()), wide(images()))
    layers = [m for m in alone.modules() if isinstance(m, (AdderConv2d, ShiftConv2d))]
    assert len(layers) == 8
    for layer in layers:
        if kind == "shift":
            shift_codes(layer.weight)  # raises unless every weight is 0 or ±2^p
        else:
            assert layer.adaptive_lr == "step"
    multiplicative = [n for n, m in alone.named_modules() if type(m) is nn.Conv2d]
    assert multiplicative == ["conv1", "classifier.conv"]


@pytest.mark.parametrize("reading", READINGS[1:])
@pytest.mark.parametrize("kind", ["shift", "adder"])
@pytest.mark.parametrize("name", TARGETS)
def test_bits_of_every_target_in_the_other_readings(name: str, kind: str, reading: str) -> None:
    wide = augment(target(name, kind), AugmentConfig(reading=reading, remap="analytic", **NARROW))
    wide.train()
    with torch.no_grad(), wide.configured(wide.largest):
        wide(images(4, 32))
    wide.eval()
    with torch.no_grad():
        assert torch.equal(export(wide).eval()(images(2, 32)), wide(images(2, 32)))


def test_export_leaves_the_model_alone() -> None:
    wide = model("adder", remap="analytic")
    before = {k: v.clone() for k, v in wide.state_dict().items()}
    warmed = export(wide)
    warmed.conv1.weight.data.zero_()
    assert all(torch.equal(v, before[k]) for k, v in wide.state_dict().items())


def test_unfinished_mutation_is_refused() -> None:
    wide = model("adder", mutation=Mutation(start=0, blend=1))
    with pytest.raises(UsageError, match="every block must have mutated"):
        export(wide)
    wide.set_epoch(0)
    with pytest.raises(UsageError, match=r"0\.5"):
        export(wide)
    wide.set_epoch(1)
    warm_up(wide)
    with torch.no_grad():
        assert torch.equal(export(wide).eval()(images()), wide(images()))


def test_file_as_large_as_the_target_alone(tmp_path: Path) -> None:
    plain = target("resnet20", "shift")
    alone = export(augment(plain, AugmentConfig(remap="shift")))
    sizes = [
        save_checkpoint(tmp_path / str(i), m).stat().st_size for i, m in ((0, plain), (1, alone))
    ]
    assert sizes[0] == sizes[1]


LOAD = """
import sys
sys.modules["saa_lite.augment"] = None
import torch
from saa_lite.models import create_model
from saa_lite.train import load_checkpoint
model = create_model("mobilenet_v2_w035", 4, "shift", small_input=True)
load_checkpoint(sys.argv[1], model)
print(repr(model.eval()(torch.ones(1, 3, 32, 32)).tolist()))
assert not any(name.startswith("saa_lite.augment.") for name in sys.modules)
try:
    import saa_lite.augment
except ImportError:
    print("blocked")
"""


def test_loads_without_the_augment_package(tmp_path: Path) -> None:
    wide = augment(target("mobilenet_v2_w035", "shift"), AugmentConfig(**NARROW)).eval()
    save_checkpoint(tmp_path, export(wide))
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    with torch.no_grad():
        expected = repr(wide(torch.ones(1, 3, 32, 32)).tolist())
    assert child.stdout.splitlines() == [expected, "blocked"]
