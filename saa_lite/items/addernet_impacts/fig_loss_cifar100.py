"""addernet-impacts/fig-loss-cifar100: see :mod:`saa_lite.items.addernet_impacts.loss_curves`."""

from saa_lite.items.addernet_impacts.loss_curves import item

ITEM = item(100)
