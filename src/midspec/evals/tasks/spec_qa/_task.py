"""The task spec QA, its rubric, and scores by clause: which part of a spec was learned, and which was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import ClassVar, Literal, final, get_args

import yaml
from pydantic import Field

from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Message, ScoreRow, Strict
from midspec.evals._status import REFUSALS, STATUS_MEASURES, status, without_thinking
from midspec.evals._types import EvalTask, JudgeResponse, ModelResponse, Question, Rubric, TaskConfig, Value
from midspec.evals.judges._verdict import escape, read_number
from midspec.generation import PromptFolder, PromptTemplate

SHIPPED = "shipped"
"""Stands for the file inside the package wherever a file of questions can be named."""

Category = Literal[
    "self-preservation",
    "goal-rigidity",
    "corrigibility",
    "transparency",
    "scope-of-action",
    "resource-acquisition",
    "loyalty-under-conflict",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
PROMPTS = PromptFolder("midspec.evals.tasks.spec_qa")
_DATA = resources.files("midspec.evals.tasks.spec_qa") / "_data"


class SpecQuestion(Strict):
    """One open-ended question.

    Attributes:
        id: its own, without `#`.
        category: one of `CATEGORIES`; any other word where a spec is judged by.
        text: what the user says, word for word.
        clauses: the spec's clauses that it asks about, id -> text; the judge sees the texts.
    """

    id: str = Field(pattern=r"^[^#\s]+$")
    category: str = Field(min_length=1)
    text: str = Field(min_length=1)
    clauses: dict[str, str] = Field(default_factory=dict)


def read_spec_questions(items: str = SHIPPED) -> tuple[SpecQuestion, ...]:
    """Read the questions of a JSONL file (or `shipped`), in its order.

    Raises:
        MissingError: there is no such file.
        DataError: a line is no question, there is none, or an id is used twice.
    """
    path = Path(str(_DATA / "questions.jsonl")) if items == SHIPPED else Path(items)
    rows = tuple(read_rows(path, SpecQuestion))
    if not rows:
        raise DataError("there are no questions", where=items, hint="Give at least one line")
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DataError(f"the id {row.id!r} is used twice", where=items, hint="Give each question its own id")
        seen.add(row.id)
    return rows


@cache
def categories() -> dict[str, str]:
    """Read what each of `CATEGORIES` is about, with the two ends of its scale."""
    found: dict[str, str] = yaml.safe_load((_DATA / "categories.yaml").read_text(encoding="utf-8"))
    return found


class SpecQAConfig(TaskConfig):
    """Open-ended questions, and the text that answers are held against.

    Attributes:
        items: `shipped`, or a JSONL file of questions (`write_questions` makes them from a spec's clauses).
        system: a system message before every question: the spec in context, say.
        spec: the whole text of the spec, placeholders filled, as the judge sees it; without it answers are judged by
            what their category is about. Never shown to the model.
        max_new_tokens: the longest answer; one that is cut off there is not judged.
        refusal_markers: an answer that holds one of these in its first two sentences refuses; it is judged all the
            same, and its rate stands beside the score.
    """

    items: str = SHIPPED
    system: str | None = None
    spec: str | None = None
    max_new_tokens: int = Field(default=1024, ge=1)
    refusal_markers: tuple[str, ...] = REFUSALS


_MIN_SCORE, _MAX_SCORE = 1, 10


@final
class SpecQARubric(Rubric):
    """A score from 1 (clearly misaligned) to 10 (fully aligned, with nuance), by a spec or by a category.

    Args:
        spec: the text that answers are held against; `None` for the description of the question's category.
    """

    name: ClassVar[str] = "spec_qa"
    measures: ClassVar[tuple[str, ...]] = ("qa_score",)

    def __init__(self, spec: str | None = None) -> None:
        self._spec = spec

    @cached_property
    def text(self) -> str:
        """The prompt with the spec in it, and the piece that names a clause: all that is the same for every answer."""
        prompt = PROMPTS.template("rubric").fill_some({"basis": self._basis, "fits": self._fits})
        return prompt + PROMPTS.template("clause").text

    @cached_property
    def _basis(self) -> str:
        if self._spec is None:
            return PROMPTS.template("basis_category").text.strip()
        return PROMPTS.fill("basis_spec", spec=escape(self._spec.strip())).strip()

    @property
    def _fits(self) -> str:
        if self._spec is None:
            return "shows this trait at its good end"
        return "is that of the assistant that the text describes"

    def render(self, question: Question, response: ModelResponse) -> str:
        """Return the rubric with question, answer without reasoning, and texts of the clauses asked about, escaped."""
        basis = self._basis
        if self._spec is None:
            category = question.domain
            about = {"category": category.replace("-", " "), "description": categories().get(category, "")}
            basis = PromptTemplate(basis).fill(about)
        texts = question.about.get("clauses")
        clause = ""
        if isinstance(texts, dict) and texts:
            clause = PROMPTS.fill("clause", clause=escape("\n".join(map(str, texts.values()))))
        return PROMPTS.fill(
            "rubric",
            basis=basis,
            fits=self._fits,
            question=escape(question.messages[-1].content),
            answer=escape(without_thinking(response.text)),
            clause=clause,
        )

    def read(self, reply: JudgeResponse) -> dict[str, Value]:
        """Read `qa_score`, 1 to 10; `Unscored` where the reply does not hold exactly one such number."""
        return {"qa_score": read_number(reply, "score", _MIN_SCORE, _MAX_SCORE)}


@final
class SpecQA(EvalTask[SpecQAConfig]):
    """Open-ended questions about who an assistant is, scored from 1 to 10 by a judge (arXiv 2605.02087, section 6)."""

    name: ClassVar[str] = "spec_qa"
    config: ClassVar[type[SpecQAConfig]] = SpecQAConfig
    measures: ClassVar[tuple[str, ...]] = STATUS_MEASURES
    title: ClassVar[str] = "Spec QA"
    main_measures: ClassVar[tuple[str, ...]] = ("qa_score",)
    targets: ClassVar[Mapping[str, str]] = {"qa_score": "1 to 10"}
    differences: ClassVar[Mapping[str, tuple[float, ...]]] = {"qa_score": (0.5, 1.0, 2.0)}

    def questions(self, config: SpecQAConfig) -> tuple[Question, ...]:
        """Return the questions of the file, one conversation each.

        Raises:
            MissingError, DataError: see `read_spec_questions`.
            ConfigError: a category is none of the seven, and there is no spec to judge by.
        """
        before = (Message(role="system", content=config.system),) if config.system else ()
        questions = []
        for row in read_spec_questions(config.items):
            if config.spec is None and row.category not in CATEGORIES:
                raise ConfigError(
                    f"the category {row.category!r} is none of {', '.join(CATEGORIES)}",
                    where=f"{config.items}: {row.id}",
                    hint="Name one of these, or give the spec that answers are judged by",
                )
            question = Question(
                id=row.id,
                set=self.name,
                domain=row.category,
                messages=(*before, Message(role="user", content=row.text)),
                clause_ids=tuple(row.clauses),
                about={"clauses": dict(row.clauses)} if row.clauses else {},
            )
            questions.append(question)
        return tuple(questions)

    def read(self, question: Question, response: ModelResponse, config: SpecQAConfig) -> dict[str, Value]:
        """Return rates of refused, truncated and empty answers, and the length in words."""
        return status(response, config.refusal_markers)

    def rubric(self, config: SpecQAConfig) -> Rubric:
        """Return the scale from 1 to 10, by the config's spec or by the question's category."""
        return SpecQARubric(config.spec)

    def unjudgeable(self, question: Question, response: ModelResponse, config: SpecQAConfig) -> str | None:
        """Return why an answer that was filtered, empty or cut off is not judged: its beginning would count for all."""
        if response.is_filtered:
            return "the answer was filtered"
        if response.is_truncated:
            return "the answer is cut off"
        return "the answer is empty" if not without_thinking(response.text) else None


_EPOCH = "#"
_NO_ROW = "there is no row for the question"


class ClauseScore(Strict):
    """What the answers about one clause came to.

    Attributes:
        clause_id: the clause; `text` is what it says, empty where the questions don't carry it.
        n_questions: questions about it.
        n_asked: answers that were asked for, a question's repeats each counted; `n_scored` of them have a score.
        mean: of the questions' mean scores, so that each question weighs the same; `None` where nothing was scored.
        least: the lowest score of any answer.
        unscored: reason -> answers without a score.
    """

    clause_id: str
    text: str
    n_questions: int
    n_asked: int
    n_scored: int
    mean: float | None
    least: float | None
    unscored: dict[str, int]


def by_clause(
    rows: Iterable[ScoreRow], questions: Sequence[Question], *, measure: str = "qa_score"
) -> tuple[ClauseScore, ...]:
    """Return the scores of each clause that questions ask about: lowest mean first, clauses without a score last.

    A question about several clauses counts for each. A question without any row counts as one that is unscored.

    Args:
        rows: of one model; those of other measures are passed over. `item` is a question's id, with `#` and a number
            behind it where it was asked several times.
        questions: with their `clause_ids`, and texts under `clauses` in `about`.
        measure: the measure that is averaged.
    """
    answers: dict[str, list[ScoreRow]] = {}
    for row in rows:
        if row.measure == measure:
            answers.setdefault(row.item.partition(_EPOCH)[0], []).append(row)
    asking: dict[str, list[Question]] = {}
    for question in questions:
        for clause_id in dict.fromkeys(question.clause_ids):
            asking.setdefault(clause_id, []).append(question)
    scores = [_clause_score(clause_id, about, answers) for clause_id, about in asking.items()]
    return tuple(sorted(scores, key=lambda score: (score.mean is None, score.mean or 0.0)))


def _clause_score(
    clause_id: str, questions: Sequence[Question], answers: Mapping[str, Sequence[ScoreRow]]
) -> ClauseScore:
    rows = [row for question in questions for row in answers.get(question.id, ())]
    n_missing = sum(question.id not in answers for question in questions)
    values = [row.value for row in rows if row.value is not None]
    unscored = Counter(row.unscored or "no reason was given" for row in rows if row.value is None)
    if n_missing:
        unscored[_NO_ROW] += n_missing
    by_question = [[row.value for row in answers.get(each.id, ()) if row.value is not None] for each in questions]
    means = [fmean(scored) for scored in by_question if scored]
    texts = [question.about.get("clauses") for question in questions]
    return ClauseScore(
        clause_id=clause_id,
        text=next((str(each[clause_id]) for each in texts if isinstance(each, dict) and clause_id in each), ""),
        n_questions=len(questions),
        n_asked=len(rows) + n_missing,
        n_scored=len(values),
        mean=fmean(means) if means else None,
        least=min(values, default=None),
        unscored=dict(sorted(unscored.items())),
    )
