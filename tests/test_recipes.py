"""Recipes, and the way from a training by one of them to a network that comes with the package."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trained_samples import use_folder

from saa_lite import cli
from saa_lite.data import ImageSet, load_dataset, normalization
from saa_lite.errors import CheckpointError, UsageError
from saa_lite.models import create_model, list_weights, weights_info
from saa_lite.models.trained import files
from saa_lite.recipes import Recipe, check, list_recipes, load_recipe, ship
from saa_lite.recipes.recipe import parse
from saa_lite.train import TrainConfig, evaluate, save_checkpoint, train
from saa_lite.train.config import settings_of

TEXT = """
model = "resnet8"
conv = "conv"
dataset = "digits"
size = 8
train_images = 96

[training]
epochs = 2
batch_size = 32
lr = 0.05
flip = false
crop_padding = 1
seed = 5
"""
RECIPE = parse("toys", TEXT)
SETS = RECIPE.load("train"), load_dataset("digits", "test", size=8, count=60)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    use_folder(folder, monkeypatch)
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    return folder


def trained(folder: Path, recipe: Recipe = RECIPE, stop_after: int | None = None) -> Path:
    """A training as anybody does it in Python, perhaps stopped after so many epochs."""

    def stop(row: dict) -> None:
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    torch.manual_seed(recipe.config.seed)
    net = create_model("resnet8", conv="conv", in_channels=1)
    arguments = {"checkpoint": folder, "progress": False, "on_epoch": stop}
    if stop_after:
        with pytest.raises(KeyboardInterrupt):
            train(net, *SETS, recipe.config, **arguments)
    else:
        train(net, *SETS, recipe.config, **arguments)
    return folder


def test_a_recipe_says_all_of_a_training() -> None:
    config = TrainConfig(epochs=2, batch_size=32, lr=0.05, flip=False, crop_padding=1, seed=5)
    assert RECIPE.config == config
    assert Recipe("resnet8", "conv", "digits", config, "toys", 8, 96) == RECIPE
    assert len(SETS[0]) == 96
    text = TEXT.replace('"conv"', '"adder"').replace("[training]", "[options]\neta=0.7\n[training]")
    net = parse("own", text).network(SETS[0])
    torch.manual_seed(5)
    fresh = create_model("resnet8", conv="adder", in_channels=1)
    assert all(map(torch.equal, net.state_dict().values(), fresh.state_dict().values()))
    assert net.stage1[0].conv1.eta == 0.7


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_of_the_package_are_named_by_what_they_make(name: str) -> None:
    recipe = load_recipe(name)
    assert name == recipe.name == f"{recipe.model}-{recipe.conv}-{recipe.dataset}"
    black = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    names = tuple("abcdefghij")
    recipe.network(ImageSet("black", "train", black, torch.zeros(2).long(), names))
    assert ("eta" in recipe.options) == (recipe.conv == "adder")


@pytest.mark.parametrize("name", sorted(map(str, list_weights())))
def test_every_network_of_the_package_was_made_by_its_recipe(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # where trained networks really lie
    recipe = load_recipe(name)
    info = weights_info(recipe.model, recipe.conv, weights=recipe.dataset)
    assert TrainConfig(**info.training) == recipe.config  # fields that came later at their defaults
    assert info.options == recipe.options
    assert info.train_images == (recipe.train_images or 50_000)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size", "sze", "sze is unknown; known are model, conv, dataset, size"),
        ("flip", "flipp", "training.flipp is unknown; known are epochs, batch_size, lr"),
        ('model = "resnet8"', "", "model is missing"),
        ("epochs = 2", "", "training.epochs is missing"),
        ("[training]", "[trainings]", "trainings is unknown"),
        ("size = 8", 'size = "8"', "size must be an integer; got '8'"),
        ('model = "resnet8"', "model = 8", "model must be a text; got 8"),
        ("[training]", "options = 0.2\n[training]", "options must be a table; got 0.2"),
        ("lr = 0.05", "lr = -1", "lr must be a finite number above 0; got -1"),
        ('conv = "conv"', 'conv = "conv', "Illegal character"),
        ("[training]", "[options]\n[training]\nconfig = 3", "training.config is unknown"),
    ],
)
def test_wrong_recipes_are_refused_in_one_sentence(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UsageError, match=f"^recipe {re.escape(str(path))}: {re.escape(message)}"):
        load_recipe(str(path))


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'resnet20-adder-cifar10'.*; got 'resnet21'"):
        load_recipe("resnet21")
    with pytest.raises(UsageError, match=r"cannot read the recipe .*own\.toml: No such file"):
        load_recipe(str(tmp_path / "own.toml"))


def test_options_that_no_layer_has() -> None:
    with pytest.raises(UsageError, match="no layer of the network has an option 'eta'; known are"):
        replace(RECIPE, options={"eta": 0.2}).network(SETS[0])


def test_what_is_shipped_states_what_it_does(tmp_path: Path) -> None:
    info = ship(RECIPE, trained(tmp_path / "run"), *SETS)
    assert list_weights() == [("resnet8", "conv", "digits")]
    assert weights_info("resnet8", weights="digits") == info
    net = create_model("resnet8", weights="digits")
    mean, std = normalization(SETS[0])
    found = evaluate(net, SETS[1], mean=mean, std=std, batch_size=7)
    assert info.accuracy == pytest.approx(found["accuracy"])
    assert info.test_loss == pytest.approx(found["loss"], rel=1e-5)
    assert (info.test_images, info.train_images, len(info.history)) == (60, 96, 2)
    assert info.training["momentum"] == 0.9
    again = [loss["test_loss"] for loss in info.history][-1]
    assert info.test_loss != again
    assert info.test_loss == pytest.approx(again, rel=0.05)  # before float16


def test_only_finished_trainings_of_the_recipe_are_shipped(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", stop_after=1)
    with pytest.raises(CheckpointError, match="holds 1 of 2 epochs: go on with saa-lite train"):
        ship(RECIPE, run, *SETS)
    trained(run)
    with pytest.raises(CheckpointError, match=r"another configuration: lr is 0\.05 there"):
        ship(replace(RECIPE, config=replace(RECIPE.config, lr=0.1)), run, *SETS)
    with pytest.raises(CheckpointError, match="test_set is"):
        ship(RECIPE, run, SETS[0], SETS[1].subset(50))
    with pytest.raises(CheckpointError, match="does not exist"):
        ship(RECIPE, tmp_path / "nothing", *SETS)
    assert list_weights() == []
    ship(RECIPE, run, *SETS)
    with pytest.raises(UsageError, match="began with fresh weights"):
        ship(replace(RECIPE, weights="digits"), run, *SETS)


def test_the_step_of_the_adders_is_part_of_the_recipe(tmp_path: Path) -> None:
    recipe = replace(RECIPE, conv="adder", options={"eta": 0.6})
    state = {"config": settings_of(recipe.config, *SETS), "epoch": 2, "history": []}
    net = replace(recipe, options={}).network(SETS[0])
    save_checkpoint(tmp_path / "run", net, state=state)
    with pytest.raises(CheckpointError, match=r"another model: stage1\.0\.conv1 is .* eta=0\.6"):
        ship(recipe, tmp_path / "run", *SETS)


def test_a_training_goes_on_from_what_is_shipped(tmp_path: Path) -> None:
    ship(RECIPE, trained(tmp_path / "run"), *SETS)
    net = replace(RECIPE, weights="digits").network(SETS[0])
    shipped = create_model("resnet8", weights="digits")
    assert torch.equal(net.conv1.weight, shipped.conv1.weight)


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test images as few as here, so that nothing takes long."""

    def load(name: str, split: str, **options: object) -> ImageSet:
        assert name == "digits"
        return SETS[split == "test"]

    monkeypatch.setattr("saa_lite.recipes.shipping.load_dataset", load)
    monkeypatch.setattr("saa_lite.recipes.recipe.load_dataset", load)


