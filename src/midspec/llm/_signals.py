"""SIGINT, SIGTERM and SIGHUP while requests are in flight: nothing more is sent; what is in flight is recorded."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol
from weakref import WeakKeyDictionary

from midspec.core.terminals import leave_terminals

_LOG = logging.getLogger(__name__)
_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *filter(None, [_HANG_UP]))
# What came in last is still to be turned into a row or a file by whoever asked for it.
_AFTER_S = 0.05

_Handler = Callable[[int, FrameType | None], object] | int | None


class Drain(Protocol):
    """What can stop sending and be waited for."""

    def stop(self) -> None:
        """Send nothing more."""
        ...

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        ...


class _Signals:
    """The signal handlers of one event loop, shared by all clients that are open in it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._drains: list[Drain] = []
        self._before: dict[int, _Handler] = {}
        self._task: asyncio.Task[None] | None = None
        self._pending: int | None = None

    def add(self, drain: Drain) -> None:
        self._drains.append(drain)
        if not self._before:
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            self._before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
            for number in self._before:
                self._loop.add_signal_handler(number, self._on_signal, number)
                if number == _HANG_UP:  # what the loop calls next may write already
                    signal.signal(number, lambda *_: leave_terminals())
        if self._task is not None:
            drain.stop()

    def remove(self, drain: Drain) -> None:
        self._drains.remove(drain)
        if not self._drains:
            _OPEN.pop(self._loop, None)
            if self._pending is None:
                self._restore()
            else:
                self._deliver(self._pending)  # all was done before it was drained

    def _restore(self) -> None:
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _on_signal(self, number: int) -> None:
        if self._task is not None:
            if number != _HANG_UP:  # which shell and system both send where a terminal is closed
                self._deliver(number)
            return
        self._pending = number
        for drain in self._drains:
            drain.stop()
        _LOG.warning("stopping: what is in flight is still received and recorded; a second signal ends at once")

        async def drain_all() -> None:
            await asyncio.gather(*(drain.drained() for drain in self._drains))
            await asyncio.sleep(_AFTER_S)
            # From the loop itself and not from a task, so that a handler that raises ends the loop.
            self._loop.call_soon(self._deliver, number)

        self._task = self._loop.create_task(drain_all())

    def _deliver(self, number: int) -> None:
        if self._pending is None:
            return
        self._pending = None
        self._restore()
        signal.raise_signal(number)


_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, _Signals] = WeakKeyDictionary()


@contextmanager
def draining(drain: Drain) -> Iterator[None]:
    """While open, the first SIGINT, SIGTERM or SIGHUP stops `drain` and waits for it; the second ends at once.

    A second SIGHUP does not, and a signal that is ignored stays ignored. Outside the main thread, where Python takes
    no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = _OPEN.setdefault(asyncio.get_running_loop(), _Signals())
    signals.add(drain)
    try:
        yield
    finally:
        signals.remove(drain)
