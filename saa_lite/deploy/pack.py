"""Weights as the bits that they need, and as the lists that stand for multiplications.

Filters are flattened as windows lie in memory: rows, columns, channels of the group.
"""

from dataclasses import dataclass

import numpy as np

Ints = np.ndarray


def flat(weight: Ints) -> Ints:
    """[T, C, kh, kw] → [T, kh·kw·C], channels last."""
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(len(weight), -1)


@dataclass(frozen=True)
class Words:
    """Codes of a few bits in words of 32, each filter beginning with a word of its own.

    Attributes:
        words: uint32 [T · words per filter].
        bits: of a code.
        per_word: codes in a word; the bits left over are 0.
    """

    words: Ints
    bits: int
    per_word: int


def dense(codes: Ints, bits: int) -> Words:
    """Codes [T, K] one after the other from the lowest bits: 3 bits take 32 / 10 each."""
    per_word = 32 // bits
    return Words(_join(codes, per_word, np.arange(per_word) * bits), bits, per_word)


def lanes(codes: Ints, bits: int) -> Words:
    """Codes [T, K] laid so that a shift and a mask give four bytes at once.

    Of 4·m consecutive codes, m = 8 / bits, code 4·i + q lies in byte q, i·bits from its lowest bit.
    Bits are 1, 2, 4 or 8.
    """
    place = np.arange(32 // bits)
    shifts = place % 4 * 8 + place // 4 * bits
    return Words(_join(codes, len(place), shifts), bits, len(place))


def _join(codes: Ints, per_word: int, shifts: Ints) -> Ints:
    filters, taps = codes.shape
    padded = np.zeros((filters, -(-taps // per_word), per_word), dtype=np.uint64)
    padded.reshape(filters, -1)[:, :taps] = codes
    words = (padded << shifts.astype(np.uint64)).sum(2, dtype=np.uint64)
    return words.astype(np.uint32).ravel()


def bits_for(codes: int) -> int:
    """Bits that tell so many codes apart; at least 1."""
    return max(1, (codes - 1).bit_length())


@dataclass(frozen=True)
class Line:
    """Weights least + (code << shift), of all filters of a layer."""

    codes: Ints
    bits: int
    least: int
    shift: int


def on_a_line(weight: Ints, *, from_zero: bool = False) -> Line:
    """Codes of adder weights [T, K]: what all are multiples of beyond the least is not stored."""
    least = 0 if from_zero else int(weight.min())
    beyond = weight - least
    common = int(np.gcd.reduce(beyond, axis=None)) or 1
    shift = (common & -common).bit_length() - 1
    codes = beyond >> shift
    return Line(codes, bits_for(int(codes.max()) + 1), least, shift)


def signed_digits(value: int) -> list[tuple[int, int]]:
    """Canonical signed digits: [(exponent, ±1)], no two of them neighbours.

    7 = 8 − 1 is two digits instead of three ones.
    """
    digits, exponent = [], 0
    while value:
        if value & 1:
            digit = 2 - (value & 3)
            digits.append((exponent, digit))
            value -= digit
        value >>= 1
        exponent += 1
    return digits


@dataclass(frozen=True)
class Digits:
    """Weights as lists of taps, for every exponent from the greatest: added, then subtracted.

    Attributes:
        exponents: how many.
        counts: int64 [T · exponents · 2], lengths of the lists.
        taps: int64, the lists one after the other, positions in the window.
    """

    exponents: int
    counts: Ints
    taps: Ints


def digit_lists(weight: Ints) -> Digits:
    """Of whole weights [T, K]."""
    table = {value: signed_digits(value) for value in np.unique(weight).tolist()}
    exponents = 1 + max((e for digits in table.values() for e, _ in digits), default=0)
    counts, taps = [], []
    for row in weight.tolist():
        lists: dict[tuple[int, int], list[int]] = {}
        for position, value in enumerate(row):
            for digit in table[value]:
                lists.setdefault(digit, []).append(position)
        for exponent in reversed(range(exponents)):
            for sign in (1, -1):
                found = lists.get((exponent, sign), [])
                counts.append(len(found))
                taps += found
    return Digits(exponents, np.array(counts, dtype=np.int64), np.array(taps, dtype=np.int64))


def sign_bytes(weight: Ints) -> Ints:
    """±1 [T, C, kh, kw] → uint8, eight channels a byte, 1 for +1; each pixel begins a byte."""
    bits = weight.transpose(0, 2, 3, 1) > 0
    return np.packbits(bits, axis=-1, bitorder="little").ravel()
