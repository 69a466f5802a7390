"""Clients that record what every attempt cost, and hold a cap on what a run may cost before anything is sent."""

from __future__ import annotations

import json

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._errors import BrokenReplyError, DeadlineError, RetryableError
from midspec.llm._ledger import estimate_usd
from midspec.llm._prices import Prices
from midspec.llm._store import Store
from midspec.llm._types import Client, ModelConfig, ModelRole, Outcome, Request, Usage

_BYTES_PER_TOKEN = 2


class Budgeted:
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
        self._client = client
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

    async def close(self) -> None:
        """Close the client inside."""
        await self._client.close()

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


_MAX_FAILED_FIRST = 3


def sampling_of(model: ModelConfig) -> str:
    """Return how the model samples, as one line of JSON."""
    return json.dumps({"temperature": model.temperature, **model.extra}, sort_keys=True)


class Recorded:
    """Records every attempt and what it cost: a row before it is sent, closed before its outcome goes anywhere.

    Args:
        client: what makes one attempt.
        store: where the rows go.
        model: the model that is asked.
        role: what it is asked as.
        prices: what tokens cost.
    """

    def __init__(self, client: Client, store: Store, model: ModelConfig, role: ModelRole, prices: Prices) -> None:
        self._client = client
        self._store = store
        self._model = model.model
        self._sampling = sampling_of(model)
        self._role = role
        self._prices = prices
        self._all_failed: list[int] | None = []  # rows of a run in which nothing else has happened yet

    async def ask(self, request: Request) -> Outcome:
        """Make one attempt and write its row. A row that is never closed was in flight at a kill.

        Raises:
            RetryableError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good, or takes none of the first three requests.
        """
        row = self._store.open(request, self._model, self._role, self._sampling)
        try:
            outcome = await self._client.ask(request)
        except (DeadlineError, BrokenReplyError) as error:
            # It may have been billed all the same, and of how much nobody will hear.
            self._store.close(row, Outcome(kind="timed_out", note=error.reason))
            raise
        except (RetryableError, MidspecError) as error:
            self._store.again(row, str(error))
            raise
        if outcome.usage is not None:
            cost_usd = self._prices.cost(self._model, outcome.usage)
            outcome = outcome.model_copy(update={"cost_usd": cost_usd})
        self._store.close(row, outcome)
        if outcome.kind != "failed":
            self._all_failed = None
        elif self._all_failed is not None:
            self._all_failed.append(row)
            self._check_settings(self._all_failed, outcome)
        return outcome

    def _check_settings(self, failed_rows: list[int], outcome: Outcome) -> None:
        """End a run whose every request is refused: the server does not take the settings, whatever the texts."""
        if len(failed_rows) >= _MAX_FAILED_FIRST:
            for row in failed_rows:
                self._store.again(row, outcome.note)  # with other settings they are asked again
            what = f"the server takes none of the requests ({outcome.note})"
            raise ConfigError(
                what, where=self._model, hint="Check the model's name, temperature, extra fields and caps"
            )

    async def close(self) -> None:
        """Close what is wrapped; the store is its owner's."""
        await self._client.close()
