"""The command line: arguments, printing and progress, and nothing else; the rooms do the work.

Rooms are imported inside commands, so that `midspec --help` answers at once.
"""

from midspec.cli._main import main

__all__ = ["main"]
