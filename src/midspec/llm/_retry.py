"""Attempts that came to nothing are made again, for as long as the server answers anybody at all.

There is no fixed number of attempts: a server that is overloaded for an hour would otherwise lose the documents of that
hour. What ends the run is that nothing at all succeeds for a long time; what ends one request is that it alone has
failed for as long, while others succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import random

from midspec.errors import MidspecError
from midspec.llm._types import Client, Outcome, Request
from midspec.llm._wire import AgainError, BusyError, LateError, UnreachableError

__all__ = ["Retrying"]

_LOG = logging.getLogger(__name__)

_FEWEST_FAILURES = 5
_FEWEST_OF_ONE = 8
# A wrong address is the commonest mistake; whoever has answered once is waited for longer.
_FIRST_PATIENCE_S = 30.0


class Retrying:
    """Asks until there is an answer.

    Args:
        client: what makes one attempt; it raises `AgainError` for what may be repeated.
        where: the model's name, for messages.
        url: where the server is, for messages.
        patience_s: how long nothing may succeed before the run stops, and how long one request may fail alone.
        first_pause_s: the first pause after a failure; it doubles from there.
        longest_pause_s: the longest that the doubling goes.
        first_patience_s: how long no connection may open before the first has opened.
    """

    def __init__(
        self,
        client: Client,
        *,
        where: str,
        patience_s: float,
        url: str = "",
        first_pause_s: float = 0.25,
        longest_pause_s: float = 60.0,
        first_patience_s: float = _FIRST_PATIENCE_S,
    ) -> None:
        self._client = client
        self._where = where
        self._url = url
        self._first_patience_s = first_patience_s
        self._has_reached = False
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failing_since: float | None = None
        self._n_failed = 0

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request, after as many attempts as it takes.

        Raises:
            MidspecError: nothing at all has succeeded for as long as the patience goes.
        """
        n_failed = 0
        clock = asyncio.get_running_loop().time
        started_at = clock()
        while True:
            try:
                outcome = await self._client.ask(request)
            except AgainError as error:
                n_failed += 1
                self._failed(error)
                if n_failed >= _FEWEST_OF_ONE and clock() - started_at > self._patience_s:
                    # Not final in the store: the same command asks once more.
                    return Outcome(kind="timed_out", note=f"no answer in {n_failed} attempts ({error.words})")
                await asyncio.sleep(self._pause_s(error, n_failed))
            else:
                self._has_reached = True
                self._failing_since = None
                self._n_failed = 0
                return outcome

    def _failed(self, error: AgainError) -> None:
        now = asyncio.get_running_loop().time()
        self._n_failed += 1
        if self._failing_since is None:
            self._failing_since = now
        failing_s = now - self._failing_since
        self._has_reached = self._has_reached or not isinstance(error, UnreachableError)
        if not self._has_reached and self._n_failed == 1:
            _LOG.warning("no connection to %s yet (%s); trying on for a while", self._url, error.words)
        if not self._has_reached and self._n_failed >= _FEWEST_FAILURES and failing_s > self._first_patience_s:
            what = f"no connection to {self._url} for {failing_s:.0f} s ({error.words})"
            raise MidspecError(what, where=self._where, mend="Check the base URL, and that the server runs") from None
        if self._n_failed >= _FEWEST_FAILURES and failing_s > self._patience_s:
            what = f"nothing has been answered for {failing_s:.0f} s ({error.words})"
            raise MidspecError(what, where=self._where, mend="The same command goes on from here") from None

    def _pause_s(self, error: AgainError, n_failed: int) -> float:
        if error.wait_s is not None:
            return error.wait_s * random.uniform(1.0, 1.05)
        if isinstance(error, LateError):
            return 0.0  # the deadline was the pause
        # The limiter holds back what a busy server does not carry; a long pause on top would idle its slots.
        longest_s = min(5.0, self._longest_pause_s) if isinstance(error, BusyError) else self._longest_pause_s
        return min(longest_s, self._first_pause_s * 2.0 ** min(n_failed - 1, 30)) * random.uniform(0.5, 1.0)

    async def close(self) -> None:
        """Close what is wrapped."""
        await self._client.close()
