"""Progress of long work."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[int, int, str], None]
"""Called with how much is done, out of how much (0 where that is not known), and a few words."""
