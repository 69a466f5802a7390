"""Clients around a whole request: answered from the store, within the budget, after its prefix, until it succeeds."""

from __future__ import annotations

import asyncio
import logging
import random

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._attempts import Limited
from midspec.llm._cut_prompts import CutPrompts
from midspec.llm._errors import ConnectError, DeadlineError, FailedGenerationError, RateLimitError, RetryableError
from midspec.llm._ledger import estimate_usd
from midspec.llm._prices import Prices
from midspec.llm._server import Silence
from midspec.llm._store import Store, as_recorded
from midspec.llm._types import Client, ModelRole, Outcome, Request, Usage, Wrapper

_LOG = logging.getLogger(__name__)
_BYTES_PER_TOKEN = 2
# Providers forget a prefix five minutes after its last use.
_KEPT_S = 270.0
_FEWEST_FAILURES, _FEWEST_OF_ONE = 5, 8
# How often a model may write what its server refuses.
_MAX_OWN_FAULTS = 6
# A wrong address is the commonest mistake; whoever has answered once is waited for longer.
_FIRST_PATIENCE_S = 30.0
_LONGEST_ASKED_S = 60.0


class Stored(Wrapper):
    """Answers from the store what is settled there, and asks the client inside for the rest.

    Args:
        client: what is asked.
        store: where replies are.
        where: the model's name, for messages.
    """

    def __init__(self, client: Client, store: Store, where: str = "") -> None:
        super().__init__(client)
        self._store = store
        self._cut_prompts = CutPrompts(store, where)

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome on record, or a new one.

        Raises:
            ConfigError: the server cuts prompts.
        """
        found = self._store.settled(request)
        if found is not None:
            return found
        if self._cut_prompts.error is not None:
            raise self._cut_prompts.error
        outcome = await self._client.ask(request)
        self._cut_prompts.look_at(outcome, request)
        return as_recorded(outcome)


class Budgeted(Wrapper):
    """Sends a request only if the cap holds whatever its reply costs.

    Before sending, the worst case is set aside: the prompt at a token for every two bytes (more than tokenizers make
    of text in any script) and a reply as long as its cap. All clients of a store draw on the same cap. Near the end,
    requests wait for those in flight to give back what they did not use; when one does not fit although nothing is
    in flight, the run ends. What other processes had in flight when they were killed, and what timed out, counts as
    `Store.unmetered` estimates it.

    Args:
        client: what is asked inside the cap.
        store: knows what was spent.
        prices: what tokens cost.
        cap_usd: what all attempts of the store may cost together; `None` for no cap.
        model: the model that `client` asks, as configured.
        role: what it is asked as.
        batch: whether it is asked through a batch endpoint.

    Raises:
        ConfigError: there is a cap, and a price is unknown that would be needed to hold it.
    """

    def __init__(
        self,
        client: Client,
        store: Store,
        prices: Prices,
        cap_usd: float | None,
        *,
        model: str,
        role: ModelRole = "author",
        batch: bool = False,
    ) -> None:
        super().__init__(client)
        self._store = store
        self._prices = prices
        self._cap_usd = cap_usd
        self._model = model
        self._role = role
        self._batch = batch
        self._over = ""
        if cap_usd is not None:
            store.price(prices.cost)
            self._cost_usd(Usage(n_input=1))
            self._spent_usd()

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request.

        Raises:
            ConfigError: the cap would be passed; nothing more is sent.
        """
        if self._cap_usd is None:
            return await self._client.ask(request)
        if self._over:
            raise self._used_up()
        texts = (request.prefix, request.prompt, *(turn.content for turn in request.turns))
        n_bytes = sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)
        n_prompt = n_bytes // _BYTES_PER_TOKEN
        worst_usd = max(
            self._cost_usd(Usage(n_cache_write=n_prompt, n_output=request.max_tokens)),
            self._cost_usd(Usage(n_input=n_prompt, n_output=request.max_tokens)),
        )
        if not await self._store.reservations.hold(worst_usd, self._left_usd):
            if not self._over:  # recorded once, with the request that did not fit
                self._over = (
                    f"{self._cap_usd} USD are used up: {self._spent_usd():.4f} are spent, and the next request may cost"
                    f" {worst_usd:.4f}"
                )
                attempt = self._store.open(request, self._model, self._role, "{}")
                self._store.close(attempt, Outcome(kind="over_budget", cost_usd=0.0, note=self._over))
            raise self._used_up()
        try:
            return await self._client.ask(request)
        finally:
            self._store.reservations.release(worst_usd)

    def _left_usd(self) -> float:
        if self._over or self._cap_usd is None:
            return 0.0
        return self._cap_usd - self._spent_usd()

    def _spent_usd(self) -> float:
        unmetered = self._store.unmetered()
        estimate = estimate_usd(unmetered, self._prices)
        if estimate is None or self._store.unpriced():
            unknown = next(
                (row.model for row in unmetered if estimate_usd([row], self._prices) is None), "an earlier model"
            )
            raise unknown_price(unknown)
        return self._store.spent_usd() + estimate

    def _cost_usd(self, usage: Usage) -> float:
        cost_usd = self._prices.cost(self._model, usage, self._batch)
        if cost_usd is None:
            raise unknown_price(self._model)
        return cost_usd

    def _used_up(self) -> ConfigError:
        hint = "Raise --budget and run again: nothing that is paid is asked again"
        return ConfigError(self._over, where="--budget", hint=hint)


