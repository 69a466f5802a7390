"""A cap on what a run may cost, held before anything is sent."""

from __future__ import annotations

from midspec.core.errors import ConfigError
from midspec.llm._ledger import estimate_usd
from midspec.llm._prices import Prices
from midspec.llm._store import Store
from midspec.llm._types import Client, ModelRole, Outcome, Request, Usage

_BYTES_PER_TOKEN = 2


class Budgeted:
    """Sends a request only if the cap holds whatever its reply costs.

    Before sending, the worst case is set aside: the prompt at a token for every two bytes (more than tokenizers make
    of text in any script) and a reply as long as its cap. All clients of a store draw on the same cap. Near the end,
    requests wait for those in flight to give back what they did not use; when one does not fit although nothing is
    in flight, the run ends. What other processes had in flight when they were killed, and what timed out, counts as
    `Store.lost` estimates it.

    Args:
        client: what is asked inside the cap.
        store: knows what was spent.
        prices: what tokens cost.
        cap_usd: what all attempts of the store may cost together; `None` for no cap.
        model: the model that `client` asks, as configured.
        duty: what it is asked as.
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
        duty: ModelRole = "author",
        batch: bool = False,
    ) -> None:
        self._client = client
        self._store = store
        self._prices = prices
        self._cap_usd = cap_usd
        self._model = model
        self._duty = duty
        self._batch = batch
        self._over = ""
        if cap_usd is not None:
            store.price(prices.cost)
            self._cost(Usage(n_input=1))
            self._spent_usd()

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request.

        Raises:
            ConfigError: the cap would be passed; nothing more is sent.
        """
        if self._cap_usd is None:
            return await self._client.ask(request)
        if self._over:
            raise self._used_up()
        worst_usd = self._worst_usd(request)
        if not await self._store.purse.hold(worst_usd, self._left_usd):
            self._stop(request, worst_usd)
            raise self._used_up()
        try:
            return await self._client.ask(request)
        finally:
            self._store.purse.release(worst_usd)

    async def close(self) -> None:
        """Close the client inside."""
        await self._client.close()

    def _left_usd(self) -> float:
        if self._over or self._cap_usd is None:
            return 0.0
        return self._cap_usd - self._spent_usd()

    def _spent_usd(self) -> float:
        lost = self._store.lost()
        estimate = estimate_usd(lost, self._prices)
        if estimate is None or self._store.unpriced():
            unknown = next((row.model for row in lost if estimate_usd([row], self._prices) is None), "an earlier model")
            raise unknown_price(unknown)
        return self._store.spent_usd() + estimate

    def _worst_usd(self, request: Request) -> float:
        texts = (request.prefix, request.prompt, *(turn.content for turn in request.turns))
        n_prompt = sum(_n_bytes(text) for text in texts) // _BYTES_PER_TOKEN
        written = Usage(n_cache_write=n_prompt, n_output=request.max_tokens)
        return max(self._cost(written), self._cost(Usage(n_input=n_prompt, n_output=request.max_tokens)))

    def _cost(self, usage: Usage) -> float:
        cost_usd = self._prices.cost(self._model, usage, self._batch)
        if cost_usd is None:
            raise unknown_price(self._model)
        return cost_usd

    def _stop(self, request: Request, worst_usd: float) -> None:
        """The end of the run, recorded once with the request that did not fit."""
        if self._over:
            return
        self._over = (
            f"{self._cap_usd} USD are used up: {self._spent_usd():.4f} are spent, and the next request may cost"
            f" {worst_usd:.4f}"
        )
        attempt = self._store.open(request, self._model, self._duty, "{}")
        self._store.close(attempt, Outcome(kind="over_budget", cost_usd=0.0, note=self._over))

    def _used_up(self) -> ConfigError:
        hint = "Raise --budget and run again: nothing that is paid is asked again"
        return ConfigError(self._over, where="--budget", hint=hint)


def unknown_price(model: str) -> ConfigError:
    """What is said where a budget is set and a price that it takes is not known."""
    what = f"the price of {model} is unknown, so no budget can be kept"
    hint = f"Give --prices a YAML file with a line `{model}: {{input: 1.0, output: 4.0}}` (USD per million tokens)"
    return ConfigError(what, where="--budget", hint=hint)


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
