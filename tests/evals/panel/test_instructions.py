"""Instructions: each item can be followed, and each check sees when it is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals.tasks.side_effects import Instructions, PanelConfig
from midspec.evals.tasks.side_effects._instructions import Check, holds, n_sentences

from ._answers import question_of, reason, said

CONFIG = PanelConfig()
TASK = Instructions()

# A right answer and a wrong one for some items of each domain, by the beginning of the request.
ANSWERS = [
    (
        "Describe a rainy street",
        "Rain drums on grey umbrellas while headlights smear gold across wet cobblestones.",
        "It is wet.",
    ),
    ("Say what a compass is for", "It shows which way is north.", "It shows " + "very " * 20 + "clearly."),
    ("Explain what a library is", "A library lends books. Anyone may read there.", "A library lends books."),
    ("What is snow?", "Snow is frozen water that falls at -0.5 degrees or so.", "Snow falls. It is cold."),
    ("Name three rivers", "Rhine\nElbe\nOder", "Rhine, Elbe, Oder"),
    ("Write two paragraphs", "Leaves fall.\n\nWind blows.", "Leaves fall.\nWind blows."),
    ("List exactly five kitchen", "- pan\n- pot\n- fork\n- jug\n- cup", "Here:\n- pan\n- pot\n- fork\n- jug\n- cup"),
    ("Give me three tips", "1. Walk.\n2. Read.\n3. Rest.", "1) Walk.\n2) Read.\n3) Rest."),
    ("Name four colours", "red, green, blue, grey", "red, green, blue and grey"),
    ("Put these words", "apple\ncherry\npear\nquince", "apple\npear\ncherry\nquince"),
    ("Count down", "6,5,4,3,2,1", "1, 2, 3, 4, 5, 6"),
    ("Tell me in one sentence what a harbour", "a harbour shelters ships.", "A harbour shelters ships."),
    ("Wish me a good trip", "HAVE A GOOD TRIP!", "Have a GOOD trip!"),
    ("Describe the sea without", "Waves roll in under a wide and windy sky.", "Blue waves roll in under a windy sky."),
    ("Write one sentence that holds", "A whisper, a bridge, a lantern.", "A whisper, two bridges, a lantern."),
    ("Recommend a hobby", "Bonsai: patience first, patience last.", "Bonsai needs patience."),
    ("Give a reason to visit a museum", "You see old things up close.", "You see a frozen mammoth there, truly."),
    ("Say something kind", "To be honest, Mondays are fresh starts.", "Honestly, Mondays are fresh starts."),
    ("Explain why bread rises", "Yeast makes gas, and that is all", "Yeast makes gas, and that is all."),
    ("Write a two-sentence weather", "[[Rain at first. Sun later.]]", "Report: [[Rain at first. Sun later.]]"),
    ("Give name and age", '{"name": "Ida", "age": 40}', 'Sure: {"name": "Ida", "age": 40}'),
    ("Is 91 a prime", "no", "No."),
    ("Write the date", "2031-01-01", "1 January 2031"),
    ("List three vegetables", "- leek\n- kale\n- beet", "- Leek\n- Kale\n- Beet"),
    ("In exactly two sentences", "They want to remember. It calms them.", "They remember, and it calms. So."),
]  # fmt: skip


@pytest.mark.parametrize(("start", "right", "wrong"), ANSWERS, ids=lambda text: text[:20])
def test_an_answer_that_keeps_to_the_form_follows_and_one_that_does_not_fails(
    start: str, right: str, wrong: str
) -> None:
    question = question_of(TASK, start)
    assert TASK.read(question, said(right), CONFIG)["followed"] == 1.0
    assert TASK.read(question, said(wrong), CONFIG)["followed"] == 0.0


def test_the_control_is_followed_by_the_very_text_alone() -> None:
    question = question_of(TASK, "Reply with exactly this and nothing else: Good morning", control=True)
    assert TASK.read(question, said(" Good morning\n"), CONFIG)["followed"] == 1.0
    assert TASK.read(question, said('"Good morning"'), CONFIG)["followed"] == 0.0
    assert TASK.read(question, said("good morning"), CONFIG)["followed"] == 0.0


def test_reasoning_is_not_part_of_the_answer_and_what_was_cut_off_is_unscored() -> None:
    question = question_of(TASK, "Is 91 a prime")
    assert TASK.read(question, said("<think>7 times 13.</think>no"), CONFIG)["followed"] == 1.0
    assert reason(TASK.read(question, said("no", "max_tokens"), CONFIG)["followed"]) == "the answer is cut off"


words = st.lists(st.text("abcdefg", min_size=1, max_size=6), min_size=1, max_size=30)


@given(words)
def test_words_are_counted_as_they_were_written(said_words: list[str]) -> None:
    text, n = " ".join(said_words), len(said_words)
    assert holds(Check(kind="words_exactly", n=n), text)
    assert holds(Check(kind="words_at_least", n=n), text)
    assert not holds(Check(kind="words_at_most", n=n - 1), text)


@given(words)
def test_lines_bullets_and_numbers_are_counted_as_they_were_written(entries: list[str]) -> None:
    n = len(entries)
    assert holds(Check(kind="lines", n=n), "\n".join(entries))
    assert holds(Check(kind="bullets", n=n), "\n".join(f"- {entry}" for entry in entries))
    assert holds(Check(kind="numbered", n=n), "\n".join(f"{at}. {entry}" for at, entry in enumerate(entries, 1)))
    # One letter and a stop would be an initial.
    assert holds(Check(kind="sentences", n=n), " ".join(f"{entry.capitalize()}x." for entry in entries))


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=1))
def test_json_has_exactly_the_keys_asked_for(value: dict[str, int]) -> None:
    check = Check(kind="json", words=tuple(value))
    assert holds(check, json.dumps(value))
    assert holds(check, f"```json\n{json.dumps(value)}\n```")
    assert not holds(check, json.dumps({**value, "more": 1}))
    assert not holds(check, json.dumps([value]))
    assert not holds(check, json.dumps(value)[:-1])


@pytest.mark.parametrize("fence", ["```JSON\n{}\n```", "``` json\r\n{}\r\n```", "```json  \n{}\n  ```"])
def test_json_may_stand_in_any_fence(fence: str) -> None:
    assert holds(Check(kind="json", words=("a",)), fence.format('{"a": 1}'))


@pytest.mark.parametrize("dressed", ["_{}_", "**{}**", "__{}__", "({})"])
def test_a_word_counts_whatever_marks_of_emphasis_it_wears(dressed: str) -> None:
    text = f"By the {dressed.format('lantern')} we sat."
    assert holds(Check(kind="contains", words=("lantern",)), text)
    assert not holds(Check(kind="avoids", words=("lantern",)), text)
    assert holds(Check(kind="times", n=1, text="lantern"), text)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('"Stop!" he said. She ran.', 2),
        ("Dr. Smith came home. He slept.", 2),
        ("See fig. 2 for this. Jan. 5 was cold. Feb. was colder.", 3),
        ("\u6211\u559c\u6b22\u8336\u3002\u4f60\u5462\uff1f", 2),
        ("Bees make honey, e.g. from clover. They dance.", 2),
        ("J. R. R. Tolkien wrote it.", 1),
        ("Mr. and Mrs. Poe, i.e. both of them, came.", 1),
        ("He works at Apple Inc. in the U.S. today.", 1),
        ("I live in the U.S. It is big.", 2),
        ("It is 5 p.m. now. Go.", 2),
        ("Pi is 3.14. Yes.", 2),
        ("Wait... what? Yes.", 2),
        ('"Go." He went.', 2),
        ("snow is ice. it melts.", 2),
        ("No stop at the end", 1),
        ("", 0),
    ],
)
def test_a_full_stop_that_ends_no_sentence_is_not_counted(text: str, n: int) -> None:
    assert n_sentences(text) == n
