"""A small residual network, trained on the embedded digits in seconds."""

from functools import cache

import torch
from torch import Tensor, nn

from saa_lite.data import Batches, load_dataset, normalization
from saa_lite.train import TrainConfig, evaluate, train

WIDTH = 12


class ResidualBlock(nn.Module):
    """Works in place where it can, as users' networks do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(out)) + x)


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(inplace=True),
        ),
        ResidualBlock(WIDTH),
        nn.MaxPool2d(2),
        ResidualBlock(WIDTH),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * WIDTH, 10),
    )


def digits():
    return load_dataset("digits", "train", size=8), load_dataset("digits", "test", size=8)


@cache
def trained_network(seed: int) -> nn.Module:
    """Not to be changed: tests share it."""
    model = small_network(seed)
    config = TrainConfig(epochs=6, batch_size=64, lr=0.1, crop_padding=0, seed=seed)
    train(model, *digits(), config, progress=False)
    return model


def calibration(seed: int, count: int = 128) -> Tensor:
    train_set, _ = digits()
    mean, std = normalization(train_set)
    chosen = train_set.subset(count, seed=seed)
    return next(iter(Batches(chosen, count, mean=mean, std=std).epoch(0)))[1]


def accuracy(model: nn.Module) -> float:
    train_set, test_set = digits()
    mean, std = normalization(train_set)
    return evaluate(model, test_set, mean=mean, std=std)["accuracy"]


def settle_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """Norms as after training: statistics, factors and summands that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for name, low, high in (
                ("running_mean", -0.5, 0.5),
                ("running_var", 0.5, 1.5),
                ("weight", 0.5, 1.5),
                ("bias", -0.5, 0.5),
            ):
                getattr(module, name).data.uniform_(low, high, generator=generator)
    return model.eval()
