"""Output to a terminal that was closed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress


def leave_terminals() -> None:
    """Let output to terminals go nowhere: one that was closed refuses every word, which would end what is written for.

    Standard output and errors that are files or pipes stay.
    """
    for number in (1, 2):
        with suppress(OSError):  # closed before, or no file can be opened
            if stat.S_ISCHR(os.fstat(number).st_mode):  # a closed terminal is none for `isatty`
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
