"""saa_lite: multiplication-free tiny networks, rebuilt from scratch with visible code."""

from saa_lite.threads import wait_asleep

__version__ = "0.1.0"

wait_asleep()  # before anything imports torch, which would spin
