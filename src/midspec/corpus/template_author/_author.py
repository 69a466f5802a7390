"""The template author: arranges a spec's own sentences by a document style; needs no model, writes no text twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from math import ceil

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import id_of
from midspec.core.records import Document, PlanRow, Reject, Spec
from midspec.core.text import estimate_tokens
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline, outline
from midspec.corpus._results import Corpus, CorpusResult, make_document, measure_coverage, measure_distinctness
from midspec.corpus.template_author._compose import Composed, Composer, Quoter
from midspec.corpus.template_author._plan import chosen_types, plan_rows, size_of, topic_of
from midspec.corpus.template_author._templates import SLOT, DocumentTemplates, load_templates
from midspec.generation import TEMPLATE_AUTHOR

_MAX_ATTEMPTS = 24
_N_SAMPLED = 32


def plan_corpus(spec: Spec, config: CorpusConfig, templates: DocumentTemplates) -> list[PlanRow]:
    """Plan a corpus; with `target_tokens`, as many rows as that takes by estimate.

    Raises:
        ConfigError: contradicting sizes; or no document type of the templates is for this mode.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    found = outline(spec, config, templates)
    size = size_of(found, config, templates) or _n_rows_for_target(found, config, templates)
    return list(islice(plan_rows(found, config, templates, size), size))


def write_documents(
    spec: Spec, plan: Sequence[PlanRow], config: CorpusConfig, templates: DocumentTemplates
) -> CorpusResult:
    """Write the documents of a plan; a row for which no distinct text is left becomes a reject.

    Args:
        spec: the spec.
        plan: the rows to write.
        config: names, seed and mode.
        templates: what to write with.

    Raises:
        ConfigError: the templates need a name that is not given.
        SpecError: the spec has a placeholder that is not filled.
    """
    author = _TemplateAuthor(outline(spec, config, templates), config, templates)
    written = [author.write(row) for row in plan]
    documents = [one for one in written if isinstance(one, Document)]
    rejects = [one for one in written if isinstance(one, Reject)]
    return author.result(documents, rejects, len(plan), f"{len(plan)} documents")


