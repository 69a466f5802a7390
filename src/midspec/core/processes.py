"""Processes that this one starts: a child ends with its parent, also with one that was killed."""

from __future__ import annotations

import os
import threading
import time

_POLL_S = 0.2


def end_with(parent: int) -> None:
    """End this process as soon as the process of that id is its parent no more; returns at once."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
