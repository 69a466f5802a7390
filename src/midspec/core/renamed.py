"""Old names that users may still write: each is told once, in one line that says the new one."""

from __future__ import annotations

import logging
from functools import cache

_LOG = logging.getLogger("midspec")


@cache
def note_renamed(old: str, new: str, where: str) -> None:
    """Say in one line that `old` is called `new` now.

    Python prints a logger's warnings on standard error where nobody has set up logging.
    """
    _LOG.warning("%s: %s is called %s now; the old name still works", where, old, new)
