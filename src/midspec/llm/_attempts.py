"""Clients around one attempt: held back while the server is full, recorded, and broken off when it is late."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._errors import TOO_LARGE, BrokenReplyError, DeadlineError, RateLimitError, RetryableError
from midspec.llm._limits import Sent, Sizes, read_limits
from midspec.llm._pacing import Pacer
from midspec.llm._prices import Prices
from midspec.llm._server import Deadlines, Silence, in_words
from midspec.llm._store import Store
from midspec.llm._streaming import PROGRESS
from midspec.llm._types import Client, ModelConfig, ModelRole, Outcome, Request, Wrapper, sampling_of

_MAX_FAILED_FIRST = 3
_LONGEST_WAIT_S = 1800.0
# A limit of hours or a day that is free again within a minute is waited for; what is asked for longer ends the run.
_SHORT_WAIT_S, _HOUR_S = 60.0, 3600.0
_LONG_CHECK_S = 1.0
_FEWEST_OVER = 3
_OVER_AFTER_S = 3.0
_LOOK_EVERY_S = 0.1
_CHECK_EVERY_S = 0.1


class _Turn:
    """One who waits for room."""

    __slots__ = ("admitted", "request")

    def __init__(self, request: Request, admitted: asyncio.Future[Sent]) -> None:
        self.request, self.admitted = request, admitted


class Limited:
    """Holds requests back until the server takes them.

    Args:
        client: what sends one attempt; it raises `RateLimitError` where the server takes no more.
        wanted: how many requests shall be in flight at once.
        where: the model's name, for messages.
        longest_wait_s: how long a wait the server may ask for before the run stops.
    """

    def __init__(
        self, client: Client, wanted: int, *, where: str = "", longest_wait_s: float = _LONGEST_WAIT_S
    ) -> None:
        self._client = client
        self._where = where
        self._longest_wait_s = longest_wait_s
        self._pacer = Pacer(wanted)
        self._sizes = Sizes()
        self._n_out = 0
        self._stopped = False
        self._over: MidspecError | None = None
        self._n_over = 0
        self._waiting: deque[_Turn] = deque()
        self._retries: deque[_Turn] = deque()
        self._failed: set[tuple[str, int]] = set()
        self._sent: dict[tuple[str, int], Sent] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """Return how many may be in flight at present."""
        return self._pacer.capacity.limit

    @property
    def n_out(self) -> int:
        """Return how many are in flight at present."""
        return self._n_out

    def held_s(self) -> float:
        """Return for how many seconds more nothing is sent."""
        return max(0.0, self._pacer.hold_until - asyncio.get_running_loop().time())

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt when there is room for it; one that comes back after a failure goes before the others.

        Raises:
            MidspecError: the server's limit of a day, or of hours, is used up.
        """
        if self._over is not None:
            raise self._over
        key = (request.task, request.turn)
        queue = self._retries if key in self._failed else self._waiting
        turn = _Turn(request, asyncio.get_running_loop().create_future())
        queue.append(turn)
        self._admit()
        try:
            sent = self._sent[key] = await turn.admitted
        except asyncio.CancelledError:
            if turn.admitted.done() and not turn.admitted.cancelled() and turn.admitted.exception() is None:
                self._leave()  # the place was given just as the one who waited went away
            raise
        clock = asyncio.get_running_loop().time
        try:
            outcome = await self._client.ask(request)
        except RetryableError as error:
            self._failed.add(key)
            if isinstance(error, RateLimitError):
                self._refuse(error, sent, clock())
            raise
        else:
            self._failed.discard(key)
            self._pacer.answer(sent, clock())
            self._sizes.learn(request, sent.sizes, outcome.usage)
            return outcome
        finally:
            self._sent.pop(key, None)
            self._leave()

    def read_headers(self, request: Request, headers: Mapping[str, str]) -> None:
        """Take over what the headers of a response to `request` say of limits."""
        readings = read_limits(headers)
        if readings and (sent := self._sent.get((request.task, request.turn))) is not None:
            self._pacer.read(readings, sent, asyncio.get_running_loop().time())

    def _refuse(self, error: RateLimitError, sent: Sent, now: float) -> None:
        told = error.refusal
        wait_s = error.wait_s if told is None or error.wait_s is not None else told.wait_s
        kind = told.kind if told is not None else None
        if wait_s is None and (reset_s := self._pacer.reset_s(sent, now) or 0.0) > self._longest_wait_s:
            wait_s = reset_s
        if told is not None and told.requested and told.limit and told.requested > told.limit:
            what = f"one request takes more than the server's limit allows at once ({error.reason})"
            hint = "Lower the caps of replies, shorten the spec, or have the limit raised"
            raise MidspecError(what, where=self._where, hint=hint) from None
        is_long = wait_s is not None and wait_s > self._longest_wait_s
        if told is not None and (told.window_s or 0.0) > _HOUR_S and (wait_s is None or wait_s > _SHORT_WAIT_S):
            is_long = True
        if is_long:  # tried again soon, in case that others are taken: then it is an odd answer, and no limit
            self._n_over = self._n_over + 1 if self._pacer.n_in_a_row else 1
            row = self._pacer.row
            if self._n_over >= _FEWEST_OVER and row is not None and now - row.at >= _OVER_AFTER_S:
                self._end(error, wait_s)
            wait_s, kind = _LONG_CHECK_S, None
        per_s = told.limit / told.window_s if told is not None and told.limit and told.window_s else None
        error.wait_s = self._pacer.refuse(sent, self._n_out - 1, now, kind=kind, per_s=per_s, wait_s=wait_s)

    def _end(self, error: RateLimitError, wait_s: float | None) -> None:
        """End the run: what the server asks for is no pause. Whoever waits is told the same."""
        until = "" if wait_s is None else f"; free again in {in_words(wait_s)}"
        what = f"a limit of the account is used up, and not only for a moment ({error.reason}{until})"
        self._over = MidspecError(what, where=self._where, hint="The same command goes on from here then")
        for turn in (*self._retries, *self._waiting):
            if not turn.admitted.done():
                turn.admitted.set_exception(self._over)
        raise self._over from None

    async def close(self) -> None:
        """Close what is wrapped."""
        if self._timer is not None:
            self._timer.cancel()
        await self._client.close()

    # Stopping --------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Send nothing more; whoever waits goes on waiting."""
        self._stopped = True

    async def drained(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()

    # Room ------------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._n_out -= 1
        if self._n_out == 0:
            self._idle.set()
        self._admit()

    def _admit(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while not self._stopped and (queue := self._retries or self._waiting):
            turn = queue[0]
            if turn.admitted.done():
                queue.popleft()
                continue
            # As answers have it now: estimates of before would make those that waited longest seem the largest.
            sizes = self._sizes.estimate(turn.request)
            at = self._pacer.opens_at(sizes, self._n_out, now)
            if at is None or at > now:
                self._look_again(at, now)
                return
            queue.popleft()
            turn.admitted.set_result(self._pacer.send(sizes, self._n_out, now))
            self._n_out += 1
            self._idle.clear()

    def _look_again(self, at: float | None, now: float) -> None:
        if self._pacer.is_plain:
            return  # the next one that comes back makes room
        if self._timer is not None:
            self._timer.cancel()
        pause_s = _LOOK_EVERY_S if at is None else min(_LOOK_EVERY_S, at - now)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._admit)


class Recorded(Wrapper):
    """Records every attempt and what it cost: a row before it is sent, closed before its outcome goes anywhere.

    Args:
        client: what makes one attempt.
        store: where the rows go.
        model: the model that is asked.
        role: what it is asked as.
        prices: what tokens cost.
        sampling: how the model is asked to sample at present, as one line of JSON; as configured when not given.
    """

    def __init__(
        self, client: Client, store: Store, model: ModelConfig, role: ModelRole, prices: Prices,
        sampling: Callable[[], str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(client)
        self._store, self._prices = store, prices
        self._model, self._role = model.model, role
        self._sampling = sampling or (lambda: sampling_of(model))
        self._all_failed: list[int] | None = []  # rows of a run in which nothing else has happened yet

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt and write its row. A row that is never closed was in flight at a kill.

        Raises:
            RetryableError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good, or takes none of the first three requests.
        """
        sampling, sent_at = self._sampling(), time.time()
        row = self._store.open(request, self._model, self._role, sampling)
        try:
            outcome = await self._client.ask(request)
        except (DeadlineError, BrokenReplyError) as error:
            usage = error.usage if isinstance(error, BrokenReplyError) else None
            if usage is None and isinstance(error, BrokenReplyError) and not self._store.has_answers(self._model):
                self._store.again(row, error.reason)  # nothing at that address has ever answered, or billed
                raise
            # It may have been billed all the same; of how much nobody hears, unless the server counted.
            self._store.close(row, self._priced(Outcome(kind="timed_out", note=error.reason, usage=usage), sent_at))
            raise
        except (RetryableError, MidspecError) as error:
            self._store.again(row, str(error))
            raise
        outcome = self._priced(outcome, sent_at)
        self._store.close(row, outcome)
        if (now := self._sampling()) != sampling:  # the model took the request without a parameter
            self._store.set_sampling(row, now)
        if outcome.kind != "failed":
            self._all_failed = None
        elif self._all_failed is not None:
            self._all_failed.append(row)
            self._check_settings(self._all_failed, outcome)
        return outcome

    def _priced(self, outcome: Outcome, sent_at: float) -> Outcome:
        if outcome.usage is None:
            return outcome
        cost_usd = self._prices.cost(self._model, outcome.usage, at=sent_at)
        return outcome.model_copy(update={"cost_usd": cost_usd})

    def _check_settings(self, failed_rows: list[int], outcome: Outcome) -> None:
        """End a run whose every request is refused: the server does not take the settings, whatever the texts."""
        if len(failed_rows) >= _MAX_FAILED_FIRST:
            for row in failed_rows:
                self._store.again(row, outcome.note)  # with other settings they are asked again
            what = f"the server takes none of the requests ({outcome.note})"
            hint = "Check the model's name, temperature, extra fields and caps"
            if outcome.stop_reason == TOO_LARGE:
                hint = "Check the prompt's size (a shorter spec), and how large a request the server or a proxy takes"
            raise ConfigError(what, where=self._model, hint=hint)


class _Attempt:
    __slots__ = ("last_at", "max_tokens", "sent_at", "stage", "stretch", "timer")

    def __init__(self, request: Request, sent_at: float, stretch: float, timer: asyncio.Timeout) -> None:
        self.stage, self.max_tokens = request.stage, request.max_tokens
        self.sent_at, self.stretch, self.timer = sent_at, stretch, timer
        # When the last of it came, where it is streamed: what is still coming is not late.
        self.last_at = sent_at

    def note_progress(self) -> None:
        self.last_at = asyncio.get_running_loop().time()


class Timed:
    """Breaks off attempts that are past their stage's deadline, those included that were sent before it was known.

    Args:
        client: what makes one attempt.
        longest_s: the longest that an attempt may take.
        silence: tells what is waited for.
    """

    def __init__(self, client: Client, longest_s: float, silence: Silence) -> None:
        self._client = client
        self._silence = silence
        self._longest_s = longest_s
        self.deadlines = Deadlines(longest_s)
        self._in_flight: set[_Attempt] = set()
        self._n_late: dict[tuple[str, int], int] = {}
        self._next_check: asyncio.TimerHandle | None = None

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt.

        Raises:
            DeadlineError: no answer within the deadline.
        """
        key = (request.task, request.turn)
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as timer:
                attempt = _Attempt(request, clock(), 2.0 ** self._n_late.get(key, 0), timer)
                self._in_flight.add(attempt)
                PROGRESS.set(attempt.note_progress)
                if self._next_check is None:
                    self._schedule_check()
                try:
                    outcome = await self._client.ask(request)
                finally:
                    self._in_flight.discard(attempt)
        except TimeoutError:
            now = clock()
            self._n_late[key] = min(self._n_late.get(key, 0) + 1, 20)
            self.deadlines.late(request.stage, attempt.sent_at, now)
            raise DeadlineError(f"no answer after {now - attempt.sent_at:.1f} s") from None
        if outcome.kind != "failed":
            self.deadlines.answered(request.stage, clock() - attempt.sent_at, request.max_tokens)
        self._n_late.pop(key, None)
        return outcome

    def _schedule_check(self) -> None:
        self._next_check = asyncio.get_running_loop().call_later(_CHECK_EVERY_S, self._break_off)

    def _break_off(self) -> None:
        """Break off what is overdue; one check of all of them, ten times a second, while any is in flight."""
        self._next_check = None
        now = asyncio.get_running_loop().time()
        seconds: dict[tuple[str, int], float] = {}
        for attempt in self._in_flight:
            kind = (attempt.stage, attempt.max_tokens)
            if kind not in seconds:
                seconds[kind] = self.deadlines.seconds(*kind)
            allowed_s = seconds[kind] * attempt.stretch
            if now - attempt.last_at > min(allowed_s, self._longest_s) and attempt.timer.when() is None:
                attempt.timer.reschedule(0.0)
        if self._in_flight:
            oldest = min(self._in_flight, key=lambda attempt: attempt.sent_at)
            waited_s = now - max(oldest.sent_at, self._silence.answered_at)
            usual_s = seconds[oldest.stage, oldest.max_tokens]
            usual_s = 0.0 if usual_s >= self._longest_s else usual_s
            self._silence.wait(oldest.stage, oldest.max_tokens, len(self._in_flight), waited_s, usual_s, now)
            self._schedule_check()

    async def close(self) -> None:
        """Close what is wrapped."""
        if self._next_check is not None:
            self._next_check.cancel()
        await self._client.close()
