"""The command line changes what a process does on signals and faults; tests put that back."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "study" / "tiny.yaml"


@pytest.fixture(autouse=True)
def _undo_process_settings() -> Iterator[None]:
    hook = sys.excepthook
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    sys.excepthook = hook
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The tiny study on disk, alone in its folder."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.read_text(encoding="utf-8"), encoding="utf-8")
    return path
