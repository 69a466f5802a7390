"""Which option an answer chooses, held against readings that were written down by hand before the reader was."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.reasoning import split_reasoning
from midspec.evals.tasks.preference._choices import chosen

HERE = Path(__file__).parent
SIDES = {0: "A", 1: "B", None: None}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


SAID, MORE, OPEN = (rows_of(f"said_choices{name}.jsonl") for name in ("", "_more", "_open"))
ODD, SIGNS, PLAIN, MODERN = (rows_of(f"said_choices_{name}.jsonl") for name in ("odd", "signs", "plain", "modern"))
REAL, FRESH = (rows_of(f"../data/smollm2_answers{name}.jsonl") for name in ("", "_fresh"))


def reading(row: dict[str, Any]) -> str | None:
    first, second = row["options"]
    text = split_reasoning(row["said"])[1]
    is_cut, asked = row.get("cut", False), int(row.get("swapped", False))
    labels = (row["labels"][0], row["labels"][1]) if "labels" in row else None
    return SIDES[chosen(text, (first, second), labels, is_cut=is_cut, first_asked=asked)]


@pytest.mark.parametrize("row", [*SAID, *OPEN], ids=lambda row: f"{row['kind']}: {row['said'][:40]}")
def test_an_answer_is_read_as_a_person_reads_it(row: dict[str, Any]) -> None:
    assert reading(row) == row["means"]


@pytest.mark.parametrize("row", [*ODD, *SIGNS, *PLAIN, *MODERN], ids=lambda row: row["said"][:40])
def test_an_odd_answer_is_read_as_it_is_meant_or_not_at_all(row: dict[str, Any]) -> None:
    """Labels, forms of data, corrections, denials, ratings, other languages; `unread` ones may be read some day.

    Signs too: boxes, ticks, crosses, verdicts in tables, numbers of a list; idioms of comparing and of taking back.
    And plain answers in which such words say something else; and those of modern models, with their counter-examples.
    """
    assert reading(row) in ({row["means"], None} if row.get("unread") else {row["means"]})


@pytest.mark.parametrize("rows", [SAID, MORE, OPEN, [*SAID, *MORE, *OPEN]], ids=["first", "neighbours", "open", "all"])
def test_hardly_any_counted_choice_is_the_wrong_one_and_clear_ones_are_counted(rows: list[dict[str, Any]]) -> None:
    found = [(row["means"], reading(row)) for row in rows]
    counted = [(means, read) for means, read in found if read is not None]
    clear = [(means, read) for means, read in found if means is not None]
    inverted = [means for means, read in counted if means is not None and means != read]
    assert len(inverted) <= 0.01 * len(counted)
    assert sum(read is not None for _, read in clear) >= 0.9 * len(clear)
    assert sum(means is None for means, _ in counted) <= 0.02 * len(counted)


@pytest.mark.parametrize(
    ("rows", "n_clear", "n_nothing", "noise"), [(REAL, 61, 196, 0.03), (FRESH, 33, 243, 0.08)], ids=["first", "fresh"]
)
def test_real_answers_of_a_small_model_are_read_as_their_labels_say(
    rows: list[dict[str, Any]], n_clear: int, n_nothing: int, noise: float
) -> None:
    """Twice 300 answers of SmolLM2-135M-Instruct to open questions, labelled by eye before the reader read them.

    The second set is of other pairs, and was read once before the reader was mended on it: 31 of 33 clear choices were
    counted, one of 71 was inverted, and 27 that choose nothing were counted as well.
    """
    found = []
    for row in rows:
        options = row["option_a"], row["option_b"]
        first, second = (row["question"].find(option) for option in options)
        asked = None if -1 in (first, second) else int(first > second)
        found.append((row, SIDES[chosen(row["answer"], options, is_cut=row["cut"], first_asked=asked)] or "none"))
    counted = [(row, read) for row, read in found if read != "none"]
    clear = [(row, read) for row, read in found if row["clear"] and row["label"] != "none"]
    nothing = [read for row, read in found if row["clear"] and row["label"] == "none"]
    assert (len(clear), len(nothing)) == (n_clear, n_nothing)
    assert sum(row["label"] not in ("none", read) for row, read in counted) <= 0.01 * len(counted)
    assert sum(row["label"] == read for row, read in clear) >= 0.9 * len(clear)
    assert sum(read != "none" for read in nothing) <= noise * len(nothing)


@settings(max_examples=300)
@given(st.sampled_from([row for row in [*SAID, *OPEN] if row["means"]]), st.data())
def test_signs_that_nobody_sees_change_no_reading(row: dict[str, Any], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(row["said"])))
    unseen = data.draw(st.sampled_from("\u00ad\u200b\u200d\u2060\ufeff\u200e"))
    # Not inside a mark of reasoning, nor of markup, which are signs for a program.
    is_in_mark = any(mark.start() < at < mark.end() for mark in re.finditer("analysis|assistantfinal", row["said"]))
    if row["said"].isascii() and not set(row["said"]) & set("<>[]\\{}") and not is_in_mark:
        assert reading({**row, "said": row["said"][:at] + unseen + row["said"][at:]}) == row["means"]


@given(st.sampled_from(SAID), st.sampled_from(["think", "thinking", "reasoning", "THOUGHT"]), st.sampled_from(SAID))
def test_what_was_thought_changes_no_reading(row: dict[str, Any], tag: str, other: dict[str, Any]) -> None:
    if split_reasoning(row["said"])[0] == split_reasoning(other["said"])[0] == "":
        said = f"<{tag}>{' '.join(row['options'])} {other['said']}</{tag}>\n{row['said']}"
        assert reading({**row, "said": said}) == row["means"]


@given(st.text(), st.text(min_size=1), st.text(min_size=1), st.booleans())
def test_no_text_is_too_odd_to_be_read(text: str, one: str, other: str, is_cut: bool) -> None:
    assert chosen(text, (one, other), ("A", "B"), is_cut=is_cut, first_asked=0) in (0, 1, None)


def test_a_label_is_no_article_and_no_part_of_a_word() -> None:
    pair, labels = ("a red ferry", "the blue bus"), ("A", "B")
    assert chosen("A good question! The blue bus.", pair, labels) == 1
    assert chosen("Option A", pair, labels) == 0
    assert chosen("I'd pick option B.", pair, labels) == 1
    assert chosen("**B**", pair, labels) == 1
    assert chosen("(A)", pair, labels) == 0
    assert chosen("A or B, I can't say", pair, labels) is None


@pytest.mark.parametrize(
    "text",
    [
        "<think>no</think>yes",
        "<Thinking>no</Thinking>\nyes",
        "[THINK]no[/THINK]yes",
        "<reasoning>no</reasoning> yes",
        "◁think▷no◁/think▷yes",
        "<|START_THINKING|>no<|END_THINKING|><|START_RESPONSE|>yes<|END_RESPONSE|>",
        "<|begin_of_thought|>no<|end_of_thought|>yes",
        "<seed:think>no</seed:think>yes",
        "<|channel>thought\nno<channel|>yes",
        "<unused94>thought\nno<unused95>yes",
        "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>",
        "analysisNo<|end|>assistantfinalyes",
        "\u00adanalysisNo<|end|>assistantfinalyes",
    ],
)
def test_reasoning_is_told_from_the_answer_in_the_marks_of_every_family(text: str) -> None:
    thought, answer = split_reasoning(text)
    assert (thought.casefold().removesuffix("<|end|>"), answer) == ("no", "yes")


@pytest.mark.parametrize(
    "text",
    ["<thinking>it goes on", "[THINK]on", "<|channel|>analysis<|message|>on", "<|channel|>commentary<|message|>x"],
)
def test_reasoning_that_was_cut_off_leaves_no_answer(text: str) -> None:
    assert split_reasoning(text)[1] == ""


@pytest.mark.parametrize("text", ["analysis of the two", "I think so", "a <b> c", "  spaces  "])
def test_a_text_without_such_marks_stays_as_it_is(text: str) -> None:
    assert split_reasoning(text) == ("", text)


@pytest.mark.parametrize("blank", ["\n", " ", " \n"])
def test_an_answer_that_ends_in_blanks_to_its_limit_takes_no_time(blank: str) -> None:
    began = time.process_time()
    assert chosen("Green tea." + blank * 40_000, ("green tea", "black coffee")) == 0
    assert time.process_time() - began < 2.0


def test_a_sentence_that_goes_on_and_on_is_read_by_its_ends() -> None:
    pair = ("green tea", "black coffee")
    began = time.process_time()
    for said, side in (("I prefer green tea over black coffee ", 0), ("green tea is less mild than black coffee, ", 1)):
        assert chosen(said * 3000, pair) == side
    assert chosen("I'd go on and on " * 2000 + "and I'd choose black coffee", pair) == 1
    assert time.process_time() - began < 5.0
