"""Steps that a language model writes: a room's coroutine run to its end, with one store and a client for each duty.

A room is imported where it is called: what one step needs is all that its process loads, 0.4 s of it else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pydantic import JsonValue

from midspec.core.artifact import Built, writable
from midspec.core.progress import ProgressCallback
from midspec.core.records import Chat, Document, Spec
from midspec.llm import (
    Access,
    Client,
    Forecast,
    ModelConfig,
    ModelRole,
    Prices,
    SpendVsForecast,
    StageEstimate,
    Store,
    embed,
    forecast,
    open_client,
    spend_vs_forecast,
)

if TYPE_CHECKING:
    from midspec.chats import ChatConfig
    from midspec.corpus import CorpusConfig, Framing
    from midspec.curate import CurateConfig, Evaluation

T = TypeVar("T")
_VERDICTS = ".verdicts"
_BATCH_WIDTH = 10_000


class ModelEndpoints(NamedTuple):
    """How models are reached, and the file that keeps what they answer; about the run, never about the result."""

    author: Access
    judge: Access
    store: Path

    @property
    def options(self) -> dict[str, JsonValue]:
        """As a step's options hold it."""
        author, judge = self.author.model_dump(mode="json"), self.judge.model_dump(mode="json")
        return {"author": author, "judge": judge, "store": str(self.store)}

    @classmethod
    def of(cls, options: Mapping[str, JsonValue]) -> ModelEndpoints:
        """From a step's options."""
        return cls(
            Access.model_validate(options.get("author") or {}),
            Access.model_validate(options.get("judge") or options.get("author") or {}),
            Path(str(options["store"])),
        )


def write_corpus_by_model(
    spec: Spec, config: CorpusConfig, way: ModelEndpoints, folder: Path, *, on_progress: ProgressCallback
) -> Built:
    """Documents by the model that the config names; what it answered before is read from the store.

    Raises:
        ConfigError: a key is missing, the budget is used up, or the price of a budgeted model is unknown.
    """
    from midspec.corpus import author_corpus

    accept = _filter_of(spec, config)

    async def work(store: Store) -> Built:
        async with asking(config.author_model, way.author, store, "author") as client:
            width = width_of(way.author)
            built = await author_corpus(
                spec, config, client, store, folder, accept=accept, on_progress=on_progress, width=width
            )
        return billed(built, store)

    return with_store(way.store, work)


def _filter_of(spec: Spec, config: CorpusConfig) -> Callable[[Document], str | None]:
    """What curation says of one document alone, where the config wants to hear it while documents are written."""
    if config.writing is None or not config.writing.filter:
        return lambda _: None
    from midspec.curate import CurateConfig, accept_by, document_filters
    from midspec.spec import fill

    text = fill(spec, model_name=config.model_name, provider_name=config.provider_name).text
    wanted = CurateConfig(model_name=config.model_name, provider_name=config.provider_name)
    return accept_by(document_filters(wanted, spec_text=text, single_row_only=True))


def write_chats_by_model(
    spec: Spec, config: ChatConfig, way: ModelEndpoints, folder: Path, *, on_progress: ProgressCallback
) -> Built:
    """Chats by the model that the config names, kept or not by its judge.

    Raises:
        ConfigError: as for a corpus.
    """
    from midspec.chats import author_chats

    async def work(store: Store) -> Built:
        async with (
            asking(config.author_model, way.author, store, "author") as author,
            asking(config.judge, way.judge, store, "judge") as judge,
        ):
            by = config.writing.embed if config.writing else None
            vectors = partial(embed, model=by, access=way.author) if by else None
            width = width_of(way.author)
            built = await author_chats(
                spec, config, author, judge, store, folder, embed=vectors, on_progress=on_progress, width=width
            )
        return billed(built, store)

    return with_store(way.store, work)


def judge_by_model(
    rows: Path,
    config: CurateConfig,
    way: ModelEndpoints,
    folder: Path,
    *,
    spec: Spec,
    evaluations: Mapping[str, Evaluation],
    on_progress: ProgressCallback,
) -> Built:
    """Rows curated, and each document that the filters let pass read by the judge that the config names.

    Raises:
        ConfigError: as for a corpus.
    """
    from midspec.curate import Judge, judge_folder, judge_prefix

    async def work(store: Store) -> Built:
        async with asking(config.judge, way.judge, store, "judge") as client:
            assert config.judge is not None
            judge = Judge(
                client=client,
                store=store,
                model=config.judge,
                prefix=judge_prefix(spec),
                clauses={clause.id: clause.text for clause in spec.clauses},
                model_name=config.model_name or "the assistant",
                width=width_of(way.judge),
            )
            vectors = embedder(config.embed, way.author)
            built = await judge_folder(
                rows,
                config,
                folder,
                judge,
                evaluations=evaluations,
                embed=vectors,
                spec_text=spec.text,
                on_progress=on_progress,
            )
        return billed(built, store)

    return with_store(way.store, work)


def reframe_by_model(
    documents: Path,
    framing: Framing,
    config: CorpusConfig,
    way: ModelEndpoints,
    folder: Path,
    on_progress: ProgressCallback,
) -> Built:
    """A finished corpus written again in one framing of the language ablation, by the model that the config names.

    Raises:
        DataError: rows that can't be told apart.
        ConfigError: as for a corpus.
    """
    from midspec.corpus import reframe

    async def work(store: Store) -> Built:
        async with asking(config.author_model, way.author, store, "author") as client:
            width = width_of(way.author)
            built = await reframe(
                documents, framing, config, client, store, folder, on_progress=on_progress, width=width
            )
            return billed(built, store)

    return with_store(way.store, work)


