"""saa_lite: multiplication-free tiny networks, rebuilt from scratch with visible code."""

__version__ = "0.1.0"
