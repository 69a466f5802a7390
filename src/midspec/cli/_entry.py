"""Where a process begins: the commands are imported here, so that Ctrl-C while they are ends as any other does."""

from __future__ import annotations

import signal
import sys

try:
    from midspec.cli._main import main as main
except KeyboardInterrupt:
    from midspec.cli._output import stopped

    sys.exit(stopped(signal.SIGINT))
