"""Where a process begins: the commands are imported here, so that Ctrl-C while they are ends as any other does."""

from __future__ import annotations

import signal
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    try:
        from midspec.cli._main import main as run

        return run(args)
    except KeyboardInterrupt:
        from midspec.cli._output import stopped

        return stopped(signal.SIGINT, args)
