"""From a spec to a corpus, and from a corpus to its files."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.records import Document, PlanRow, Reject, Spec
from midspec.corpus._config import Corpus, CorpusConfig
from midspec.corpus._coverage import estimate_tokens, n_words
from midspec.corpus._outline import outline
from midspec.corpus.template_author._plan import chosen_types, plan_rows, size_of
from midspec.corpus.template_author._templates import DocumentTemplates, load_templates
from midspec.corpus.template_author._write import Author, finish, rows_for_target, tokens_of


def plan_corpus(spec: Spec, config: CorpusConfig, frames: DocumentTemplates) -> list[PlanRow]:
    """The plan of a corpus; with `target_tokens`, as many rows as that takes by estimate.

    Raises:
        ConfigError: contradicting sizes; or no document type of the frames is for this mode.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    found = outline(spec, config, frames)
    size = size_of(found, config, frames) or rows_for_target(found, config, frames)
    return list(islice(plan_rows(found, config, frames, size), size))


def make_corpus(spec: Spec, config: CorpusConfig) -> Corpus:
    """Plan and write a corpus; where a row gives no distinct document, further rows are planned in its place.

    Args:
        spec: the spec; its placeholders are filled with the config's names if they are not yet.
        config: what to write.

    Raises:
        ConfigError: contradicting sizes, or frames that do not fit.
        MissingError: there are no such frames.
        SpecError: an unfilled placeholder; or rules mode, and the spec holds no numbered rule.
    """
    frames = load_templates(config.frames)
    found = outline(spec, config, frames)
    author = Author(found, config, frames)
    asked = size_of(found, config, frames)
    size = asked or rows_for_target(found, config, frames)
    patience = (len(found.clauses) + len(found.units)) * len(chosen_types(config, frames))
    plan: list[PlanRow] = []
    documents: list[Document] = []
    rejects: list[Reject] = []
    n_tokens = idle = 0
    for row in plan_rows(found, config, frames, size):
        enough = len(documents) >= asked if asked else n_tokens >= (config.target_tokens or 0)
        if enough or idle > patience:
            break
        idle += 1
        if author.spent(row):
            continue
        plan.append(row)
        written = author.write(row)
        if isinstance(written, Reject):
            rejects.append(written)
        else:
            idle = 0
            documents.append(written)
            n_tokens += tokens_of(written, frames)
    reached = bool(asked) or n_tokens >= (config.target_tokens or 0)
    n_asked = asked or (len(documents) if reached else len(documents) + 1)
    words = f"{asked} documents" if asked else f"{config.target_tokens} tokens"
    result = finish(author, documents, rejects, n_asked, words)
    return Corpus(**dict(result), plan=tuple(plan), tokens_per_word=frames.tokens_per_word, seed=config.seed)


def save_corpus(corpus: Corpus, folder: Path) -> Built:
    """Write documents.jsonl, rejects.jsonl, plan.jsonl and coverage.json, and say how healthy they are."""
    write_rows(folder / "documents.jsonl", corpus.documents)
    write_rows(folder / "rejects.jsonl", corpus.rejects)
    write_rows(folder / "plan.jsonl", corpus.plan)
    coverage: dict[str, JsonValue] = {key: covered.model_dump() for key, covered in corpus.coverage.items()}
    write_json(folder / "coverage.json", coverage)
    outputs = ("documents.jsonl", "rejects.jsonl", "plan.jsonl", "coverage.json")
    return Built(outputs=outputs, summary=_summary(corpus))


def _summary(corpus: Corpus) -> dict[str, JsonValue]:
    types = Counter(document.metadata.doc_type for document in corpus.documents if document.metadata)
    counts: dict[str, JsonValue] = {name: types[name] for name in sorted(types)}
    n_tokens = sum(estimate_tokens(document.text, corpus.tokens_per_word) for document in corpus.documents)
    return {
        "n_documents": len(corpus.documents),
        "n_words": sum(n_words(document.text) for document in corpus.documents),
        "n_tokens_estimated": n_tokens,
        "tokens_per_word": round(corpus.tokens_per_word, 4),
        "n_rejects": len(corpus.rejects),
        "n_clauses": len(corpus.coverage),
        "n_covered": len(corpus.coverage) - len(corpus.uncovered),
        "distinctness": corpus.distinctness.model_dump(),
        "exhausted": corpus.exhausted,
        "notes": list(corpus.notes),
        "doc_types": counts,
    }
