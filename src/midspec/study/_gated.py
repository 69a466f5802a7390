"""What the competence gate found of one seed's base."""

from __future__ import annotations

from midspec.records import Strict

__all__ = ["Gated"]


class Gated(Strict):
    """What one seed's base scored on the gate, 0-1; `None` when nothing was scored, which does not pass."""

    seed: int
    value: float | None
    threshold: float
    passed: bool
