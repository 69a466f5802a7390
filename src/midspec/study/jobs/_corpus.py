"""Steps that write documents: a corpus from a spec, and a corpus written again in another framing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.records import Document, Spec
from midspec.generation import TEMPLATE_AUTHOR, YamlRegistry
from midspec.llm import Access, Forecast, Store
from midspec.study._inputs import File, Input
from midspec.study._step import Cost, Job, Size, Step
from midspec.study.jobs._endpoints import (
    ModelEndpoints,
    forecast_of,
    open_model,
    open_store,
    price_of,
    width_of,
    with_bill,
)
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.corpus import CorpusConfig, Framing

_SHIPPED_TEMPLATES = "english"


def template_inputs(templates: Input | None) -> dict[str, Input]:
    """The input of a template file outside; its role is part of the identity."""
    return {} if templates is None else {"frames": templates}


def template_file(
    name: str, styles: YamlRegistry | None = None, outside: Callable[[str], File] = lambda name: File.at(Path(name))
) -> File | None:
    """Find the file of templates that a config names; `None` for the shipped ones.

    Args:
        name: one of `styles`, or what `outside` finds.
        styles: document styles by name; chats have none.
        outside: finds a file by its path.
    """
    if name == _SHIPPED_TEMPLATES:
        return None
    style = None if styles is None else styles.find(name)
    return outside(name) if style is None else File.at(Path(str(style)))


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusStep(Step):
    """Documents that discuss a spec.

    Attributes:
        spec: the spec's text.
        spec_name: what it is called.
        config: what to write; its names fill the spec's placeholders.
        templates: a file of document templates, where they are not the shipped ones.
        author: how the model is reached that writes, where one does.
    """

    kind = "corpus"
    spec: Input
    spec_name: str
    config: CorpusConfig
    templates: Input | None = None
    author: Access = Access()

    @classmethod
    def of_file(cls, spec: Path, config: CorpusConfig, author: Access | None = None) -> CorpusStep:
        """The step for a spec file outside a study."""
        from midspec.corpus import DOCUMENT_STYLES

        return cls(
            spec=File.at(spec),
            spec_name=spec.stem,
            config=config,
            templates=template_file(config.frames, DOCUMENT_STYLES),
            author=author or Access(),
        )

    @property
    def names(self) -> SpecNames:
        """What fills the spec's placeholders."""
        return SpecNames(self.spec_name, self.config.model_name, self.config.provider_name)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"spec": self.spec, **template_inputs(self.templates)}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"spec": self.spec_name, "corpus": self.config.model_dump(mode="json", exclude={"frames"})}

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        counts = (summary.get("n_documents"), self.config.n_documents)
        rows = next((count for count in counts if isinstance(count, int)), None)
        return Size(documents=rows, tokens=self.config.target_tokens or None)

    def price(self) -> Cost | None:
        if self.config.author == TEMPLATE_AUTHOR:
            return None
        spec = self.names.read(self.spec.original.locate({}))
        return price_of([forecast_corpus(spec, self.config, self.author)], ModelEndpoints(author=self.author))

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.corpus import author_corpus, make_corpus, save_corpus

        spec, config = self.names.read(job.locate(self.spec)), self.config
        if self.templates is not None:
            config = config.model_copy(update={"frames": job.locate(self.templates)})
        if config.author == TEMPLATE_AUTHOR:
            return save_corpus(make_corpus(spec, config), folder)
        accept = document_filter(spec, config)

        async def write(store: Store) -> Built:
            async with open_model(config.author_model, self.author, store, "author") as client:
                built = await author_corpus(
                    spec,
                    config,
                    client,
                    store,
                    folder,
                    accept=accept,
                    on_progress=job.on_progress,
                    width=width_of(self.author),
                )
            return with_bill(built, store)

        with open_store(job.store) as store:
            return asyncio.run(write(store))


@dataclass(frozen=True, kw_only=True, eq=False)
class ReframeStep(Step):
    """A finished corpus written again in one framing of the language ablation.

    Attributes:
        documents: the corpus.
        framing: what each document is to say.
        config: who writes, and the names.
        author: how the model is reached that writes.
    """

    kind = "reframe"
    documents: Input
    framing: Framing
    config: CorpusConfig
    author: Access

    @classmethod
    def of_rows(cls, rows: Path, framing: Framing, config: CorpusConfig, author: Access) -> ReframeStep:
        """The step for a corpus folder, or its file of documents."""
        file = rows / "documents.jsonl" if rows.is_dir() else rows
        return cls(documents=File.at(file), framing=framing, config=config, author=author)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"documents": self.documents}

    @property
    def settings(self) -> dict[str, JsonValue]:
        asked = {"author", "model_name", "provider_name", "seed", "writing"}
        return {"framing": self.framing, "corpus": self.config.model_dump(mode="json", include=asked)}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.corpus import reframe

        async def write(store: Store) -> Built:
            async with open_model(self.config.author_model, self.author, store, "author") as client:
                built = await reframe(
                    job.path(self.documents),
                    self.framing,
                    self.config,
                    client,
                    store,
                    folder,
                    on_progress=job.on_progress,
                    width=width_of(self.author),
                )
            return with_bill(built, store)

        with open_store(job.store) as store:
            return asyncio.run(write(store))


def document_filter(spec: Spec, config: CorpusConfig) -> Callable[[Document], str | None]:
    """What curation says of one document alone, where the config wants to hear it while documents are written."""
    if config.writing is None or not config.writing.filter:
        return lambda _: None
    from midspec.curate import CurateConfig, accept_by, document_filters

    wanted = CurateConfig(model_name=config.model_name, provider_name=config.provider_name)
    return accept_by(list(document_filters(wanted, spec_text=spec.text, single_row_only=True)))


def preview_documents(
    spec: Spec, config: CorpusConfig, author: Access, store_path: Path, n_documents: int
) -> list[Document]:
    """So many documents by a model over as many clauses, paid for and kept in the store; nothing else is written.

    Args:
        spec: filled.
        config: of a model author.
        author: how it is reached.
        store_path: the file that keeps its replies.
        n_documents: how many.

    Raises:
        ConfigError: a key is missing, the budget is used up, or the price of a budgeted model is unknown.
    """
    from midspec.corpus import preview_corpus

    async def write(store: Store) -> list[Document]:
        async with open_model(config.author_model, author, store, "author") as client:
            with TemporaryDirectory() as folder:
                found, _rejects = await preview_corpus(
                    spec,
                    config,
                    client,
                    store,
                    n_documents,
                    folder=Path(folder),
                    accept=document_filter(spec, config),
                    width=width_of(author),
                )
                return found

    with open_store(store_path) as store:
        return asyncio.run(write(store))


def forecast_corpus(spec: Spec, config: CorpusConfig, author: Access) -> Forecast:
    """Tokens and dollars of a corpus by stage, before anything is sent."""
    from midspec.corpus import estimate_corpus

    return forecast_of(estimate_corpus(spec, config), config.author, author)


STEPS = (CorpusStep, ReframeStep)
