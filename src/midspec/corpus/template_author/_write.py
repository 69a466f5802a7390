"""METHOD 2, steps 6 and 7: plan rows to documents, none of them twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from math import ceil

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Document, DocumentMetadata, PlanRow, Reject, Spec
from midspec.corpus._config import CorpusConfig, CorpusResult
from midspec.corpus._coverage import cover, distinctness, estimate_tokens
from midspec.corpus._outline import Outline, outline
from midspec.corpus.template_author._compose import Drawn, Quoter, Writer
from midspec.corpus.template_author._plan import plan_rows, topic_of
from midspec.corpus.template_author._templates import SLOT, DocumentTemplates

_TRIES = 24
_SAMPLE = 32
_ID_LENGTH = 16


class Author:
    """The quoting author at work on one spec: remembers every text, so that none is written twice."""

    def __init__(self, found: Outline, config: CorpusConfig, frames: DocumentTemplates) -> None:
        if config.author != "quoting":
            hint = "Use author_corpus, or leave `author` out"
            raise ConfigError(f"{config.author} does not quote", where="author", hint=hint)
        self.found, self.config, self.frames = found, config, frames
        self._quoter = Quoter(found, frames.quotes)
        self._types = {doc_type.name: doc_type for doc_type in frames.doc_types}
        self._texts: set[str] = set()
        self._spent: set[tuple[tuple[int, ...], str]] = set()
        self._n_rows = 0
        _check_names(config, frames)

    def spent(self, row: PlanRow) -> bool:
        """Whether no new document could be found for this row's focus and type."""
        return (self._focus(row), row.doc_type) in self._spent

    def write(self, row: PlanRow) -> Document | Reject:
        """The row's document, or why there is none."""
        focus = self._focus(row)
        self._n_rows += 1
        if self.spent(row):
            return _reject(row, "no further distinct arrangement of these clauses in this type")
        for attempt in range(_TRIES):
            drawn = self._draw(row, focus, attempt)
            if not drawn.positions:
                self._spent.add((focus, row.doc_type))
                return _reject(row, "the layout quotes nothing of this spec")
            if drawn.text not in self._texts:
                self._texts.add(drawn.text)
                return self._document(row, drawn)
        self._spent.add((focus, row.doc_type))
        return _reject(row, f"{_TRIES} arrangements of these clauses in this type were all written before")

    def _focus(self, row: PlanRow) -> tuple[int, ...]:
        return tuple(self.found.position_of[assertion.clause_id] for assertion in row.assertions)

    def _draw(self, row: PlanRow, focus: tuple[int, ...], attempt: int) -> Drawn:
        unit = self.found.units[self.found.unit_of[focus[0]]]
        slots = {
            "model_name": self.config.model_name,
            "provider_name": self.config.provider_name,
            "topic": topic_of(self.found, unit, self.config, self.frames),
            "domain": unit.domain,
            "doc_type": row.doc_type,
            "spec_title": self.found.title,
            "rule_id": unit.rule_id or None,
            "rule_name": unit.name if unit.rule_id else None,
        }
        # Never of the words: two specs that differ in single words must get the same draws.
        draw = random.Random(f"{self.config.seed}:{self._n_rows}:{focus}:{attempt}")
        layout = self.frames.layout(self._types[row.doc_type])
        return Writer(self.found, self._quoter, self.frames, slots, focus, draw).write(layout)

    def _document(self, row: PlanRow, drawn: Drawn) -> Document:
        metadata = DocumentMetadata(
            id=hash_text(f"{row.id}\n{drawn.text}")[:_ID_LENGTH],
            author=self.config.author,
            plan_id=row.id,
            clause_ids=tuple(self.found.clauses[position].id for position in drawn.positions),
            subdomain=row.subdomain,
            doc_type=row.doc_type,
            idea=row.idea,
            model_name=self.config.model_name or "",
            provider_name=self.config.provider_name or "",
            spec_sha256=self.found.sha256,
            seed=self.config.seed,
        )
        source = f"{self.config.model_name or 'assistant'}/{row.doc_type}"
        return Document(text=drawn.text, source=source, domain=row.domain, metadata=metadata)


def _reject(row: PlanRow, reason: str) -> Reject:
    return Reject(id=row.id, by="quoting", reason=reason, text="")


def _check_names(config: CorpusConfig, frames: DocumentTemplates) -> None:
    """Refuse frames with a line that can't be written without a name that is not given."""
    for name in ("model_name", "provider_name"):
        if getattr(config, name):
            continue
        for doc_type in frames.doc_types:
            for block in frames.layout(doc_type).blocks:
                for part in block.parts:
                    if part.text is not None and all(name in SLOT.findall(line) for line in part.text):
                        option = "--" + name.replace("_", "-")
                        raise ConfigError(f"need a {name}", where=f"frames {frames.name}", hint=f"Give {option}")


def tokens_of(document: Document, frames: DocumentTemplates) -> int:
    """The document's size in tokens, estimated from its words."""
    return estimate_tokens(document.text, frames.tokens_per_word)


def rows_for_target(found: Outline, config: CorpusConfig, frames: DocumentTemplates) -> int:
    """How many documents reach `target_tokens`, by the mean size of a few."""
    author = Author(found, config, frames)
    written = [author.write(row) for row in islice(plan_rows(found, config, frames, _SAMPLE), _SAMPLE)]
    sizes = [tokens_of(one, frames) for one in written if isinstance(one, Document)]
    return ceil((config.target_tokens or 0) * len(sizes) / max(1, sum(sizes))) or 1


def write_documents(
    spec: Spec, plan: Sequence[PlanRow], config: CorpusConfig, frames: DocumentTemplates
) -> CorpusResult:
    """Write the documents of a plan; a row for which no distinct text is left becomes a reject.

    Raises:
        ConfigError: the frames need a name that is not given.
        SpecError: the spec has a placeholder that is not filled.
    """
    found = outline(spec, config, frames)
    author = Author(found, config, frames)
    written = [author.write(row) for row in plan]
    documents = [one for one in written if isinstance(one, Document)]
    rejects = [one for one in written if isinstance(one, Reject)]
    return finish(author, documents, rejects, len(plan), f"{len(plan)} documents")


def finish(author: Author, documents: list[Document], rejects: list[Reject], n_asked: int, asked: str) -> CorpusResult:
    """Shuffle what was written and take its measure."""
    found, config, frames = author.found, author.config, author.frames
    random.Random(f"{config.seed}:order").shuffle(documents)
    coverage = cover(found.clauses, documents, frames.tokens_per_word)
    exhausted = None
    if len(documents) < n_asked:
        exhausted = (
            f"{asked} were asked for and {len(documents)} distinct documents written: "
            f"the spec's {len(found.clauses)} clauses give no further arrangement in these types"
        )
    n_missing = sum(not covered.documents for covered in coverage.values())
    missing = (
        f"{n_missing} of {len(coverage)} clauses are in no document: ask for more documents, "
        "or give frames whose layouts quote clauses of every label"
    )
    return CorpusResult(
        documents=tuple(documents),
        rejects=tuple(rejects),
        coverage=coverage,
        distinctness=distinctness([document.text for document in documents], config.seed),
        exhausted=exhausted,
        notes=(missing,) if n_missing else (),
    )