def make_corpus(spec: Spec, config: CorpusConfig) -> Corpus:
    """Plan and write a corpus; where a row gives no distinct document, further rows are planned in its place.

    Args:
        spec: the spec; its placeholders are filled with the config's names if they are not yet.
        config: what to write.

    Raises:
        ConfigError: contradicting sizes, or templates that do not fit.
        MissingError: there is no such document style.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    templates = load_templates(config.frames)
    found = outline(spec, config, templates)
    author = _TemplateAuthor(found, config, templates)
    n_wanted, target = size_of(found, config, templates), config.target_tokens or 0
    size = n_wanted or _n_rows_for_target(found, config, templates)
    max_idle = (len(found.clauses) + len(found.units)) * len(chosen_types(config, templates))
    plan: list[PlanRow] = []
    documents: list[Document] = []
    rejects: list[Reject] = []
    n_tokens = n_idle = 0
    for row in plan_rows(found, config, templates, size):
        if (len(documents) >= n_wanted if n_wanted else n_tokens >= target) or n_idle > max_idle:
            break
        n_idle += 1
        if author.is_spent(row):
            continue
        plan.append(row)
        written = author.write(row)
        if isinstance(written, Reject):
            rejects.append(written)
        else:
            n_idle = 0
            documents.append(written)
            n_tokens += estimate_tokens(written.text, templates.tokens_per_word)
    if n_wanted:
        result = author.result(documents, rejects, n_wanted, f"{n_wanted} documents")
    else:
        result = author.result(documents, rejects, len(documents) + (n_tokens < target), f"{target} tokens")
    return Corpus(**dict(result), plan=tuple(plan), tokens_per_word=templates.tokens_per_word, seed=config.seed)


def _n_rows_for_target(found: Outline, config: CorpusConfig, templates: DocumentTemplates) -> int:
    """Estimate how many documents reach `target_tokens`, by the mean size of a few."""
    author = _TemplateAuthor(found, config, templates)
    written = [author.write(row) for row in islice(plan_rows(found, config, templates, _N_SAMPLED), _N_SAMPLED)]
    sizes = [estimate_tokens(one.text, templates.tokens_per_word) for one in written if isinstance(one, Document)]
    return ceil((config.target_tokens or 0) * len(sizes) / max(1, sum(sizes))) or 1


class _TemplateAuthor:
    """Writes about one spec, and remembers every text, so that none is written twice."""

    def __init__(self, found: Outline, config: CorpusConfig, templates: DocumentTemplates) -> None:
        if config.author != TEMPLATE_AUTHOR:
            hint = "Use author_corpus, or leave `author` out"
            raise ConfigError(f"{config.author} is not the template author", where="author", hint=hint)
        for name in ("model_name", "provider_name"):
            lines = (part.text for doc_type in templates.doc_types for part in templates.layout(doc_type).parts())
            if not getattr(config, name) and any(text and all(name in SLOT.findall(s) for s in text) for text in lines):
                option = "--" + name.replace("_", "-")
                raise ConfigError(f"needs a {name}", where=f"document style {templates.name}", hint=f"Give {option}")
        self._outline, self._config, self._templates = found, config, templates
        self._quoter = Quoter(found, templates.quotes)
        self._types = {doc_type.name: doc_type for doc_type in templates.doc_types}
        self._texts: set[str] = set()
        self._spent: set[tuple[tuple[int, ...], str]] = set()
        self._n_rows = 0

    def is_spent(self, row: PlanRow) -> bool:
        """Return whether no new document could be found for this row's focus and type."""
        return (self._focus(row), row.doc_type) in self._spent

    def write(self, row: PlanRow) -> Document | Reject:
        """Write the row's document, or say why there is none."""
        focus = self._focus(row)
        self._n_rows += 1
        if self.is_spent(row):
            return _reject(row, "no further distinct arrangement of these clauses in this type")
        reason = f"{_MAX_ATTEMPTS} arrangements of these clauses in this type were all written before"
        for attempt in range(_MAX_ATTEMPTS):
            composed = self._compose(row, focus, attempt)
            if not composed.positions:
                reason = "the layout quotes nothing of this spec"
                break
            if composed.text not in self._texts:
                self._texts.add(composed.text)
                document_id = id_of(row.id, composed.text)
                found, config = self._outline, self._config
                return make_document(row, composed.text, composed.positions, found, config, id=document_id)
        self._spent.add((focus, row.doc_type))
        return _reject(row, reason)

    def _focus(self, row: PlanRow) -> tuple[int, ...]:
        return tuple(self._outline.position_of[assertion.clause_id] for assertion in row.assertions)

    def _compose(self, row: PlanRow, focus: tuple[int, ...], attempt: int) -> Composed:
        unit = self._outline.units[self._outline.unit_of[focus[0]]]
        slots = {
            "model_name": self._config.model_name,
            "provider_name": self._config.provider_name,
            "topic": topic_of(self._outline, unit, self._config, self._templates),
            "domain": unit.domain,
            "doc_type": row.doc_type,
            "spec_title": self._outline.title,
            "rule_id": unit.rule_id or None,
            "rule_name": unit.name if unit.rule_id else None,
        }
        # Never of the words: two specs that differ in single words must get the same draws.
        draw = random.Random(f"{self._config.seed}:{self._n_rows}:{focus}:{attempt}")
        layout = self._templates.layout(self._types[row.doc_type])
        return Composer(self._outline, self._quoter, self._templates, slots, focus, draw).compose(layout)

    def result(self, documents: list[Document], rejects: list[Reject], n_wanted: int, wanted: str) -> CorpusResult:
        """Shuffle the documents, and measure what was written.

        Args:
            documents: what was written.
            rejects: rows without a document.
            n_wanted: how many documents would have been enough.
            wanted: what was asked for, in words.
        """
        n_clauses, config = len(self._outline.clauses), self._config
        random.Random(f"{config.seed}:order").shuffle(documents)
        coverage = measure_coverage(self._outline.clauses, documents, self._templates.tokens_per_word)
        exhausted = (
            f"{wanted} were asked for and {len(documents)} distinct documents written: "
            f"the spec's {n_clauses} clauses give no further arrangement in these types"
        )
        n_missing = sum(not covered.documents for covered in coverage.values())
        missing = (
            f"{n_missing} of {len(coverage)} clauses are in no document: ask for more documents, "
            "or give templates whose layouts quote clauses of every label"
        )
        return CorpusResult(
            documents=tuple(documents),
            rejects=tuple(rejects),
            coverage=coverage,
            distinctness=measure_distinctness([document.text for document in documents], config.seed),
            exhausted=exhausted if len(documents) < n_wanted else None,
            notes=(missing,) if n_missing else (),
        )


def _reject(row: PlanRow, reason: str) -> Reject:
    return Reject(id=row.id, by=TEMPLATE_AUTHOR, reason=reason, text="")
