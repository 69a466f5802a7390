"""Processes that this one starts: a child ends with its parent, also with one that was killed."""

from __future__ import annotations

import os
import threading
import time

_POLL_S = 0.2


def end_with(parent: int) -> None:
    """End this process as soon as the process of that id is its parent no more; returns at once."""
    threading.Thread(target=_wait_for_end, args=(parent,), daemon=True).start()


def _wait_for_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)
