"""What a measurement comes to: a number, or the reason why there is none."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Unscored", "Value"]


class Unscored(NamedTuple):
    """The reason why a measure has no value. Never 0, never left out."""

    reason: str


Value = float | Unscored