@pytest.mark.usefixtures("digits")
def test_from_recipe_to_check_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toys.toml"
    path.write_text(TEXT)
    by = ["--recipe", str(path), "--device", "cpu", "--quiet"]
    assert cli.main(["train", *by]) == 0
    run = tmp_path / "data/runs/train/toys"
    assert cli.main(["train", *by, "--resume"]) == 0
    assert cli.main(["weights", "--write", str(run), "--recipe", str(path)]) == 0
    assert cli.main(["weights"]) == 0
    info = weights_info("resnet8", weights="digits")
    row = rf"resnet8-conv-digits +\S* *{100 * info.accuracy:.2f} .* 60 .* 2"
    assert re.search(row, capsys.readouterr().out)
    assert cli.main(["weights", "--check", "--device", "cpu"]) == 0
    assert "holds" in capsys.readouterr().out
    files.write_trained(
        replace(info, correct=info.correct - 1),
        files.stored(create_model("resnet8", weights="digits")),
    )
    assert cli.main(["weights", "--check", "--device", "cpu"]) == 1
    assert "resnet8-conv-digits did not do what the file states" in capsys.readouterr().err


@pytest.mark.usefixtures("digits")
def test_other_test_images_cannot_check(tmp_path: Path) -> None:
    info = ship(RECIPE, trained(tmp_path / "run"), *SETS)
    net = create_model("resnet8", weights="digits")
    files.write_trained(replace(info, test_images=61), files.stored(net))
    with pytest.raises(UsageError, match="was tested on 61 images; digits has 60 here"):
        list(check())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["weights", "--write", "run"], "--write DIR and --recipe NAME go together"),
        (["weights", "--recipe", "toys"], "--write DIR and --recipe NAME go together"),
        (["weights", "--check", "--write", "a", "--recipe", "b"], "--check and --write are two"),
        (
            ["train", "--recipe", "resnet20-adder-cifar10", "--lr", "1", "--eta", "1"],
            "settles --eta",
        ),
        (["train", "--recipe", "resnet21"], "must be one of 'resnet20-adder-cifar10'"),
        (["train", "--conv", "conv", "--eta", "1", "--dataset", "digits"], "has an option 'eta'"),
        (["train", "--eta", "0", "--dataset", "digits"], "eta must be a positive finite number"),
        (
            ["train", "--weights", "imagenet", "--dataset", "digits"],
            "no weights come with resnet20",
        ),
    ],
)
def test_commands_that_make_no_sense(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err
