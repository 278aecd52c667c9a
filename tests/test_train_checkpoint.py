"""Checkpoint files: missing, of another run, and what they hold."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from train_samples import CONFIG, LAST, make_model, make_set, stop_after, train

from saa_lite import container
from saa_lite.errors import CheckpointError, SaaLiteError, UsageError
from saa_lite.train import load_checkpoint, save_checkpoint
from saa_lite.train import train as fit
from saa_lite.train.checkpoint import layers_of

# --- missing, foreign --------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no usable checkpoint: .*does not exist"):
        load_checkpoint(tmp_path / "nowhere", make_model())


def test_other_model(tmp_path: Path) -> None:
    """The same tensor names and shapes, another operator: the layers' own description tells."""
    save_checkpoint(tmp_path, make_model("conv"))
    adder = make_model("adder", seed=1)
    before = {name: value.clone() for name, value in adder.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"of another model: 3 is Conv2d\(.*there and AdderConv2d\("
    ):
        load_checkpoint(tmp_path, adder)
    assert all(torch.equal(value, before[name]) for name, value in adder.state_dict().items())


def test_other_tensors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_model())
    with pytest.raises(CheckpointError, match=r"0\.weight is torch\.float32 .* and torch\.float64"):
        load_checkpoint(tmp_path, make_model().double())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.2}, r"another configuration: lr is 0\.05 there and 0\.2 here"),
        ({"epochs": 4, "seed": 1}, "epochs is 3 there and 4 here"),
        ({"optimizer": "radam"}, "optimizer is 'sgd' there and 'radam' here"),
    ],
)
def test_other_configuration(changes: dict, message: str, tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        train(tmp_path, replace(CONFIG, **changes))


def test_other_data_of_the_same_name(tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    with pytest.raises(CheckpointError, match=r"train_set is 'noise train, 32 images, CRC \w{8}'"):
        fit(make_model(), make_set("train", 2), make_set("test", 1), CONFIG, checkpoint=tmp_path)


def test_weights_without_optimiser(tmp_path: Path) -> None:
    model = make_model()
    save_checkpoint(tmp_path, model, state={"note": "weights only"})
    assert load_checkpoint(tmp_path, make_model(seed=1)) == {"note": "weights only"}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CheckpointError, match="holds no optimiser state"):
        load_checkpoint(tmp_path, model, optimizer)


# --- the file ----------------------------------------------------------------------------------


def test_floats_in_the_state_keep_their_bits(tmp_path: Path) -> None:
    numbers = [0.1 + 0.2, 1e-310, 1 / 3, -0.0, 2.0**80 + 1]
    model = make_model()
    save_checkpoint(tmp_path, model, state={"numbers": numbers})
    loaded = load_checkpoint(tmp_path, model)["numbers"]
    assert [x.hex() for x in loaded] == [x.hex() for x in numbers]


def test_nan_in_the_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain finite JSON"):
        save_checkpoint(tmp_path, make_model(), state={"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_nan_weights_keep_their_bits(tmp_path: Path) -> None:
    """Only JSON refuses NaN; a tensor may hold what it likes."""
    model, twin = nn.Linear(2, 2), nn.Linear(2, 2)
    model.weight.data.fill_(float("nan"))
    save_checkpoint(tmp_path, model)
    load_checkpoint(tmp_path, twin)
    assert twin.weight.isnan().all()


def test_tied_weights_and_views_are_saved(tmp_path: Path) -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model.to(torch.bfloat16)

    model, twin = tied(), tied()
    save_checkpoint(tmp_path, model)
    load_checkpoint(tmp_path, twin)
    assert torch.equal(twin[1].weight, model[0].weight)


def test_any_reader_of_safetensors_can_open_it(tmp_path: Path) -> None:
    stop_after(1, tmp_path)
    tensors, document = container.read_container(tmp_path / LAST)
    assert {name.partition(".")[0] for name in tensors} == {"model", "optimizer"}
    assert document["run"]["epoch"] == 1
    length = int.from_bytes((tmp_path / LAST).read_bytes()[:8], "little")
    header = json.loads((tmp_path / LAST).read_bytes()[8 : 8 + length])
    assert set(header["__metadata__"]) == {"state", "sha256"}


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaaLiteError, match="cannot write") as error:
        save_checkpoint(tmp_path / "file" / "folder", make_model())
    assert "\n" not in str(error.value)


# --- wrapped networks, folders by name ----------------------------------------------------------


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_files_with_the_names_of_wrappers_load(prefix: str, tmp_path: Path) -> None:
    """As they were written before names went into files without prefixes."""
    saved, other = make_model(), make_model(seed=1)
    tensors = {f"model.{prefix}{name}": value for name, value in saved.state_dict().items()}
    layers = {prefix + name: shown for name, shown in layers_of(saved).items()}
    container.write_container(tmp_path / LAST, tensors, {"layers": layers, "run": {}})
    load_checkpoint(tmp_path, other)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in saved.state_dict().items())


def test_a_folder_may_be_named_by_a_string(tmp_path: Path) -> None:
    sets = make_set("train"), make_set("test", 1)
    config = replace(CONFIG, epochs=1)
    options = {"checkpoint": str(tmp_path / "run"), "progress": False}
    history = fit(make_model(), *sets, config, **options)
    assert fit(make_model(), *sets, config, **options) == history  # resumed, and finished
    with pytest.raises(UsageError, match="checkpoint must be the path of a folder, or None; got 3"):
        fit(make_model(), *sets, config, checkpoint=3)  # type: ignore[arg-type]
