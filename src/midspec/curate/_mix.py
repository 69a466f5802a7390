"""Several sources of rows in one order that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["mix"]

RowT = TypeVar("RowT")


def mix(parts: Sequence[Sequence[RowT]], *, seed: int) -> list[RowT]:
    """Every row of every part once, shuffled.

    The order depends on the seed and on how many rows there are, never on what they say: two mixes of equal size
    and equal seed put their rows in the same places, so that arms differ in their rows and not in their order.
    """
    rows = [row for part in parts for row in part]
    random.Random(seed).shuffle(rows)
    return rows
