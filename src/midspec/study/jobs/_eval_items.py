"""Steps that have a model write what evaluations ask: pairs for a value, questions about a spec's clauses.

They are no steps of a study: items are there before the study that asks them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.records import Spec, Strict
from midspec.eval_items import AskedClause, QuestionWriting, WrittenQuestions
from midspec.llm import Access, Forecast, ModelConfig, Store
from midspec.study._inputs import File, Input
from midspec.study._step import Job, Step
from midspec.study.jobs._endpoints import ModelEndpoints, forecast_of, open_model, open_store, width_of, with_bill
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.eval_items import PairWritingConfig
    from midspec.evals.tasks.preference import ValueSet


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


@dataclass(frozen=True, kw_only=True, eq=False)
class WritePairsStep(Step):
    """Held-out pairs for a value: items.jsonl and rejects.jsonl.

    Attributes:
        value: what it is, where it is taught and where it is tested.
        config: how many, by which models.
        endpoints: how the models are reached.
    """

    kind = "value-pairs"
    value: ValueSet
    config: PairWritingConfig
    endpoints: ModelEndpoints

    @property
    def inputs(self) -> dict[str, Input]:
        return {}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"value": self.value.model_dump(mode="json"), "writing": self.config.model_dump(mode="json")}

    def forecast(self) -> tuple[Forecast, Forecast]:
        """Tokens and dollars, the author's and the judge's, before anything is sent."""
        from midspec.eval_items import estimate_pairs

        written, judged = estimate_pairs(self.value, self.config)
        return (
            forecast_of([written], self.config.author.model, self.endpoints.author),
            forecast_of([judged], self.config.judge.model, self.endpoints.judge),
        )

    def run(self, job: Job, folder: Path) -> Built:
        """Have the pairs written.

        Raises:
            ConfigError: fewer pairs than test domains, a key is missing, the budget is used up or its price unknown.
            DataError: a word of the train domain stands in the name of a test domain.
        """
        from midspec.eval_items import write_pair_set

        async def write(store: Store) -> Built:
            async with (
                open_model(self.config.author, self.endpoints.author, store, "author") as author,
                open_model(self.config.judge, self.endpoints.judge, store, "judge") as judge,
            ):
                built = await write_pair_set(
                    self.value,
                    self.config,
                    author,
                    judge,
                    store,
                    folder,
                    on_progress=job.on_progress,
                    width=width_of(self.endpoints.author),
                )
            return with_bill(built, store)

        with open_store(job.store) as store:
            return asyncio.run(write(store))


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteQuestionsStep(Step):
    """Open questions about each clause of a spec: questions.jsonl, rejects.jsonl and coverage.json.

    Attributes:
        spec: the spec's file.
        config: how many, by which model, and who the assistant is.
        author: how the model is reached.
    """

    kind = "questions"
    spec: File
    config: QuestionsConfig
    author: Access

    @property
    def _filled_spec(self) -> Spec:
        names = SpecNames(Path(self.spec.path).stem, self.config.model_name, self.config.provider_name)
        return names.read(self.spec.path)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"spec": self.spec}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"spec": Path(self.spec.path).stem, **self.config.model_dump(mode="json")}

    def forecast(self) -> Forecast:
        """Tokens and dollars before anything is sent.

        Raises:
            SpecError: a placeholder has no value.
        """
        from midspec.eval_items import estimate_questions

        spec = self._filled_spec
        stages = estimate_questions(spec.text, _clauses(spec), self.config.author, self.config.writing)
        return forecast_of(stages, self.config.author.model, self.author)

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.eval_items import write_questions

        spec = self._filled_spec
        clauses = _clauses(spec)

        async def write(store: Store) -> Built:
            async with open_model(self.config.author, self.author, store, "author") as author:
                found = await write_questions(
                    spec.text,
                    clauses,
                    self.config.author,
                    author,
                    store,
                    self.config.writing,
                    on_progress=job.on_progress,
                    width=width_of(self.author),
                )
            return with_bill(_saved(found, clauses, self.config.writing, folder), store)

        with open_store(job.store) as store:
            return asyncio.run(write(store))


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


STEPS = (WritePairsStep, WriteQuestionsStep)
