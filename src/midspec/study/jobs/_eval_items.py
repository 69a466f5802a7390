"""Steps that have a model write items of evaluations: pairs for a value, questions about a spec's clauses.

They are no steps of a study, which takes items as files.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.records import Spec, Strict
from midspec.eval_items import AskedClause, QuestionWriting, WrittenQuestions
from midspec.llm import Access, Forecast, ModelConfig, Store
from midspec.study._inputs import File
from midspec.study._step import Job, Step
from midspec.study.jobs._endpoints import ModelEndpoints, forecast_of, open_model, open_store, with_spent
from midspec.study.jobs._sources import SpecNames

if TYPE_CHECKING:
    from midspec.eval_items import PairWritingConfig
    from midspec.evals.tasks.preference import ValueSet


class QuestionsConfig(Strict):
    """Settings of the questions about a spec.

    Attributes:
        author: the model that writes them.
        model_name: the assistant's name.
        provider_name: its maker's name.
        called: names that the spec uses for its assistant or maker, with those that stand for them.
        leave_out: titles of sections, ids or beginnings of clauses of the spec, that are no part of it.
        writing: how many, and which are rejected.
    """

    author: ModelConfig
    model_name: str | None = None
    provider_name: str | None = None
    called: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    leave_out: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    writing: QuestionWriting = Field(default_factory=QuestionWriting)


@dataclass(frozen=True, kw_only=True, eq=False)
class WritePairsStep(Step):
    """Held-out pairs for a value: items.jsonl and rejects.jsonl.

    Attributes:
        value: its description, train and test domains.
        config: number of pairs, author and judge.
        endpoints: of the models.
    """

    kind = "value-pairs"
    opens_model = False
    value: ValueSet
    config: PairWritingConfig
    endpoints: ModelEndpoints

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"value": self.value.model_dump(mode="json"), "writing": self.config.model_dump(mode="json")}

    def forecast(self) -> tuple[Forecast, Forecast]:
        """Forecast tokens and dollars, the author's and the judge's; nothing is sent."""
        from midspec.eval_items import estimate_pairs

        written, judged = estimate_pairs(self.value, self.config)
        return (
            forecast_of([written], self.config.author.model, self.endpoints.author),
            forecast_of([judged], self.config.judge.model, self.endpoints.judge),
        )

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.eval_items import write_pair_set

        async def write(store: Store) -> Built:
            async with (
                open_model(self.config.author, self.endpoints.author, store, "author") as author,
                open_model(self.config.judge, self.endpoints.judge, store, "judge") as judge,
            ):
                width, tell = self.endpoints.author.width, job.on_progress
                return await write_pair_set(
                    self.value, self.config, author, judge, store, folder, on_progress=tell, width=width
                )

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteQuestionsStep(Step):
    """Open questions about each clause of a spec: questions.jsonl, rejects.jsonl and coverage.json.

    Attributes:
        spec: the spec's file.
        config: number of questions, author and the assistant's names.
        author: how the model is reached.
    """

    kind = "questions"
    opens_model = False
    spec: File
    config: QuestionsConfig
    author: Access

    @property
    def _filled_spec(self) -> Spec:
        names = SpecNames.of(Path(self.spec.path).stem, self.config)
        return names.read(self.spec.path)

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"spec": Path(self.spec.path).stem, **self.config.model_dump(mode="json")}

    def forecast(self) -> Forecast:
        """Forecast tokens and dollars; nothing is sent."""
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
                config, width, tell = self.config, self.author.width, job.on_progress
                written = await write_questions(
                    spec.text, clauses, config.author, author, store, config.writing, on_progress=tell, width=width
                )
            return _save_questions(written, clauses, config.writing, folder)

        with open_store(job.store) as store:
            return with_spent(asyncio.run(write(store)), store)


def _clauses(spec: Spec) -> tuple[AskedClause, ...]:
    return tuple(
        AskedClause(id=clause.id, text=clause.text, section=" / ".join(section.path))
        for section in spec.sections
        for clause in section.clauses
    )


def _save_questions(
    written: WrittenQuestions, clauses: Sequence[AskedClause], writing: QuestionWriting, folder: Path
) -> Built:
    """Write the questions to a folder, with the number of each clause."""
    write_rows(folder / "questions.jsonl", written.rows)
    write_rows(folder / "rejects.jsonl", written.rejects)
    coverage: dict[str, JsonValue] = {
        clause.id: {"section": clause.section, "text": clause.text, "n_questions": written.n_by_clause[clause.id]}
        for clause in clauses
    }
    write_json(folder / "coverage.json", coverage)
    n_short = len(written.short(writing.per_clause))
    summary: dict[str, JsonValue] = {
        "n_questions": len(written.rows),
        "n_rejects": len(written.rejects),
        "n_clauses": len(clauses),
        "n_clauses_without": sum(not n for n in written.n_by_clause.values()),
        "categories": dict(written.n_by_category),
        "exhausted": f"{n_short} of {len(clauses)} clauses have fewer than {writing.per_clause}" if n_short else None,
    }
    return Built(outputs=("questions.jsonl", "rejects.jsonl", "coverage.json"), summary=summary)


STEPS = (WritePairsStep, WriteQuestionsStep)
