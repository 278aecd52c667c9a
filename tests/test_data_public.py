"""Public sets, offline: small files in the formats that torchvision reads."""

import hashlib
import json
import pickle
import socket
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from saa_lite.data import load_dataset
from saa_lite.errors import DataError, UsageError

RNG = np.random.default_rng(1)
BATCH = 20  # images per CIFAR file


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"a test without download=True connected to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def store(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))
    return [path.name, md5(path)]


def fake_cifar(root, monkeypatch, classes=10):
    """CIFAR's folder of pickles with right checksums; returns all training pixels and labels."""
    kind = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    folder, key = root / kind.base_folder, "labels" if classes == 10 else "fine_labels"

    def batch(name):
        pixels = RNG.integers(0, 256, (BATCH, 3072), dtype=np.uint8)
        labels = (np.arange(BATCH) % classes).tolist()
        return pixels, labels, store(folder / name, {"data": pixels, key: labels})

    train = [batch(name) for name, _ in kind.train_list]
    test = batch(kind.test_list[0][0])
    names = [f"class {i}" for i in range(classes)]
    meta = store(folder / kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "train_list", [entry for _, _, entry in train])
    monkeypatch.setattr(kind, "test_list", [test[2]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    pixels, labels, _ = zip(*train, strict=True)
    return np.concatenate(pixels), np.concatenate(labels).tolist()


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(tmp_path, monkeypatch, classes):
    pixels, labels = fake_cifar(tmp_path, monkeypatch, classes)
    made = load_dataset(f"cifar{classes}", root=tmp_path)
    assert np.array_equal(made.images.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert made.labels.tolist() == labels
    assert made.class_names == tuple(f"class {i}" for i in range(classes))
    assert len(load_dataset(f"cifar{classes}", "test", root=tmp_path, count=10)) == 10


def test_arrays_come_before_torchvisions_files(tmp_path, monkeypatch):
    fake_cifar(tmp_path, monkeypatch)
    images = np.full((10, 32, 32, 3), 7, np.uint8)
    np.savez(tmp_path / "cifar10-train.npz", images=images, labels=np.arange(10))
    assert load_dataset("cifar10", root=tmp_path).images.unique().tolist() == [7]
    assert len(load_dataset("cifar10", "test", root=tmp_path)) == BATCH


def test_damaged_cifar_is_refused_before_it_is_unpickled(tmp_path, monkeypatch):
    fake_cifar(tmp_path, monkeypatch)
    path = tmp_path / datasets.CIFAR10.base_folder / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    monkeypatch.setattr(pickle, "load", None)
    with pytest.raises(DataError, match="cifar10 was not found, or is damaged, in"):
        load_dataset("cifar10", root=tmp_path)


def test_a_missing_set_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="cifar10 was not found in the empty folder"):
        load_dataset("cifar10", root=tmp_path)
    with pytest.raises(DataError, match="cifar10 was not found, since there is no folder"):
        load_dataset("cifar10", root=tmp_path / "nowhere")


def fake_mnist(root):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 10)):
        pixels = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        image_head = struct.pack(">HBBIII", 0, 8, 3, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(image_head + pixels.tobytes())
        label_head = struct.pack(">HBBI", 0, 8, 1, count)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(label_head + labels.tobytes())
    return folder


def test_mnist(tmp_path):
    folder = fake_mnist(tmp_path)
    made = load_dataset("mnist", root=tmp_path)
    raw = (folder / "train-images-idx3-ubyte").read_bytes()[16:]
    assert made.images.shape == (30, 1, 28, 28)
    assert made.images.numpy().tobytes() == raw
    assert made.labels.tolist() == [i % 10 for i in range(30)]
    assert load_dataset("mnist", "test", root=tmp_path, size=32).images.shape == (10, 1, 32, 32)


def test_truncated_mnist(tmp_path):
    path = fake_mnist(tmp_path) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="mnist was not found, or is damaged"):
        load_dataset("mnist", root=tmp_path)


def photograph(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (50 + level % 7, 40), (level,) * 3).save(path)


def fake_flowers(root, monkeypatch):
    """12 photographs: ids 1..4 train, 5..8 val, 9..12 test; photograph i has class i."""
    folder = root / "flowers-102"
    for index in range(1, 13):
        photograph(folder / "jpg" / f"image_{index:05d}.jpg", 10 * index)
    savemat(folder / "imagelabels.mat", {"labels": np.arange(1, 13)})
    ids = np.arange(1, 13).reshape(3, 4)
    savemat(folder / "setid.mat", dict(zip(("trnid", "valid", "tstid"), ids, strict=True)))
    files = datasets.Flowers102._file_dict
    sums = {key: (files[key][0], md5(folder / files[key][0])) for key in ("label", "setid")}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", files | sums)


