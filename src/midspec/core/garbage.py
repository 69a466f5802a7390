"""When Python looks for garbage: seldom, and not through all that was imported.

torch, transformers and Inspect are a million objects. Python's default has them walked through again and again while
they are imported (a fifth of the time that `midspec train` takes to begin) and while many objects are made.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 20, 20)  # objects made since; Python's default is 700 or 2,000


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage seldom within it; where that is seldom or never done already, it stays so."""
    before = gc.get_threshold()
    if 0 < before[0] < _THRESHOLDS[0]:
        gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def freeze_modules(n_before: int) -> int:
    """Have garbage collection pass over all that is here, if modules were loaded; return how many there are.

    Trainer and Inspect collect garbage in full after every step, 0.2 to 0.6 s each time for the objects of their
    modules.

    Args:
        n_before: how many modules there were at the last call.
    """
    if len(sys.modules) > n_before:
        gc.collect()
        gc.freeze()
    return len(sys.modules)
