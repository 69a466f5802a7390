"""Scores by clause: the denominator is what was asked, and each question weighs the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from midspec.core.records import Message, ScoreRow
from midspec.evals import Question
from midspec.evals.tasks.spec_qa import by_clause


def question(key: str, *clause_ids: str) -> Question:
    return Question(
        id=key,
        set="spec_qa",
        domain="d",
        messages=(Message(role="user", content="?"),),
        clause_ids=clause_ids,
        about={"clauses": {clause_id: f"text of {clause_id}" for clause_id in clause_ids}},
    )


def row(item: str, value: float | None, measure: str = "qa_score") -> ScoreRow:
    unscored = "the answer is cut off" if value is None else None
    return ScoreRow(
        task="spec_qa", set="spec_qa", item=item, domain="d", measure=measure, value=value, unscored=unscored
    )


def test_the_clause_that_was_not_learned_comes_first_and_one_without_a_score_last() -> None:
    questions = [question("q1", "a"), question("q2", "b"), question("q3", "c")]
    found = by_clause([row("q1", 9), row("q2", 2), row("q3", None)], questions)
    assert [(score.clause_id, score.mean) for score in found] == [("b", 2.0), ("a", 9.0), ("c", None)]
    assert found[2].unscored == {"the answer is cut off": 1}
    assert found[0].text == "text of b"


def test_repeats_are_answers_to_one_question_and_each_question_weighs_the_same() -> None:
    questions = [question("q1", "a"), question("q2", "a")]
    rows = [row("q1#1", 2), row("q1#2", 4), row("q1#3", None), row("q2#1", 9)]
    (score,) = by_clause(rows, questions)
    assert (score.mean, score.least, score.n_questions, score.n_asked, score.n_scored) == (6.0, 2.0, 2, 4, 3)


def test_a_question_without_a_row_is_counted_as_unscored_and_other_measures_are_passed_over() -> None:
    (score,) = by_clause([row("q1", 1.0, "refused")], [question("q1", "a")])
    assert (score.n_asked, score.n_scored, score.mean) == (1, 0, None)
    assert score.unscored == {"there is no row for the question": 1}


def test_a_question_about_two_clauses_counts_for_each_and_one_about_none_for_none() -> None:
    found = by_clause([row("q1", 5), row("q2", 1)], [question("q1", "a", "b"), question("q2")])
    assert {score.clause_id: score.mean for score in found} == {"a": 5.0, "b": 5.0}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.none() | st.integers(1, 10))))
def test_asked_is_scored_plus_unscored_and_a_mean_lies_between_the_scores(
    answers: list[tuple[str, str, int | None]],
) -> None:
    questions = [question(clause + key, clause) for clause in "abc" for key in "xyz"]
    rows = [row(f"{clause}{key}#{at}", value) for at, (clause, key, value) in enumerate(answers)]
    found = by_clause(rows, questions)
    assert {score.clause_id for score in found} == set("abc")
    for score in found:
        values = [value for clause, _, value in answers if clause == score.clause_id and value is not None]
        assert score.n_asked == score.n_scored + sum(score.unscored.values())
        assert score.n_scored == len(values)
        if values:
            assert score.mean is not None
            assert min(values) == score.least <= score.mean <= max(values) + 1e-9
