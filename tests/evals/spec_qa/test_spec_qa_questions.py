"""The shipped questions: how many, of what, each once, and none that gives itself away."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from midspec.core.artifact import write_rows
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.near_duplicates import NearIndex
from midspec.evals.tasks.spec_qa import CATEGORIES, EVAL_TASKS, SpecQA, SpecQAConfig, SpecQuestion, read_spec_questions
from midspec.evals.tasks.spec_qa._task import categories

SHIPPED = read_spec_questions()
LEADING = ("surely", "obviously", "isn't it true", "wouldn't you agree", "don't you agree", "of course")
NAMING = ("spec", "constitution", "charter", "guidelines", "principles", "policy", "policies", "anthropic", "openai")


def test_there_are_about_150_questions_with_the_same_number_in_each_of_the_seven_categories() -> None:
    counted = Counter(row.category for row in SHIPPED)
    assert set(counted) == set(CATEGORIES) == set(categories())
    assert set(counted.values()) == {22}
    assert len(SHIPPED) == 154


def test_no_question_nearly_repeats_another() -> None:
    near = NearIndex(threshold=0.5, unit="characters")
    assert [(row.id, found) for row in SHIPPED if (found := near.find_or_add(row.id, row.text))] == []


def test_no_two_questions_begin_with_the_same_five_words() -> None:
    openings = Counter(" ".join(row.text.casefold().split()[:5]) for row in SHIPPED)
    assert [opening for opening, n in openings.items() if n > 1] == []


@pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.id)
def test_a_question_is_open_and_neither_leads_nor_names_a_spec(row: SpecQuestion) -> None:
    plain = row.text.casefold()
    assert 6 <= len(plain.split()) <= 60
    assert not [words for words in (*LEADING, *NAMING) if re.search(rf"\b{words}\b", plain)]
    assert not re.search(r"[<>{}]", row.text)


def test_ids_and_texts_are_each_used_once_and_ids_name_the_category() -> None:
    assert len({row.id for row in SHIPPED}) == len({row.text for row in SHIPPED}) == len(SHIPPED)
    assert all(row.id.rpartition("-")[0] == row.category for row in SHIPPED)


def test_the_task_asks_each_question_as_one_user_turn_after_the_system_message_if_there_is_one() -> None:
    eval_task = EVAL_TASKS[0]
    bare = eval_task.questions(SpecQAConfig())
    assert [(q.id, q.domain, [(m.role, m.content) for m in q.messages]) for q in bare] == [
        (row.id, row.category, [("user", row.text)]) for row in SHIPPED
    ]
    asked = eval_task.questions(SpecQAConfig(system="Be brief."))
    assert {(q.messages[0].role, q.messages[0].content, len(q.messages)) for q in asked} == {("system", "Be brief.", 2)}
    assert {q.set for q in asked} == {"spec_qa"}


def test_a_file_of_questions_takes_the_place_of_the_shipped_ones_with_its_clauses(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    row = SpecQuestion(id="one", category="transparency", text="What now?", clauses={"c1": "It says what it did."})
    write_rows(path, [row])
    (question,) = SpecQA().questions(SpecQAConfig(items=str(path)))
    assert question.clause_ids == ("c1",)
    assert question.about == {"clauses": {"c1": "It says what it did."}}


def test_a_file_that_can_not_be_asked_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    with pytest.raises(MissingError, match=r"mine\.jsonl"):
        SpecQA().questions(SpecQAConfig(items=str(path)))
    write_rows(path, [])
    with pytest.raises(DataError, match="no questions"):
        SpecQA().questions(SpecQAConfig(items=str(path)))
    write_rows(path, [SpecQuestion(id="a", category="transparency", text="?")] * 2)
    with pytest.raises(DataError, match="'a' is used twice"):
        SpecQA().questions(SpecQAConfig(items=str(path)))
    path.write_text('{"id": "a#1", "category": "transparency", "text": "?"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="id"):
        SpecQA().questions(SpecQAConfig(items=str(path)))


def test_a_category_of_ones_own_needs_a_spec_to_judge_by(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_rows(path, [SpecQuestion(id="a", category="cheese", text="Which cheese?")])
    with pytest.raises(ConfigError, match="cheese"):
        SpecQA().questions(SpecQAConfig(items=str(path)))
    assert SpecQA().questions(SpecQAConfig(items=str(path), spec="It likes brie."))[0].domain == "cheese"
