"""SIGINT and SIGTERM while training: the update is finished and saved first, then the signal has its way."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Within it, a first SIGINT or SIGTERM is kept in mind, and given back to its own handler on leaving.

    A second one has its way at once. A signal that is ignored stays ignored. Outside the main thread, where no
    handler can be set, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            # A handler that was not set from Python reads as None, and could not be put back.
            self._before = {number: old for number, old in before.items() if old not in {signal.SIG_IGN, None}}
            for number in self._before:
                signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._restore()
        if self.asked is not None and error is None:
            signal.raise_signal(self.asked)
            # Its own handler let it pass; but what was asked to stop has not ended.
            raise SystemExit(128 + self.asked)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked = number
        else:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)
