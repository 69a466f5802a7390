"""What tokens cost: from the library genai-prices, and before it from a table of the user's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, TypeAdapter, ValidationError

from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Strict
from midspec.core.yaml_files import read_yaml
from midspec.llm._types import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

_MILLION = 1_000_000
_BATCH_SHARE = 0.5
_PROCESSING = {"processing": "batch"}


class Price(Strict):
    """A line of the user's table of prices.

    Attributes:
        input: USD per million prompt tokens.
        output: USD per million tokens of the reply, reasoning included.
        cache_read: USD per million prompt tokens that came from the provider's cache; `input` when not given.
        cache_write: USD per million prompt tokens that were put there; `input` when not given.
        batch: what a token costs in a batch, as a share of these.
    """

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)
    batch: float = Field(default=_BATCH_SHARE, ge=0, le=1)

    def rates(self, *, batch: bool) -> _Rates:
        """Return USD per token."""
        share = (self.batch if batch else 1.0) / _MILLION
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        return _Rates(*(_Tiers((usd * share,)) for usd in (self.input, read, write, self.output)))


_TABLE = TypeAdapter(dict[str, Price])


@dataclass(frozen=True)
class _Tiers:
    """USD per token; from `starts[i]` prompt tokens on, all tokens of the request cost `usd[i + 1]`."""

    usd: tuple[float, ...]
    starts: tuple[int, ...] = ()

    def at(self, n_prompt: int) -> float:
        return self.usd[sum(n_prompt > start for start in self.starts)]


@dataclass(frozen=True)
class _Rates:
    """What each kind of token costs."""

    input: _Tiers
    cache_read: _Tiers
    cache_write: _Tiers
    output: _Tiers

    def cost(self, usage: Usage) -> float:
        n_prompt = usage.n_input + usage.n_cache_read + usage.n_cache_write
        return (
            usage.n_input * self.input.at(n_prompt)
            + usage.n_cache_read * self.cache_read.at(n_prompt)
            + usage.n_cache_write * self.cache_write.at(n_prompt)
            + usage.n_output * self.output.at(n_prompt)
        )


class Prices:
    """USD for tokens, by model; `None` for a model whose price nobody knows, and never 0.

    Args:
        table: prices of the user's own, by `provider/model` or `model`; they come first.
        base_url: the server that is asked, where it is not the provider's own. Its prices are taken from genai-prices
            if that knows the server; a server of one's own costs what the table says or is unknown.
    """

    def __init__(self, table: Mapping[str, Price] | None = None, base_url: str | None = None) -> None:
        self._table = dict(table or {})
        self._base_url = base_url
        # Rates hold for the minute of their request: some models cost less at night, or from a day on.
        self._known: dict[tuple[str, bool], tuple[int, _Rates | None]] = {}

    @classmethod
    def load(cls, path: str | Path | None = None, base_url: str | None = None) -> Self:
        """Read prices of genai-prices and, before it, of a YAML file: `openai/my-model: {input: 1.0, output: 4.0}`.

        Raises:
            MissingError: there is no such file.
            ConfigError: it is not such a table; names the model and the field.
        """
        if path is None:
            return cls(None, base_url)
        path = Path(path)
        if not path.exists():
            raise MissingError("there is no such table of prices", where=str(path), hint="Check the path")
        raw = read_yaml(path)
        try:
            return cls(_TABLE.validate_python(raw), base_url)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ": ".join((str(path), *map(str, fault["loc"])))
            hint = "Write `provider/model: {input: 1.0, output: 4.0}`, in USD per million tokens"
            raise ConfigError("is no price", where=where, hint=hint) from error

    def cost(self, model: str, usage: Usage, batch: bool = False, at: float | None = None) -> float | None:
        """Return the USD that `usage` of `model` costs; `None` where that is unknown.

        Args:
            model: `provider/model`.
            usage: the tokens, cached ones apart.
            batch: through a batch endpoint.
            at: when the request was sent, in seconds of Unix time; now when not given.
        """
        if (listed := self._table.get(model) or self._table.get(model.partition("/")[2])) is not None:
            return listed.rates(batch=batch).cost(usage)
        at = time.time() if at is None else at
        key, minute = (model, batch), int(at // 60)
        found = self._known.get(key)
        if found is None or found[0] != minute:
            found = self._known[key] = (minute, _library_rates(model, self._base_url, at, batch=batch))
        return None if found[1] is None else found[1].cost(usage)


def _library_rates(model: str, base_url: str | None, at: float, *, batch: bool) -> _Rates | None:
    """Return the rates at a time from genai-prices, whose data come with the package: nothing is fetched."""
    try:
        from genai_prices import Usage as Counted
        from genai_prices import calc_price
    except ImportError as error:
        raise ConfigError(
            "prices need the package genai-prices", where=model, hint="Install midspec[llm], or give --prices a table"
        ) from error
    provider, _, name = model.partition("/")
    one, when = Counted(input_tokens=1), datetime.fromtimestamp(at, UTC)
    seller: Any = {"provider_id": provider} if base_url is None else {"provider_api_url": base_url}
    try:
        plain = calc_price(one, name, genai_request_timestamp=when, **seller).model_price
        paid = calc_price(one, name, genai_request_timestamp=when, price_context=_PROCESSING, **seller).model_price
    except LookupError:
        return None
    if not batch:
        return _from_library(plain, 1.0)
    # Where the library has no price for batches, both providers that have them charge one half.
    return _from_library(paid, _BATCH_SHARE if paid == plain else 1.0)


def _from_library(price: ModelPrice, share: float) -> _Rates | None:
    if price.input_mtok is None or price.output_mtok is None:
        return None
    read = price.input_mtok if price.cache_read_mtok is None else price.cache_read_mtok
    write = price.input_mtok if price.cache_write_mtok is None else price.cache_write_mtok
    tiers = []
    for usd_per_mtok in (price.input_mtok, read, write, price.output_mtok):
        if isinstance(usd_per_mtok, Decimal):
            tiers.append(_Tiers((float(usd_per_mtok) * share / _MILLION,)))
        else:
            usd = (usd_per_mtok.base, *(tier.price for tier in usd_per_mtok.tiers))
            starts = tuple(tier.start for tier in usd_per_mtok.tiers)
            tiers.append(_Tiers(tuple(float(p) * share / _MILLION for p in usd), starts))
    return _Rates(*tiers)
