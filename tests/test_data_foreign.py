"""Data sets of other libraries: made image sets, or one sentence that says how."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torchvision import datasets, transforms
from train_samples import CONFIG, make_model, make_set

from saa_lite.data import Batches, as_image_set, normalization
from saa_lite.errors import DataError, UsageError
from saa_lite.nn import convert
from saa_lite.quantize import quantize
from saa_lite.train import evaluate, reestimate_batch_norm, train

LEVELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
GREYS = LEVELS[..., 0]


def pictures(mode: str = "RGB") -> list[tuple[Image.Image, int]]:
    arrays = LEVELS if mode == "RGB" else GREYS
    return [(Image.fromarray(array), index % 3) for index, array in enumerate(arrays)]


class Named(torch.utils.data.Dataset):
    """As torchvision's: pictures, labels, and names of the classes; no end when iterated over."""

    classes = ("cat", "cow", "dog")

    def __init__(self, transform: object = None) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return len(LEVELS)

    def __getitem__(self, index: int) -> tuple[object, int]:
        picture, label = pictures()[index % len(LEVELS)]
        return (self.transform(picture) if self.transform else picture), label


class Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return iter(pictures())


SOURCES = {
    "pictures": Named(),
    "tensors": Named(transforms.ToTensor()),
    "bytes": Named(transforms.PILToTensor()),
    "stream": Stream(),
    "list": pictures(),
    "arrays": [(a.transpose(2, 0, 1), np.int64(i % 3)) for i, a in enumerate(LEVELS)],
    "stored": TensorDataset(
        torch.from_numpy(LEVELS).permute(0, 3, 1, 2), torch.tensor([0, 1, 2, 0])
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_pairs_become_an_image_set(source: str) -> None:
    made = as_image_set(SOURCES[source], "test", name="mine")
    assert np.array_equal(made.images.permute(0, 2, 3, 1).numpy(), LEVELS)
    assert made.labels.tolist() == [0, 1, 2, 0]
    named = isinstance(SOURCES[source], Named)
    assert made.class_names == (("cat", "cow", "dog") if named else ("0", "1", "2"))
    assert (made.name, made.split) == ("mine", "test")


def test_every_level_comes_back_from_to_tensor() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    floats = transforms.ToTensor()(ramp[0].numpy())
    for scaled in (floats, floats.double(), ramp.double() / 255):
        assert torch.equal(as_image_set([(scaled, 0)], "train").images[0], ramp)


def test_names_are_given_or_those_of_the_set() -> None:
    fake = datasets.FakeData(4, (3, 8, 8), 5)
    assert as_image_set(fake, "train", class_names=list("abcde")).class_names == tuple("abcde")
    with pytest.raises(UsageError, match=r"labels must lie in 0\.\.0"):
        as_image_set(pictures(), "train", class_names=["one"])

    class CIFAR10(Named):
        pass

    made = as_image_set(CIFAR10(), "train")
    assert made.name == "cifar10"
    assert normalization(made)[0] == (0.4914, 0.4822, 0.4465)  # the published one


def test_grey_pictures_have_one_channel_unless_they_stand_among_coloured() -> None:
    made = as_image_set(pictures("L"), "train")
    assert np.array_equal(made.images[:, 0].numpy(), GREYS)
    assert made.in_channels == 1
    deep = Image.fromarray(GREYS[0].astype(np.uint16) * 257)
    mixed = as_image_set([(deep, 0), *pictures(), (torch.from_numpy(GREYS[1]), 0)], "train")
    assert mixed.images.shape == (6, 3, 6, 6)
    assert np.array_equal(mixed.images[0].numpy(), np.stack([GREYS[0]] * 3))
    assert np.array_equal(mixed.images[5].numpy(), np.stack([GREYS[1]] * 3))


def test_pictures_of_many_sizes_are_scaled() -> None:
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    pairs = [(Image.fromarray(wide), 0), (Image.new("RGB", (9, 9), (7, 8, 9)), 1)]
    made = as_image_set(pairs, "train", size=2)
    assert made.images[0].unique().tolist() == [200]
    assert made.images[1, :, 0, 0].tolist() == [7, 8, 9]
    with pytest.raises(DataError, match=r"item 1 of the list is 9x9 pixels where others are 12x4"):
        as_image_set(pairs, "train")


NORMALISED = Named(
    transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)])
)
BAD = {
    "a loader": (DataLoader(Named()), r"got a DataLoader of one: pass its \.dataset"),
    "a number": (3, r"must give \(picture, label\) pairs when it is iterated over; got int"),
    "nothing": ([], "at least one picture; the list is empty"),
    "a network": (nn.Linear(1, 1), "got Linear"),
    "normalised": (NORMALISED, "item 0 of the Named: .* got torch.float32 from -?[0-9.]+ to .*nor"),
    "between levels": ([(torch.full((1, 2, 2), 0.5), 0)], r"item 0 .* levels k / 255"),
    "above white": ([(torch.full((1, 2, 2), 2.0), 0)], r"float32 from 2 to 2"),
    "not a number": ([(torch.full((1, 2, 2), torch.nan), 0)], "from nan to nan"),
    "deep": ([(torch.full((1, 2, 2), 999, dtype=torch.int32), 0)], "int32 from 999 to 999"),
    "ones as integers": ([(torch.ones(1, 2, 2, dtype=torch.int32), 0)], "got torch.int32"),
    "a float picture": ([(Image.new("F", (2, 2)), 0)], "item 0 .* floating-point numbers"),
    "last channels": ([(LEVELS[0], 0)], r"C = 1 or 3, or \[H, W\]; got \[6, 6, 3\]"),
    "batches": ([(torch.zeros(5, 3, 2, 2), 0)], r"got \[5, 3, 2, 2\]"),
    "text": ([("a.png", 0)], "a PIL image, a tensor or an array; got str"),
    "one-hot": ([(LEVELS[0, 0], torch.eye(3)[0])], "label must be an integer"),
    "a fraction": ([(LEVELS[0, 0], 0.5)], r"label must be an integer; got 0\.5"),
    "a negative label": ([(LEVELS[0, 0], -1)], r"item 0 .*: its label .* from 0 on; got -1$"),
    "16 bits": (
        [(np.full((3, 8, 8), 60000, np.uint16), 0)],
        "item 0 .*uint16 from 60000 to ",
    ),
    "waves": ([(torch.ones(1, 2, 2, dtype=torch.complex64), 0)], "item 0 .* got torch.complex64"),
    "no values": ([(torch.ones(1, 2, 2, device="meta"), 0)], "item 0 .* got .* on meta"),
    "few values": ([(torch.ones(1, 2, 2).to_sparse(), 0)], r"item 0 .* torch\.sparse_coo"),
    "a huge label": ([(LEVELS[0, 0], 2**40)], r"below 1,000,000; found 1,099,511,627,776"),
    "triples": ([(0, LEVELS[0, 0], 0)], r"a pair \(picture, label\); got tuple of 3"),
    "dictionaries": ([{"image": 1}], r"a pair \(picture, label\); got dict$"),
    "a dictionary": ({"images": LEVELS, "labels": [1]}, "of arrays is made by ImageSet"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_data_set_is_told_in_a_sentence(case: str) -> None:
    given, complaint = BAD[case]
    with pytest.raises((UsageError, DataError), match=complaint) as caught:
        as_image_set(given, "train")
    assert "\n" not in str(caught.value)


def test_errors_of_the_set_itself_are_not_ours() -> None:
    class Broken(Named):
        def __getitem__(self, index: int) -> tuple[object, int]:
            raise ValueError("a bug of mine")

    with pytest.raises(ValueError, match=r"^a bug of mine$"):
        as_image_set(Broken(), "train")
    with pytest.raises(UsageError, match="split must be one of 'train', 'test'; got 'val'"):
        as_image_set(Named(), "val")


OTHERS = {
    "Named": Named(),
    "DataLoader": DataLoader(Named()),
    "dict": {"images": LEVELS},
    "list": pictures(),
    "Batches": Batches(make_set("train"), 8),
    "NoneType": None,
}
WAY = r" must be an ImageSet; got {}: .*as_image_set\(data_set, split\).*\.dataset of a DataLoader$"


@pytest.mark.parametrize("kind", OTHERS)
def test_where_an_image_set_is_wanted_the_way_to_one_is_told(kind: str) -> None:
    other, model, good = OTHERS[kind], make_model(), make_set("train")
    with pytest.raises(UsageError, match="train_set" + WAY.format(kind)):
        train(model, other, good, CONFIG)
    with pytest.raises(UsageError, match="test_set" + WAY.format(kind)):
        train(model, good, other, CONFIG)
    with pytest.raises(UsageError, match="image_set" + WAY.format(kind)):
        evaluate(model, other)
    with pytest.raises(UsageError, match="train_set" + WAY.format(kind)):
        normalization(other)


NOT_BATCHES = {
    "ImageSet": make_set("train"),
    "Batches": Batches(make_set("train"), 8),
    "Tensor": torch.zeros(4, 3, 8, 8),
    "dict": {"images": torch.zeros(4, 3, 8, 8)},
    "int": 3,
}


@pytest.mark.parametrize("kind", NOT_BATCHES)
def test_where_batches_are_wanted_sets_and_single_tensors_are_refused(kind: str) -> None:
    network = convert(make_model("conv"), "adder", keep_first=False, keep_last=True)
    complaint = rf"must be batches of normalised images, .* got {kind}$"
    with pytest.raises(UsageError, match="^calibration_batches " + complaint):
        quantize(network, NOT_BATCHES[kind])
    with pytest.raises(UsageError, match="^batches " + complaint):
        reestimate_batch_norm(network, NOT_BATCHES[kind])
    single = TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4).long())
    with pytest.raises(TypeError, match="got one picture with its label: deal"):
        reestimate_batch_norm(network, [(image, int(label)) for image, label in single])


def test_statistics_come_from_a_loader_as_from_batches() -> None:
    made = make_set("train")
    mean, std = normalization(made)
    images = (made.images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(
        1, 3, 1, 1
    )
    found = []
    for batches in (
        DataLoader(TensorDataset(images, made.labels), 8),
        Batches(made, 8).epoch(0),
        images.split(8),
    ):
        model = make_model()
        reestimate_batch_norm(model, batches)
        found.append(model[1].running_mean)
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
