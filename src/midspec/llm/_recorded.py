"""A row for every attempt: written before it is sent, closed with its outcome before the outcome goes anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm._types import Client, ModelConfig, ModelRole, Outcome, Request
from midspec.llm._wire import AgainError, LateError, TornError

if TYPE_CHECKING:
    from midspec.llm._prices import Prices
    from midspec.llm._store import Store

_MOST_FAILED = 3


def sampling_of(model: ModelConfig) -> str:
    """How the model samples, as one line of JSON."""
    return json.dumps({"temperature": model.temperature, **model.extra}, sort_keys=True)


class Recorded:
    """Records every attempt, with what it cost.

    Args:
        client: what makes one attempt.
        store: where the rows go.
        model: the model that is asked.
        duty: what it is asked as.
        prices: what tokens cost.
    """

    def __init__(self, client: Client, store: Store, model: ModelConfig, duty: ModelRole, prices: Prices) -> None:
        self._client = client
        self._store = store
        self._model = model.model
        self._sampling = sampling_of(model)
        self._duty = duty
        self._prices = prices
        self._all_failed: list[int] | None = []  # rows of a run in which nothing else has happened yet

    async def ask(self, request: Request) -> Outcome:
        """One attempt and its row. A row that is never closed was in flight at a kill.

        Raises:
            AgainError: the attempt came to nothing and may be repeated.
            MidspecError: the server refuses for good, or takes none of the first ten requests.
        """
        row = self._store.open(request, self._model, self._duty, self._sampling)
        try:
            outcome = await self._client.ask(request)
        except (LateError, TornError) as error:
            # It may have been billed all the same, and of how much nobody will hear.
            self._store.close(row, Outcome(kind="timed_out", note=error.words))
            raise
        except (AgainError, MidspecError) as error:
            self._store.again(row, str(error))
            raise
        if outcome.usage is not None:
            cost_usd = self._prices.cost(self._model, outcome.usage)
            outcome = outcome.model_copy(update={"cost_usd": cost_usd})
        self._store.close(row, outcome)
        if self._all_failed is not None:
            self._check(row, outcome)
        return outcome

    def _check(self, row: int, outcome: Outcome) -> None:
        """End a run whose every request is refused: it is the settings that the server does not take, not the texts."""
        if outcome.kind != "failed" or self._all_failed is None:
            self._all_failed = None
            return
        self._all_failed.append(row)
        if len(self._all_failed) >= _MOST_FAILED:
            for failed in self._all_failed:
                self._store.again(failed, outcome.note)  # with other settings they are asked again
            what = f"the server takes none of the requests ({outcome.note})"
            raise ConfigError(
                what, where=self._model, hint="Check the model's name, temperature, extra fields and caps"
            )

    async def close(self) -> None:
        """Close what is wrapped; the store is its owner's."""
        await self._client.close()