def test_flowers_train_on_train_and_val(tmp_path, monkeypatch):
    fake_flowers(tmp_path, monkeypatch)
    train, test = (
        load_dataset("flowers102", split, root=tmp_path, size=16) for split in ("train", "test")
    )
    assert (train.num_classes, train.class_names[0]) == (102, "pink primrose")
    assert train.labels.tolist() == list(range(8))
    assert test.labels.tolist() == [8, 9, 10, 11]
    assert train.images.shape == (8, 3, 16, 16)
    levels = train.images.float().mean((1, 2, 3))
    torch.testing.assert_close(levels, torch.arange(10, 90, 10).float(), atol=2, rtol=0)


def fake_food(root):
    """Three photographs of each of two dishes per split."""
    lists = {"train": {}, "test": {}}
    for dish_index, dish in enumerate(("pie", "soup")):
        for split_index, split in enumerate(lists):
            names = [f"{dish}/{split_index}{i}" for i in range(3)]
            lists[split][dish] = names
            for name in names:
                photograph(root / "food-101" / "images" / f"{name}.jpg", 50 + 100 * dish_index)
    meta = root / "food-101" / "meta"
    meta.mkdir()
    for split, names in lists.items():
        (meta / f"{split}.json").write_text(json.dumps(names))
    return root / "food-101"


def test_food_decodes_only_the_subset(tmp_path):
    folder = fake_food(tmp_path)
    made = load_dataset("food101", root=tmp_path, size=12, count=4)
    assert made.class_names == ("pie", "soup")
    assert torch.bincount(made.labels).tolist() == [2, 2]
    levels = made.images.float().mean((1, 2, 3))
    torch.testing.assert_close(levels, 50 + 100 * made.labels.float(), atol=2, rtol=0)
    (folder / "images" / "pie" / "00.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"pie.00\.jpg"):
        load_dataset("food101", root=tmp_path, size=12)


def test_a_listed_photograph_that_is_missing(tmp_path):
    (fake_food(tmp_path) / "images" / "soup" / "01.jpg").unlink()
    with pytest.raises(DataError, match=r"soup.01\.jpg: No such file"):
        load_dataset("food101", root=tmp_path, size=12)


def test_a_damaged_list_of_photographs(tmp_path):
    (fake_food(tmp_path) / "meta" / "train.json").write_text("{")
    with pytest.raises(DataError, match="food101 was not found, or is damaged"):
        load_dataset("food101", root=tmp_path, size=12)


@pytest.mark.parametrize("name", ["flowers102", "food101"])
def test_photographs_need_a_size(tmp_path, name):
    with pytest.raises(UsageError, match=f"{name} holds photographs of many sizes: pass size="):
        load_dataset(name, root=tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "flowers102", "food101"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_set_says_where_it_looked_and_what_helps(tmp_path, name, split, capfd):
    with pytest.raises(DataError) as caught:
        load_dataset(name, split, root=tmp_path, size=32)
    message = str(caught.value)
    for part in (name, str(tmp_path), f"{name}-train.npz", "SAA_DATA_ROOT", "--download"):
        assert part in message
    assert ("throttled since June 2026" in message) == name.startswith("cifar")
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == [], "something was written"
    assert capfd.readouterr().out == ""


def test_a_download_without_network_is_one_sentence(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    for name in ("cifar10", "mnist", "flowers102", "food101"):
        with pytest.raises(DataError, match=r"could not be downloaded|broke off") as caught:
            load_dataset(name, root=tmp_path, size=32, download=True)
        assert "\n" not in str(caught.value)


def test_download_takes_a_complete_archive(tmp_path, monkeypatch, capfd):
    """With the archive in place nothing is fetched: it is checked, unpacked and read."""
    source, root = tmp_path / "source", tmp_path / "root"
    pixels, _ = fake_cifar(source, monkeypatch)
    root.mkdir()
    archive = root / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / datasets.CIFAR10.base_folder, datasets.CIFAR10.base_folder)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    made = load_dataset("cifar10", root=root, download=True)
    assert np.array_equal(made.images.numpy(), pixels.reshape(-1, 3, 32, 32))
    assert capfd.readouterr().out == "", "stdout is kept for results"
