"""``saa-lite train --task segmentation`` and ``saa-lite predict``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saa_lite import cli
from saa_lite.data.image_set import VOID
from saa_lite.errors import UsageError
from saa_lite.models import create_segmenter, label_pixels
from saa_lite.train import has_checkpoint
from saa_lite.viz.segmentation import class_colours, overlay

RNG = np.random.default_rng(1)
TRAIN = [
    "train", "--task", "segmentation", "--model", "resnet8", "--conv", "conv", "--device", "cpu",
    "--epochs", "1", "--batch-size", "2", "--crop-padding", "1", "--smallest-crop", "0.5",
    "--no-flip", "--quiet",
]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.delenv("SAA_DATA_ROOT", raising=False)
    return tmp_path


def data(root: Path) -> Path:
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i in range(4):
            mask = RNG.integers(0, 2, (16, 24), dtype=np.uint8)
            picture = np.stack([mask * 200] * 3, 2)
            Image.fromarray(picture).save(root / split / "images" / f"{i}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{i}.png")
    (root / "classes.txt").write_text("ground\nthing\n")
    return root


def test_train_and_predict(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "out"
    train = [*TRAIN, "--data", str(data(home / "data")), "--out", str(out), "--json"]
    assert cli.main(train) == 0
    (epoch,) = json.loads(capsys.readouterr().out)
    assert 0 <= epoch["test_miou"] <= 1
    assert has_checkpoint(out)
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["task"], settings["smallest_crop"]) == ("segmentation", 0.5)

    pictures = home / "pictures"
    pictures.mkdir()
    sizes = {"odd.png": (13, 21), "one.jpg": (9, 8)}
    for name, size in sizes.items():
        Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(pictures / name)
    (pictures / "notes.txt").write_text("no picture")
    predict = ["predict", str(pictures), "--run", str(out), "--out", str(home / "seen"), "--quiet"]
    assert cli.main([*predict, "--device", "cpu", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["picture"] for row in rows] == ["odd.png", "one.jpg"]
    assert [row["size"] for row in rows] == ["21x13", "8x9"]
    for name, size in sizes.items():
        written = home / "seen" / "masks" / f"{Path(name).stem}.png"
        numbers = np.asarray(Image.open(written))
        assert numbers.shape == size
        assert set(np.unique(numbers)) <= {0, 1}
        with Image.open(pictures / name) as opened:
            expected = overlay(np.asarray(opened.convert("RGB")), numbers, 2)
        found = np.asarray(Image.open(home / "seen" / "overlays" / written.name))
        assert np.array_equal(found, expected)
    before = (home / "seen" / "masks" / "odd.png").stat().st_mtime_ns
    assert cli.main([*predict, "--device", "cpu"]) == 0  # what is there is kept
    assert (home / "seen" / "masks" / "odd.png").stat().st_mtime_ns == before
    assert "ground" in capsys.readouterr().out


def test_refusals(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "empty").mkdir()
    cases = [
        ([*TRAIN, "--data", str(home / "empty")], "must hold train/images and train/masks"),
        ([*TRAIN, "--data", ".", "--dataset", "shapes"], "leave one out"),
        ([*TRAIN, "--dataset", "digits"], "segmentation needs masks and mask_names"),
        (["train", "--task", "detection"], "task must be one of"),
        (["train", "--output-stride", "8"], "output_stride is for task='segmentation'"),
    ]
    predict = ["predict", str(home), "--run", str(home / "empty"), "--out", str(home / "o")]
    cases += [
        (predict, "holds no picture"),
        ([*predict, "--opacity", "2"], "--opacity must be from 0 to 1"),
    ]
    for arguments, message in cases:
        assert cli.main(arguments) == 2
        assert message in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(home / "a.png")
    assert cli.main(predict) == 2
    assert "is no training of saa-lite train" in capsys.readouterr().err
    Image.new("RGB", (8, 8)).save(home / "a.jpg")
    assert cli.main(predict) == 2
    assert "two pictures called a" in capsys.readouterr().err


def test_padding_changes_nothing_where_none_is_needed() -> None:
    torch.manual_seed(0)
    model = create_segmenter("mobilenet_v2_tiny", 3, small_input=True).eval()
    pixels = torch.randint(0, 256, (3, 24, 32), dtype=torch.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)
    whole = label_pixels(model, pixels, mean, std)
    normal = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        assert torch.equal(whole.long(), model(normal[None]).argmax(1)[0])
    # The last column twice and thrice is what the padding makes of a narrower picture.
    narrow = pixels[:, :, :30]
    wide = torch.cat([narrow, narrow[:, :, -1:], narrow[:, :, -1:]], 2)
    expected = label_pixels(model, wide, mean, std)[:, :30]
    assert torch.equal(label_pixels(model, narrow, mean, std), expected)


def test_overlays() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[0, 1], [2, VOID]], np.uint8)
    found = overlay(image, mask, 3, 0.5)
    colours = class_colours(3)
    assert (found[0, 0] == 100).all()  # the ground is left alone
    assert (found[1, 1] == 100).all()
    assert np.array_equal(found[0, 1], np.rint(50 + colours[1] / 2))
    assert np.array_equal(overlay(image[:, :, 0], mask, 3, 1.0)[1, 0], colours[2])
    assert np.array_equal(overlay(image, mask, 3, 0.0), image)
    assert len({tuple(colour) for colour in class_colours(21)}) == 21
    with pytest.raises(UsageError, match="one size"):
        overlay(image[:1], mask, 3)
    with pytest.raises(UsageError, match="opacity must be from 0 to 1; got 2"):
        overlay(image, mask, 3, 2)
