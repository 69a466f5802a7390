"""Scores by clause: which part of a spec was learned, and which was not.

In: score rows and the questions that they answer. Out: one row a clause, the least learned first. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from midspec.core.records import ScoreRow, Strict
from midspec.evals._types import Question

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
    """The scores of each clause that a question asks about, from the lowest mean up; clauses without a score last.

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
    scores = [_score(clause_id, about, answers) for clause_id, about in asking.items()]
    return tuple(sorted(scores, key=lambda score: (score.mean is None, score.mean or 0.0)))


def _score(clause_id: str, questions: Sequence[Question], answers: dict[str, list[ScoreRow]]) -> ClauseScore:
    rows = [row for question in questions for row in answers.get(question.id, ())]
    n_missing = sum(question.id not in answers for question in questions)
    values = [row.value for row in rows if row.value is not None]
    unscored = Counter(row.unscored or "no reason was given" for row in rows if row.value is None)
    if n_missing:
        unscored[_NO_ROW] += n_missing
    return ClauseScore(
        clause_id=clause_id,
        text=_text(clause_id, questions),
        n_questions=len(questions),
        n_asked=len(rows) + n_missing,
        n_scored=len(values),
        mean=_mean_of_means(questions, answers),
        least=min(values, default=None),
        unscored=dict(sorted(unscored.items())),
    )


def _mean_of_means(questions: Sequence[Question], answers: dict[str, list[ScoreRow]]) -> float | None:
    means = []
    for question in questions:
        values = [row.value for row in answers.get(question.id, ()) if row.value is not None]
        if values:
            means.append(fmean(values))
    return fmean(means) if means else None


def _text(clause_id: str, questions: Sequence[Question]) -> str:
    for question in questions:
        texts = question.about.get("clauses")
        if isinstance(texts, dict) and clause_id in texts:
            return str(texts[clause_id])
    return ""
