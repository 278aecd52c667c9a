"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math


def learning_rate(step: int, peak: float, total_steps: int, warmup_steps: int = 0) -> float:
    """Rate of optimiser step ``step`` (0-based): linear warm-up, then a cosine down towards 0.

    During warm-up ``peak · (step + 1) / warmup_steps``; afterwards
    ``½ · peak · (1 + cos(π t))`` with t running from 0 towards 1 over the steps that are left.
    AdderNet's official code uses the same cosine, but changes the rate once an epoch.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * done))
