"""C written line by line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

WIDTH = 96


class Lines:
    """Collects lines at the indentation of the block that is open."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, *lines: str) -> None:
        self.lines += [f"{'    ' * self.depth}{line}" if line else "" for line in lines]

    @contextmanager
    def block(self, head: str = "") -> Iterator[None]:
        """Braces around what is written inside."""
        self(f"{head} {{".lstrip())
        self.depth += 1
        yield
        self.depth -= 1
        self("}")

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"


def table(type: str, name: str, values: Sequence[int] | np.ndarray) -> str:
    """``static const type name[n] = {…};`` in lines of bounded width."""
    numbers = [literal(type, int(value)) for value in values]
    lines, line = [], "   "
    for number in numbers:
        if len(line) + len(number) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {number},"
    return "\n".join([f"static const {type} {name}[{len(numbers)}] = {{", *lines, line, "};"])


def literal(type: str, value: int) -> str:
    """A constant of that type, without a sign in front of a number that has no positive twin."""
    if type == "uint32_t":
        return f"0x{value & 0xFFFFFFFF:x}u"
    if type == "uint64_t":
        return f"0x{value & 0xFFFFFFFFFFFFFFFF:x}u"
    if type == "int32_t" and value == -(2**31):
        return "(-2147483647 - 1)"
    return str(value)


SIZES = {"uint8_t": 1, "int8_t": 1, "uint16_t": 2, "int16_t": 2, "uint32_t": 4, "int32_t": 4}
SIZES |= {"uint64_t": 8, "int64_t": 8}
