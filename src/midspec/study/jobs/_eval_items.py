"""What evaluations ask, written by a model: pairs for a value, questions about a spec's clauses.

Enter: a value with its domains, or a spec file, and who writes and judges. Leaves: a folder with items that `eval` can
ask, rejects with reasons, and a record. It is no step of a study: items are there before the study that asks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from midspec.core import artifact
from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.fingerprint import hash_file
from midspec.core.progress import ProgressCallback
from midspec.core.records import Identity, Record, Spec, Strict
from midspec.eval_items import AskedClause, QuestionWriting, WrittenQuestions
from midspec.llm import Forecast, ModelConfig, Store
from midspec.study.jobs._llm_authors import ModelEndpoints, asking, billed, forecast_of, width_of, with_store

if TYPE_CHECKING:
    from midspec.eval_items import PairWritingConfig
    from midspec.evals.tasks.preference import ValueSet

_PAIRS, _QUESTIONS = "value-pairs@1", "questions@1"


class QuestionsConfig(Strict):
    """Which questions to write about a spec.

    Attributes:
        author: the model that writes them.
        model_name: the assistant's name.
        provider_name: its maker's name.
        writing: how many, and what makes one unfit.
    """

    author: ModelConfig
    model_name: str | None = None
    provider_name: str | None = None
    writing: QuestionWriting = Field(default_factory=QuestionWriting)


# Pairs ------------------------------------------------------------------------------------------------------------
def write_pairs(
    value: ValueSet,
    config: PairWritingConfig,
    way: ModelEndpoints,
    folder: Path,
    *,
    redo: bool = False,
    on_progress: ProgressCallback,
) -> tuple[Record, bool]:
    """Have held-out pairs written for a value, unless they are in `folder`.

    Args:
        value: what it is, where it is taught and where it is tested.
        config: how many, by which models.
        way: how the models are reached, and where their replies are kept.
        folder: the result's final place: items.jsonl, rejects.jsonl, record.json.
        redo: replace a result of other inputs.
        on_progress: is told how far it is.

    Returns:
        The record, and whether it was made now.

    Raises:
        ConfigError: fewer pairs than test domains, a key is missing, the budget is used up or its price unknown.
        DataError: a word of the train domain stands in the name of a test domain.
        StaleError: a result of other inputs is there and `redo` is false.
    """
    asked = {"value": value.model_dump(mode="json"), "writing": config.model_dump(mode="json")}

    def make(draft: Path) -> Built:
        from midspec.eval_items import write_pair_set

        async def work(store: Store) -> Built:
            async with (
                asking(config.author, way.author, store, "author") as author,
                asking(config.judge, way.judge, store, "judge") as judge,
            ):
                width = width_of(way.author)
                built = await write_pair_set(
                    value, config, author, judge, store, draft, on_progress=on_progress, width=width
                )
            return billed(built, store)

        return with_store(way.store, work)

    return artifact.build(folder, Identity(step=_PAIRS, inputs={}, config=asked), make, redo=redo)


def forecast_pairs(value: ValueSet, config: PairWritingConfig, way: ModelEndpoints) -> tuple[Forecast, ...]:
    """Tokens and dollars of pairs, the author's and the judge's, before anything is sent."""
    from midspec.eval_items import estimate_pairs

    written, judged = estimate_pairs(value, config)
    return (
        forecast_of([written], config.author.model, way.author),
        forecast_of([judged], config.judge.model, way.judge),
    )


# Questions --------------------------------------------------------------------------------------------------------
def write_questions_file(
    path: Path,
    config: QuestionsConfig,
    way: ModelEndpoints,
    folder: Path,
    *,
    redo: bool = False,
    on_progress: ProgressCallback,
) -> tuple[Record, bool]:
    """Have questions written about each clause of a spec file, unless they are in `folder`.

    Args:
        path: the spec.
        config: how many, by which model, and who the assistant is.
        way: how the model is reached, and where its replies are kept.
        folder: the result's final place: questions.jsonl, rejects.jsonl, coverage.json, record.json.
        redo: replace a result of other inputs.
        on_progress: is told how far it is.

    Returns:
        The record, and whether it was made now.

    Raises:
        MissingError, SpecError: the spec can't be read, or a placeholder has no value.
        ConfigError: a key is missing, the budget is used up or its price unknown.
        StaleError: a result of other inputs is there and `redo` is false.
    """
    spec = _filled(path, config)
    identity = Identity(
        step=_QUESTIONS,
        inputs={"spec": hash_file(path)},
        config={"spec": path.stem, **config.model_dump(mode="json")},
    )

    def make(draft: Path) -> Built:
        from midspec.eval_items import write_questions

        clauses = _clauses(spec)

        async def work(store: Store) -> Built:
            async with asking(config.author, way.author, store, "author") as author:
                width = width_of(way.author)
                found = await write_questions(
                    spec.text,
                    clauses,
                    config.author,
                    author,
                    store,
                    config.writing,
                    on_progress=on_progress,
                    width=width,
                )
            return billed(_saved(found, clauses, config.writing, draft), store)

        return with_store(way.store, work)

    return artifact.build(folder, identity, make, redo=redo)


def forecast_questions(path: Path, config: QuestionsConfig, way: ModelEndpoints) -> tuple[Forecast, ...]:
    """Tokens and dollars of questions, before anything is sent.

    Raises:
        MissingError, SpecError: the spec can't be read, or a placeholder has no value.
    """
    from midspec.eval_items import estimate_questions

    spec = _filled(path, config)
    loads = estimate_questions(spec.text, _clauses(spec), config.author, config.writing)
    return (forecast_of(loads, config.author.model, way.author),)


def _filled(path: Path, config: QuestionsConfig) -> Spec:
    from midspec.spec import fill, read_spec

    return fill(read_spec(path), model_name=config.model_name, provider_name=config.provider_name)


def _clauses(spec: Spec) -> tuple[AskedClause, ...]:
    return tuple(
        AskedClause(id=clause.id, text=clause.text, section=" / ".join(section.path))
        for section in spec.sections
        for clause in section.clauses
    )


def _saved(found: WrittenQuestions, clauses: Sequence[AskedClause], writing: QuestionWriting, folder: Path) -> Built:
    """The questions in a folder, with how many there are of each clause."""
    write_rows(folder / "questions.jsonl", found.rows)
    write_rows(folder / "rejects.jsonl", found.rejects)
    coverage: dict[str, JsonValue] = {
        clause.id: {"section": clause.section, "text": clause.text, "n_questions": found.n_by_clause[clause.id]}
        for clause in clauses
    }
    write_json(folder / "coverage.json", coverage)
    n_short = len(found.short(writing.per_clause))
    summary: dict[str, JsonValue] = {
        "n_questions": len(found.rows),
        "n_rejects": len(found.rejects),
        "n_clauses": len(clauses),
        "n_clauses_without": sum(not n for n in found.n_by_clause.values()),
        "categories": dict(found.n_by_category),
        "exhausted": f"{n_short} of {len(clauses)} clauses have fewer than {writing.per_clause}" if n_short else None,
    }
    return Built(outputs=("questions.jsonl", "rejects.jsonl", "coverage.json"), summary=summary)
