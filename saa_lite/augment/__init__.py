"""Hybrid layers, weight remapping and what trains a tiny network inside a larger one."""

from saa_lite.augment.build import augment
from saa_lite.augment.config import Around, AugmentConfig, Configuration, Mutation
from saa_lite.augment.export import export, plain_network
from saa_lite.augment.method import AugmentedTraining
from saa_lite.augment.network import AugmentedNet
from saa_lite.augment.sort import sort_channels

__all__ = [
    "Around",
    "AugmentConfig",
    "AugmentedNet",
    "AugmentedTraining",
    "Configuration",
    "Mutation",
    "augment",
    "export",
    "plain_network",
    "sort_channels",
]