def preview_corpus_by_model(spec: Spec, config: CorpusConfig, way: ModelEndpoints, n_documents: int) -> list[Document]:
    """So many documents over as many clauses, paid for and kept in the store; nothing else is written.

    Raises:
        ConfigError: as for a corpus.
    """
    from midspec.corpus import preview_corpus

    accept = _filter_of(spec, config)

    async def work(store: Store) -> list[Document]:
        async with asking(config.author_model, way.author, store, "author") as client:
            with TemporaryDirectory() as folder:
                width = width_of(way.author)
                found, _rejects = await preview_corpus(
                    spec, config, client, store, n_documents, folder=Path(folder), accept=accept, width=width
                )
                return found

    return with_store(way.store, work)


def preview_chats_by_model(spec: Spec, config: ChatConfig, way: ModelEndpoints, n_chats: int) -> list[Chat]:
    """So many chats, paid for and kept in the store; nothing else is written.

    Raises:
        ConfigError: as for a corpus.
    """
    from midspec.chats import preview_chats

    async def work(store: Store) -> list[Chat]:
        async with (
            asking(config.author_model, way.author, store, "author") as author,
            asking(config.judge, way.judge, store, "judge") as judge,
        ):
            width = width_of(way.author)
            made = await preview_chats(spec, config, author, judge, store, n_chats, width=width)
            return list(made.chats)

    return with_store(way.store, work)


def forecast_corpus(spec: Spec, config: CorpusConfig, way: ModelEndpoints) -> tuple[Forecast, ...]:
    """Tokens and dollars of a corpus by stage, before anything is sent."""
    from midspec.corpus import estimate_corpus

    return (forecast_of(estimate_corpus(spec, config), config.author, way.author),)


def forecast_chats(spec: Spec, config: ChatConfig, way: ModelEndpoints) -> tuple[Forecast, ...]:
    """Tokens and dollars of chats by stage, the author's and the judge's, before anything is sent."""
    from midspec.chats import estimate_chats

    assert config.judge is not None, "the config's own check names a judge"
    loads = estimate_chats(spec, config)
    judged = [load for load in loads if load.stage.endswith(_VERDICTS)]
    written = [load for load in loads if not load.stage.endswith(_VERDICTS)]
    return (
        forecast_of(written, config.author, way.author),
        forecast_of(judged, config.judge.model, way.judge),
    )


def spent_vs_forecast(forecasts: Sequence[Forecast], way: ModelEndpoints) -> tuple[SpendVsForecast, ...]:
    """What the store's attempts came to, a row a stage, beside what was forecast."""
    with Store(way.store) as store:
        ledger = store.ledger()
    stages = [{row.stage for row in expected.rows} for expected in forecasts]
    foreseen = [
        row
        for expected, mine in zip(forecasts, stages, strict=True)
        for row in spend_vs_forecast([spent for spent in ledger if spent.stage in mine], expected)
    ]
    others = [spent for spent in ledger if spent.stage not in set().union(*stages)]
    nothing = forecasts[0].model_copy(update={"rows": ()})
    return (*foreseen, *spend_vs_forecast(others, nothing))


def forecast_of(loads: Sequence[StageEstimate], model: str, access: Access) -> Forecast:
    """Tokens and dollars of stages that `model` is asked for, at the prices of its server."""
    return forecast(loads, model, Prices.load(access.prices, access.base_url))


def width_of(access: Access) -> int:
    """Requests that may wait at once: a batch is as large as what waits together."""
    return _BATCH_WIDTH if access.batch else access.concurrency


def embedder(model: ModelConfig | None, access: Access) -> Callable[[Sequence[str]], list[list[float]]] | None:
    """What gives vectors of texts, for rooms that do not wait: each call has a thread and an event loop of its own."""
    if model is None:
        return None
    named = model

    def vectors(texts: Sequence[str]) -> list[list[float]]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(embed(texts, named, access))).result()

    return vectors


@asynccontextmanager
async def asking(model: ModelConfig | None, access: Access, store: Store, role: ModelRole) -> AsyncIterator[Client]:
    """A client of `model` for one duty, closed at the end of the block."""
    assert model is not None, "the config's own check names an author and a judge"
    async with open_client(model, access, store, role=role) as client:
        yield client


def with_store(path: Path, work: Callable[[Store], Coroutine[None, None, T]]) -> T:
    """Run `work` to its end with the store at `path`; a store in which nothing was asked is not left behind."""
    is_new = not path.exists()
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with Store(path) as store:
                try:
                    return asyncio.run(work(store))
                finally:
                    is_new = is_new and not store.ledger()
        finally:
            if is_new:
                for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                    path.with_name(name).unlink(missing_ok=True)


def billed(built: Built, store: Store) -> Built:
    """The result, with what all attempts of its store have cost so far beside it."""
    spent: dict[str, JsonValue] = {
        "spent_usd": store.spent_usd(),
        "n_unpriced": store.unpriced(),
        "ledger": [row.model_dump(mode="json") for row in store.ledger()],
    }
    return built.model_copy(update={"execution": built.execution | spent})
