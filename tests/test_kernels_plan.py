"""Plans: which pixels tiles cover, and which rows and columns see each other."""

import pytest

from saa_lite.kernels import plan


@pytest.mark.parametrize("largest", [0, 1, 2, 3])
def test_tiles_cover_every_row_and_nothing_beside_it(largest: int) -> None:
    for pixels in range(70):
        covered: set[int] = set()
        for size, tiles, first in plan.along(pixels, largest):
            assert size <= largest
            covered |= set(range(first, first + (tiles << size)))
        assert covered == set(range(pixels))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("padding", "dilation"), [(0, 1), (2, 1), (1, 2), (3, 3)])
def test_axes_are_the_equations(kernel: int, stride: int, padding: int, dilation: int) -> None:
    """Output row o sees input row o·s − p + k·d: both axes list these pairs, and no other."""
    sizes = 12, 9  # of output and input, more of either than the other one reaches
    pairs = {
        (o, i, k)
        for o in range(-60, 60)
        for i in range(-60, 60)
        for k in range(kernel)
        if i == o * stride - padding + k * dilation
    }
    for backward, size in enumerate(sizes):
        axis = plan.axis_of(bool(backward), size, kernel, stride, padding, dilation)
        found = set()
        for pixel, (base, phase) in enumerate(zip(axis.base, axis.phase, strict=True)):
            for steps, place in axis.taps[phase]:
                k = kernel - 1 - place if backward else place
                seen = (base + steps, pixel) if backward else (pixel, base + steps)
                found.add((*seen, k))
        assert found == {pair for pair in pairs if 0 <= pair[backward] < size}