def unknown_price(model: str) -> ConfigError:
    """Return the error for a budget that needs a price nobody knows."""
    what = f"the price of {model} is unknown, so no budget can be kept"
    hint = f"Give --prices a YAML file with a line `{model}: {{input: 1.0, output: 4.0}}` (USD per million tokens)"
    return ConfigError(what, where="--budget", hint=hint)


class _PrefixState:
    """Of one prefix: the call that went first, how many are in flight, and when it was last used."""

    __slots__ = ("first_call", "n_in_flight", "used_at")

    def __init__(self) -> None:
        self.first_call: asyncio.Future[None] | None = None
        self.n_in_flight = 0
        self.used_at = float("-inf")


class PrefixFirst(Wrapper):
    """Lets one call with a new (or long unused) prefix go alone, and the others when it has come back.

    Args:
        client: what answers.
        kept_s: how long a provider keeps a prefix that nobody uses.
        longest_lead_s: how long the others wait for a first call.
    """

    def __init__(self, client: Client, *, kept_s: float = _KEPT_S, longest_lead_s: float = 60.0) -> None:
        super().__init__(client)
        self._kept_s = kept_s
        self._longest_lead_s = longest_lead_s
        self._states: dict[str, _PrefixState] = {}

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request, asked when its prefix is in the cache, or to put it there."""
        if not request.prefix:
            return await self._client.ask(request)
        state = self._states.setdefault(request.prefix, _PrefixState())
        waited = False
        while state.first_call is not None and not waited:
            # A first call that hangs must not hold up a whole run.
            _, pending = await asyncio.wait([state.first_call], timeout=self._longest_lead_s)
            waited = bool(pending)
        first_call: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        if state.n_in_flight == 0 and loop.time() - state.used_at > self._kept_s:
            first_call = state.first_call = loop.create_future()
        state.n_in_flight += 1
        try:
            return await self._client.ask(request)
        finally:
            state.n_in_flight -= 1
            state.used_at = loop.time()
            if first_call is not None:
                # A first call that failed frees the others too: one of them would fail in the same way.
                state.first_call = None
                first_call.set_result(None)


class Retrying(Wrapper):
    """Makes attempts that came to nothing again, for as long as the server answers anybody at all.

    There is no fixed number of attempts: a server that is overloaded for an hour would otherwise lose the documents of
    that hour. What ends the run is that nothing at all succeeds for a long time; what ends one request is that it alone
    has failed for as long, while others succeeded.

    Args:
        client: what makes one attempt; it raises `RetryableError` for what may be repeated.
        where: the model's name, for messages.
        url: where the server is, for messages.
        patience_s: how long nothing may succeed before the run stops, and how long one request may fail alone.
        first_pause_s: the first pause after a failure; it doubles from there.
        longest_pause_s: the longest that the doubling goes.
        first_patience_s: how long no connection may open before the first has opened.
        silence: tells what the server answers while nothing succeeds.
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
        silence: Silence | None = None,
    ) -> None:
        super().__init__(client)
        self._where = where
        self._url = url
        self._first_patience_s = first_patience_s
        self._has_reached = False
        self._patience_s = patience_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._failing_since: float | None = None
        self._n_failed = 0
        self._silence = silence or Silence(where)

    async def ask(self, request: Request) -> Outcome:
        """Return the outcome of one request after as many attempts as it takes.

        Raises:
            MidspecError: nothing at all has succeeded for as long as the patience goes.
        """
        n_failed = 0
        clock = asyncio.get_running_loop().time
        started_at = clock()
        while True:
            try:
                outcome = await self._client.ask(request)
            except RetryableError as error:
                n_failed += 1
                self._count_failure(error)
                is_last = isinstance(error, FailedGenerationError) and n_failed >= _MAX_OWN_FAULTS
                if is_last or (n_failed >= _FEWEST_OF_ONE and clock() - started_at > self._patience_s):
                    # Not final in the store: the same command asks once more.
                    return Outcome(kind="timed_out", note=f"no answer in {n_failed} attempts ({error.reason})")
                pause_s = self._pause_s(error, n_failed)
                if self._has_reached:
                    limited = self._client if isinstance(self._client, Limited) else None
                    next_s = pause_s if limited is None else max(pause_s, limited.held_s())
                    self._silence.fail(error.reason, next_s, 0 if limited is None else limited.n_out, clock())
                await asyncio.sleep(pause_s)
            else:
                self._silence.answer(clock())
                self._has_reached = True
                self._failing_since = None
                self._n_failed = 0
                return outcome

    def _count_failure(self, error: RetryableError) -> None:
        now = asyncio.get_running_loop().time()
        self._n_failed += 1
        if self._failing_since is None:
            self._failing_since = now
        failing_s = now - self._failing_since
        self._has_reached = self._has_reached or not isinstance(error, ConnectError)
        if not self._has_reached and self._n_failed == 1:
            _LOG.warning("no connection to %s yet (%s); trying on for a while", self._url, error.reason)
        if not self._has_reached and self._n_failed >= _FEWEST_FAILURES and failing_s > self._first_patience_s:
            what = f"no connection to {self._url} for {failing_s:.0f} s ({error.reason})"
            raise MidspecError(what, where=self._where, hint="Check the base URL, and that the server runs") from None
        if self._n_failed >= _FEWEST_FAILURES and failing_s > self._patience_s:
            what = f"nothing has been answered for {failing_s:.0f} s ({error.reason})"
            raise MidspecError(what, where=self._where, hint="The same command goes on from here") from None

    def _pause_s(self, error: RetryableError, n_failed: int) -> float:
        if error.wait_s is not None:
            # How long a refusal waits has been decided below, where is known whether others are taken.
            wait_s = error.wait_s if isinstance(error, RateLimitError) else min(error.wait_s, _LONGEST_ASKED_S)
            return wait_s * random.uniform(1.0, 1.05)
        if isinstance(error, DeadlineError | FailedGenerationError):
            return 0.0  # the deadline was the pause; and a server that read a reply is not busy
        # The limiter holds back what a busy server does not carry; a long pause on top would idle its slots.
        longest_s = min(5.0, self._longest_pause_s) if isinstance(error, RateLimitError) else self._longest_pause_s
        return min(longest_s, self._first_pause_s * 2.0 ** min(n_failed - 1, 30)) * random.uniform(0.5, 1.0)
