"""A Bloom filter over 64-bit hashes: "surely new" costs no SQL, only its hits ask the table.

Blocked: all bits of one hash lie in one 64-bit word, so a look-up touches memory once. At 24 bits
an entry and 4 bits set, about 1 % of new ids are asked for in vain.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from typing import Final

BITS_PER_ENTRY: Final = 24
CAPACITY_MIN: Final = 1 << 16
_WORD_BITS: Final = 64


def stable_hash(source: str, name: str) -> int:
    """Return a 64-bit hash of an event's identity, equal in every process and on every machine."""
    key = f"{source}\0{name}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def local_hash(thread: int, name: str) -> int:
    """Return a 64-bit hash that holds in this process only, four times as fast."""
    return hash((thread, name)) & 0xFFFF_FFFF_FFFF_FFFF


_TWO_BITS: Final = tuple(1 << (pair & 63) | 1 << (pair >> 6) for pair in range(1 << 12))
"""The bits that twelve bits of a hash set in a word: looked up, they cost a third."""


def _mask(value: int) -> int:
    return _TWO_BITS[value & 4095] | _TWO_BITS[value >> 12 & 4095]


class Bloom:
    """A growing set of hashes that may say "maybe" wrongly, never "no"."""

    def __init__(self, entries: int = 0) -> None:
        self._filters: list[tuple[array[int], int]] = []
        self._room = 0
        self._grow(max(entries * 2, CAPACITY_MIN))

    def _grow(self, capacity: int) -> None:
        words = capacity * BITS_PER_ENTRY // _WORD_BITS
        self._filters.append((array("Q", bytes(8 * words)), words))
        self._room = capacity

    def add(self, value: int) -> None:
        """Add one hash; a full filter is followed by one twice its size."""
        if self._room == 0:
            self._grow(self._filters[-1][1] * _WORD_BITS // BITS_PER_ENTRY * 2)
        words, size = self._filters[-1]
        # The word comes from the high bits, the bits within it from the low ones.
        words[(value >> 24) % size] |= _mask(value)
        self._room -= 1

    def put(self, value: int) -> bool:
        """Add one hash; tell whether it may have been there before."""
        if value in self:
            return True
        self.add(value)
        return False

    def update(self, values: Iterable[int]) -> None:
        """Add many hashes."""
        for value in values:
            self.add(value)

    def __contains__(self, value: int) -> bool:
        """Tell whether a hash may have been added."""
        mask, place = _mask(value), value >> 24
        for words, size in self._filters:  # noqa: SIM110  # a generator would cost twice as much
            if words[place % size] & mask == mask:
                return True
        return False
