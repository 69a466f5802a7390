"""How far work has come, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int, str], None]
"""Is called with how much is done, out of how much (0 where that is not known), and a few words."""
