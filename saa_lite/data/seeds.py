"""Independent random streams from small integers."""

import torch

MASK64 = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Hash integers to 64 bits, each folded in by one round of splitmix64 (Steele et al., 2014).

    So neighbouring seeds, epochs and steps get unrelated streams; a plain sum of them would
    collide, and torch's CPU generator looks at the low 32 bits of its seed only.
    """
    state = 0
    for part in parts:
        state = (state ^ (part & MASK64)) + 0x9E3779B97F4A7C15 & MASK64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK64
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK64
        state ^= state >> 31
    return state


def generator_for(*parts: int) -> torch.Generator:
    """A fresh CPU generator seeded with ``mix(*parts)``."""
    return torch.Generator().manual_seed(mix(*parts))
