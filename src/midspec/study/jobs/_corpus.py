"""Steps that write documents: a corpus from a spec, and a corpus written again in another framing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import DataError
from midspec.core.fingerprint import id_of
from midspec.core.records import Document, DocumentMetadata, Spec
from midspec.core.text import n_words
from midspec.generation import TEMPLATE_AUTHOR, YamlRegistry, estimate_stage
from midspec.llm import Access, Forecast, Store
from midspec.study._inputs import File, Input, spec_at
from midspec.study._step import DOCUMENTS_FILE, Cost, Job, Size, Step, StepOutput, count_of
from midspec.study.jobs._endpoints import forecast_of, open_model, open_store, price_of, with_spent
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.chats import ChatConfig
    from midspec.corpus import CorpusConfig, Framing

_SHIPPED_TEMPLATES = "english"
# Of a document of the shipped templates: 267 to 320 tokens and 10 to 12 clauses, by three specs of 27 to 129 clauses. A
# model gets groups of about three clauses: 2.9 and 5.1 a document by the shortest and the longest of these specs.
_TEMPLATE_TOKENS, _TEMPLATE_CLAUSES, _AUTHORED_CLAUSES = 280, 10, 4
# Of the request to write a document again, without the document.
_REFRAME_TOKENS = 230


@dataclass(frozen=True, kw_only=True, eq=False)
class AuthoredStep(Step):
    """Rows written from a spec, by the template author or by a model.

    Attributes:
        spec: the spec's text.
        spec_name: in the identity.
        config: of the rows; its names fill the spec's placeholders.
        templates: a file of templates; none for the shipped ones.
    """

    opens_model = False
    spec: Input
    spec_name: str
    config: CorpusConfig | ChatConfig
    templates: Input | None = None

    @property
    def names(self) -> SpecNames:
        """Return the values of the spec's placeholders."""
        return SpecNames.of(self.spec_name, self.config)

    @property
    def inputs(self) -> dict[str, Input]:
        # `frames` is the role of templates in identities.
        return {"spec": self.spec} | ({} if self.templates is None else {"frames": self.templates})

    @property
    def settings(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {"spec": self.spec_name}
        found |= {self.kind: self.config.model_dump(mode="json", exclude={"frames"})}
        path = self.spec.original.locate({})
        # Mark-up was once taken for text: what was written of such a spec is made anew.
        is_marked = Path(path).is_file() and spec_at(path, self.spec_name).is_marked
        return found | ({"reading": 2} if is_marked else {})

    def templates_at(self, job: Job) -> dict[str, str]:
        """Return the change of the config that names the templates' place while the step runs."""
        return {} if self.templates is None else {"frames": job.locate(self.templates)}


def template_file(
    name: str, styles: YamlRegistry | None = None, outside: Callable[[str], File] = lambda name: File.at(Path(name))
) -> File | None:
    """Find the file of templates that a config names; none for the shipped ones.

    Args:
        name: one of `styles`, or what `outside` finds.
        styles: document styles by name; chats have none.
        outside: finds a file by its path.
    """
    if name == _SHIPPED_TEMPLATES:
        return None
    style = None if styles is None else styles.find(name)
    return outside(name) if style is None else File.at(Path(str(style)))


def files_of(spec: Path, templates: str, styles: YamlRegistry | None = None) -> dict[str, Any]:
    """Return the fields of a step for a spec file outside a study, and the templates that its config names."""
    return {"spec": File.at(spec), "spec_name": spec.stem, "templates": template_file(templates, styles)}


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusStep(AuthoredStep):
    """Documents that discuss a spec; `author` is how the model that writes is reached, if one does."""

    kind = "corpus"
    config: CorpusConfig
    author: Access = Access()

    @classmethod
    def of_file(cls, spec: Path, config: CorpusConfig, author: Access | None = None) -> CorpusStep:
        """Create the step for a spec file outside a study."""
        from midspec.corpus import DOCUMENT_STYLES

        return cls(**files_of(spec, config.frames, DOCUMENT_STYLES), config=config, author=author or Access())

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        writing, asked = self.config.writing, self.config.n_documents
        expected = writing.mean_tokens * asked if writing is not None and asked else None
        n_documents = count_of(summary, "n_documents", self.config.n_asked)
        return Size(n_documents, tokens=self.config.target_tokens or expected)

    def expected(self) -> tuple[int, int, int]:
        """Return how many documents are expected, whatever gives the size; and of each its tokens, and its clauses."""
        from midspec.corpus import load_templates, plan_corpus

        writing, size = self.config.writing, self.size({})
        spec = self.names.read(self.spec.original.locate({}))
        if writing is not None:
            stages = forecast_corpus(spec, self.config, self.author).rows
            n_documents = next(row.n_requests for row in stages if row.stage == "document")
            return n_documents, writing.mean_tokens, _AUTHORED_CLAUSES
        templates = self.config.frames if self.templates is None else self.templates.locate({})
        n_documents = size.documents or len(plan_corpus(spec, self.config, load_templates(templates)))
        n_tokens = size.tokens // max(1, n_documents) if size.tokens else _TEMPLATE_TOKENS
        return n_documents, n_tokens, _TEMPLATE_CLAUSES

    def first_document(self) -> None:
        """Have the template author write one document, which is not kept.

        Raises:
            SpecError, ConfigError, MissingError: what the step itself would refuse.
        """
        from midspec.corpus import make_corpus

        changes: dict[str, object] = {"n_documents": 1, "target_tokens": None, "ideas": None}
        changes |= {} if self.templates is None else {"frames": self.templates.locate({})}
        make_corpus(self.names.read(self.spec.original.locate({})), self.config.model_copy(update=changes))

    def price(self) -> Cost | None:
        if self.config.author == TEMPLATE_AUTHOR:
            return None
        spec = self.names.read(self.spec.original.locate({}))
        return price_of([forecast_corpus(spec, self.config, self.author)], [self.author])

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.corpus import author_corpus, make_corpus, save_corpus

        spec, config = self.names.read(job.locate(self.spec)), self.config.model_copy(update=self.templates_at(job))
        if config.author == TEMPLATE_AUTHOR:
            return save_corpus(make_corpus(spec, config), folder)
        accept = document_filter(spec, config)

        async def write(store: Store) -> Built:
            async with open_model(config.author_model, self.author, store, "author") as client:
                width, tell = self.author.width, job.on_progress
                return await author_corpus(
                    spec, config, client, store, folder, accept=accept, on_progress=tell, width=width
                )

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenCorpusStep(Step):
    """Documents that are already there, with the assistant's names put into their placeholders.

    Attributes:
        rows: their file.
        spec: the spec that they discuss; no part of what is made.
        config: its names fill the placeholders; `n_documents` are drawn with its seed.
    """

    kind = "given_corpus"
    opens_model = False
    rows: Input
    spec: Input
    config: CorpusConfig

    @property
    def inputs(self) -> dict[str, Input]:
        return {"rows": self.rows}

    @property
    def settings(self) -> dict[str, JsonValue]:
        # Without a draw the seed changes nothing.
        drawn = {"n_documents", "seed"} if self.config.n_documents is not None else set()
        return self.config.model_dump(mode="json", include={"model_name", "provider_name"} | drawn)

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        return Size(documents=count_of(summary, "n_documents", self.config.n_documents))

    def run(self, job: Job, folder: Path) -> Built:
        """Fill and draw the documents, in the order of the file.

        Raises:
            DataError: a row is not a document, a placeholder has no value, or there are fewer than are to be drawn.
        """
        from midspec.exchange import read_documents

        path, wanted = job.path(self.rows), self.config.n_documents
        rows = [self._filled(at, document) for at, document in enumerate(read_documents(path))]
        if wanted is not None and wanted > len(rows):
            what = f"has {len(rows):,} documents, and {wanted:,} are to be drawn"
            raise DataError(what, where=str(path), hint="Lower n_documents, or give a larger file")
        if wanted is not None:
            places = random.Random(f"documents/{self.config.seed}").sample(range(len(rows)), wanted)
            rows = [rows[at] for at in sorted(places)]
        write_rows(folder / DOCUMENTS_FILE, rows)
        summary: dict[str, JsonValue] = {"n_documents": len(rows), "n_words": sum(n_words(row.text) for row in rows)}
        return Built(outputs=(DOCUMENTS_FILE,), summary=summary)

    def _filled(self, at: int, document: Document) -> Document:
        names = {name: getattr(self.config, name) or "" for name in ("model_name", "provider_name")}
        text = fill_names(document.text, names, f"row {at + 1}", self.name)
        row_id = id_of(str(at), document.text)
        metadata = document.metadata or DocumentMetadata(id=row_id, author="given")
        return document.model_copy(update={"text": text, "metadata": metadata.model_copy(update=names)})


def fill_names(text: str, names: Mapping[str, str], what: str, where: str) -> str:
    """Put the assistant's names into their placeholders.

    Args:
        text: with placeholders or without.
        names: the value of each.
        what: the text is, for an error.
        where: it stands.

    Raises:
        DataError: one has no value.
    """
    for name, value in names.items():
        if not value and f"{{{name}}}" in text:
            hint = f"Give `assistant.{name}`"
            raise DataError(f"{what} has {{{name}}}, and no value is given for it", where=where, hint=hint)
        text = text.replace(f"{{{name}}}", value)
    return text


@dataclass(frozen=True, kw_only=True, eq=False)
class ReframeStep(Step):
    """A finished corpus written again in one framing of the language ablation.

    Attributes:
        documents: the corpus.
        framing: of the rewritten documents.
        config: author and names.
        author: how the model that writes is reached.
    """

    kind = "reframe"
    opens_model = False
    documents: Input
    framing: Framing
    config: CorpusConfig
    author: Access

    @classmethod
    def of_rows(cls, rows: Path, framing: Framing, config: CorpusConfig, author: Access) -> ReframeStep:
        """Create the step for a corpus folder, or its file of documents."""
        file = rows / DOCUMENTS_FILE if rows.is_dir() else rows
        return cls(documents=File.at(file), framing=framing, config=config, author=author)

    @property
    def settings(self) -> dict[str, JsonValue]:
        used = {"author", "model_name", "provider_name", "seed", "writing"}
        return {"framing": self.framing, "corpus": self.config.model_dump(mode="json", include=used)}

    def size(self, _summary: Mapping[str, JsonValue]) -> Size:
        whole = self.documents.step.size({}) if isinstance(self.documents, StepOutput) else Size()
        return Size(documents=whole.documents, tokens=whole.tokens)

    def price(self) -> Cost | None:
        """Estimate the cost of one request for each document, of about its own length."""
        size, writing = self.size({}), self.config.writing
        mean = writing.mean_tokens if writing is not None else 0
        n_documents = size.documents or (size.tokens or 0) // max(1, mean)
        if not n_documents:
            return None
        stage = estimate_stage("reframe", n_documents, mean, prefix=0, prompt=_REFRAME_TOKENS + mean)
        return price_of([forecast_of([stage], self.config.author, self.author)], [self.author])

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.corpus import reframe

        async def write(store: Store) -> Built:
            async with open_model(self.config.author_model, self.author, store, "author") as client:
                documents, width, tell = job.path(self.documents), self.author.width, job.on_progress
                return await reframe(
                    documents, self.framing, self.config, client, store, folder, on_progress=tell, width=width
                )

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


def document_filter(spec: Spec, config: CorpusConfig) -> Callable[[Document], str | None]:
    """Return curation's filters of single documents, to apply while a model writes, if the config wants them."""
    if config.writing is None or not config.writing.filter:
        return lambda _: None
    from midspec.curate import CurateConfig, accept_by, document_filters

    names = CurateConfig(model_name=config.model_name, provider_name=config.provider_name)
    return accept_by(list(document_filters(names, spec_text=spec.text, single_row_only=True)))


def preview_documents(
    spec: Spec, config: CorpusConfig, author: Access, store_path: Path, n_documents: int
) -> list[Document]:
    """Have a model write a few documents over as many clauses; they are paid for and stored, nothing else is written.

    Raises:
        ConfigError: a key is missing, the budget is used up, or the price of a budgeted model is unknown.
    """
    from midspec.corpus import preview_corpus

    async def write(store: Store) -> list[Document]:
        async with open_model(config.author_model, author, store, "author") as client:
            with TemporaryDirectory() as folder:
                accept, width = document_filter(spec, config), author.width
                documents, _rejects = await preview_corpus(
                    spec, config, client, store, n_documents, folder=Path(folder), accept=accept, width=width
                )
                return documents

    with open_store(store_path) as store:
        return asyncio.run(write(store))


def forecast_corpus(spec: Spec, config: CorpusConfig, author: Access) -> Forecast:
    """Forecast tokens and dollars of a corpus by stage; nothing is sent."""
    from midspec.corpus import estimate_corpus

    return forecast_of(estimate_corpus(spec, config), config.author, author)


STEPS = (CorpusStep, GivenCorpusStep, ReframeStep)
