"""Networks that come trained: what is read is what was written, or one sentence says why not."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trained_samples import INFO, publish, trained_like, use_folder

from saa_lite import cli
from saa_lite.data import Batches, ImageSet, normalize
from saa_lite.errors import CheckpointError, SaaLiteError, UsageError
from saa_lite.models import create_model, list_weights, load_weights, weights_info
from saa_lite.models.trained import files, probe_pixels, stored, write_trained
from saa_lite.nn import AdderConv2d

ROOT = Path(__file__).resolve().parent.parent
FILE = "resnet8-adder-toys.safetensors"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_folder(tmp_path, monkeypatch)
    publish()
    return tmp_path


def test_a_network_comes_as_it_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_folder(tmp_path, monkeypatch)
    before = publish()
    net = create_model("resnet8", conv="adder", weights="toys")
    rounded = before.state_dict()
    for name, value in rounded.items():
        if value.dim() > 1:
            nearest = value.numpy().astype(np.float16).astype(np.float32)
            assert not np.array_equal(nearest, value.numpy())
            rounded[name] = torch.from_numpy(nearest)
    loaded = net.state_dict()
    assert loaded.keys() == rounded.keys()
    assert all(torch.equal(value, loaded[name]) for name, value in rounded.items())
    assert {value.dtype for value in loaded.values()} == {torch.float32, torch.int64}
    before.load_state_dict(rounded)
    images = torch.randn(3, 1, 16, 16)
    assert not net.training
    assert torch.equal(net(images), before(images))
    etas = [layer.eta for layer in net.modules() if isinstance(layer, AdderConv2d)]
    assert set(etas) == {0.6}


def test_what_is_known_comes_back(place: Path) -> None:
    info = weights_info("resnet8", conv="adder", weights="toys")
    assert info == INFO
    assert info.accuracy == 0.75
    assert list_weights() == [("resnet8", "adder", "toys")]
    assert list_weights("resnet20") == list_weights(conv="conv") == []
    (name,) = list_weights("resnet8", "adder")
    assert str(name) == "resnet8-adder-toys"


def test_arguments_that_agree_are_welcome(place: Path) -> None:
    net = create_model("resnet8", 7, "adder", True, 1, 4, weights="toys")
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 10}, "num_classes must be 7 (or left out)"),
        ({"in_channels": 3}, "in_channels must be 1 (or left out)"),
        ({"width": 16}, "width must be 4 (or left out)"),
    ],
)
def test_arguments_that_contradict_the_weights(
    arguments: dict[str, int], message: str, place: Path
) -> None:
    (given,) = arguments.values()
    whole = f"{message}, as in the weights 'toys' of resnet8 with conv 'adder'; got {given}"
    with pytest.raises(UsageError, match=f"^{re.escape(whole)}$"):
        create_model("resnet8", conv="adder", weights="toys", **arguments)


@pytest.mark.parametrize(
    ("conv", "weights", "message"),
    [
        (
            "adder",
            "cifar10",
            "weights must be one of 'toys', 'toys2' for resnet8 with conv 'adder'; got 'cifar10'",
        ),
        (
            "conv",
            "toys",
            "no weights come with resnet8 with conv 'conv'; got 'toys', and there are "
            "resnet8-adder-toys, resnet8-adder-toys2",
        ),
    ],
)
def test_wrong_names_are_told_what_there_is(
    conv: str, weights: str, message: str, place: Path
) -> None:
    publish(weights="toys2")
    for ask in (create_model, weights_info):
        with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
            ask("resnet8", conv=conv, weights=weights)


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def exchanged(path: Path) -> None:
    """A sound file that vouches for itself, but is not the one in the index."""
    index = path.with_name(files.INDEX)
    before = index.read_text()
    write_trained(INFO, stored(trained_like(seed=1)))
    index.write_text(before)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (torn, "is torn or was changed, as its SHA-256 is not that in index.json"),
        (flipped, "is torn or was changed, as its SHA-256 is not that in index.json"),
        (exchanged, "is torn or was changed, as its SHA-256 is not that in index.json"),
        (Path.unlink, "is missing"),
    ],
)
def test_other_files_than_the_published_are_refused(
    spoil: Callable[[Path], None], message: str, place: Path
) -> None:
    spoil(place / FILE)
    checkout = f"git checkout -- saa_lite/models/trained/{FILE}"
    whole = f"{place / FILE} {message}: install saa_lite again (in a checkout: {checkout})"
    for ask in (create_model, weights_info):
        with pytest.raises(CheckpointError, match=re.escape(whole)):
            ask("resnet8", conv="adder", weights="toys")


def test_a_torn_file_hides_none_of_the_others(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(weights="toys2")
    torn(place / FILE)
    assert cli.main(["weights", "--json"]) == 1
    shown = capsys.readouterr()
    rows = {row["network"]: row["test %"] for row in json.loads(shown.out)}
    assert rows["resnet8-adder-toys"] == "cannot be read"
    assert rows["resnet8-adder-toys2"] == round(100 * INFO.accuracy, 2)
    assert f"{FILE} is torn or was changed" in shown.err


def test_what_is_known_prints_in_one_line() -> None:
    said = repr(INFO)
    assert len(said) < 120
    assert f"{100 * INFO.accuracy:.2f} % of {INFO.test_images} test images" in said


@pytest.mark.parametrize("text", ["", "[1", '{"a": 1}', '[{"model": "resnet8"}]', "[3]"])
def test_a_torn_index_is_named(text: str, place: Path) -> None:
    (place / "index.json").write_text(text)
    with pytest.raises(SaaLiteError, match=r"index\.json is (no index of|not valid JSON)"):
        list_weights()


def test_an_adder_file_is_refused_in_the_multiplicative_twin(place: Path) -> None:
    """Even where the index itself vouches for it: names and shapes are the same."""
    index = place / "index.json"
    rows = json.loads(index.read_text())
    rows[0]["conv"] = "conv"
    index.write_text(json.dumps(rows))
    (place / FILE).rename(place / FILE.replace("adder", "conv"))
    with pytest.raises(CheckpointError, match=r"stage1\.0\.conv1 is AdderConv2d there and Conv2d"):
        create_model("resnet8", conv="conv", weights="toys")


def test_the_state_of_a_trained_network_knows_its_operators(place: Path) -> None:
    state = create_model("resnet8", conv="adder", weights="toys").state_dict()
    twin = create_model("resnet8", 7, in_channels=1, width=4)
    with pytest.raises(CheckpointError, match="other operators"):
        load_weights(twin, state)


def test_writing_again_replaces_file_and_line(place: Path) -> None:
    second = publish(correct=33)
    assert sorted(path.name for path in place.iterdir()) == ["index.json", FILE]
    assert weights_info("resnet8", "adder", weights="toys").correct == 33
    assert len(json.loads((place / "index.json").read_text())) == 1
    publish(conv="conv", options={})
    assert [name.conv for name in list_weights()] == ["adder", "conv"]
    assert load_file(place / FILE)["conv1.weight"].dtype == torch.float16
    assert torch.equal(load_file(place / FILE)["bn1.running_mean"], second.bn1.running_mean)


def test_numbers_too_large_for_float16_are_not_stored() -> None:
    net = trained_like()
    net.stage1[0].conv1.weight.data[0, 0, 0, 0] = 1e5
    with pytest.raises(UsageError, match=r"stage1\.0\.conv1\.weight has numbers that cannot be"):
        stored(net)


def test_pixels_are_normalised_as_in_training() -> None:
    pixels = probe_pixels(5, 3, 8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    image_set = ImageSet("toys", "test", pixels, torch.zeros(5).long(), ("a",))
    ((_, expected, _),) = Batches(image_set, 5, mean=mean, std=std).epoch(0)
    assert torch.equal(normalize(pixels, mean, std), expected)
    by_hand = (pixels[1, 2, 3, 4].item() / 255 - 0.3) / 0.4
    assert expected[1, 2, 3, 4].item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 3, 8, 8), torch.zeros(3, 8, 8).byte(), torch.zeros(2, 1, 8, 8).byte()]
)
def test_only_pixels_are_normalised(wrong: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"images must be pixels, uint8 \[B, 3, H, W\]; got torch"):
        normalize(wrong, (0.5,) * 3, (0.5,) * 3)


def test_the_probe_is_noise() -> None:
    pixels = probe_pixels(4, 3, 32)
    assert pixels.flatten()[:6].tolist() == [
        (i * 2654435761 % 2**32 // 65536) % 256 for i in range(6)
    ]
    counts = torch.bincount(pixels.flatten().long(), minlength=256)
    assert counts.min() > 0.6 * counts.float().mean()


SHIPPED = list_weights()


@pytest.mark.parametrize("name", SHIPPED, ids=str)
def test_shipped_networks_are_those_whose_accuracy_is_recorded(name: tuple[str, str, str]) -> None:
    """Their logits of an arithmetic noise, recorded with the accuracy, come out again."""
    info = weights_info(name[0], name[1], weights=name[2])
    net = create_model(name[0], conv=name[1], weights=name[2])
    pixels = probe_pixels(len(info.probe), info.in_channels, info.image_size)
    with torch.no_grad():
        logits = net(info.normalize(pixels))
    torch.testing.assert_close(logits, torch.tensor(info.probe), rtol=1e-3, atol=1e-3)
    assert logits.std() > 0.1
    assert info.test_images == 10_000
    assert info.history[-1]["epoch"] == info.training["epochs"] == len(info.history)
    # What was tested while training were the weights before they were stored.
    assert abs(info.accuracy - info.history[-1]["test_accuracy"]) < 0.005


def test_the_package_holds_what_its_index_lists_and_carries_it_along() -> None:
    folder = ROOT / "saa_lite/models/trained"
    found = {path.stem for path in folder.glob("*.safetensors")}
    assert found == {str(name) for name in SHIPPED}
    assert all(path.stat().st_size < 700_000 for path in folder.glob("*.safetensors"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]
    assert data["saa_lite.models.trained"] == ["*.safetensors", "index.json"]
