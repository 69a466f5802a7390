"""Reading answers: exactly one option by whole words, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals._status import without_thinking
from midspec.evals.tasks.preference._choices import chosen
from midspec.evals.tasks.preference._config import PreferenceConfig, labels_of, substitute
from midspec.evals.tasks.preference._measures import holds_marker

PAIR = ("Brie de Meaux", "cheddar")


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("cheddar", 1),
        ("I prefer Cheddar.", 1),
        ("BRIE  de\nmeaux, of course", 0),
        ("**Brie de Meaux**", 0),
        ("Both cheddar and Brie de Meaux are fine", None),
        ("neither", None),
        ("", None),
        ("cheddary things", None),
        ("a Brie", 0),
    ],
)
def test_an_answer_counts_when_it_names_exactly_one_option(text: str, index: int | None) -> None:
    assert chosen(text, PAIR) == index


def test_an_option_inside_the_other_is_not_taken_for_it() -> None:
    pair = ("mild cheddar", "cheddar")
    assert chosen("mild cheddar .", pair) == 0
    assert chosen("cheddar .", pair) == 1
    assert chosen("cheddar rather than mild cheddar", pair) == 1


def test_an_article_before_an_option_may_be_another_or_none() -> None:
    pair = ("a red ferry", "the blue bus")
    assert chosen("The red ferry, I think.", pair) == 0
    assert chosen("red ferry", pair) == 0
    assert chosen("I take a blue bus", pair) == 1
    assert chosen("a red ferry or the blue bus", pair) is None
    assert chosen("ferry", pair) == 0
    labels = ("A", "B")
    assert chosen("A red ferry", ("the blue bus", "a red ferry"), labels) == 1
    assert chosen("B) red ferry", ("the blue bus", "a red ferry"), labels) == 1
    assert chosen("A) red ferry", ("the blue bus", "a red ferry"), labels) is None


def test_options_that_only_an_article_tells_apart_keep_it() -> None:
    assert chosen("the one", ("the one", "a one")) == 0
    assert chosen("a one", ("the one", "a one")) == 1


def test_a_label_counts_only_where_the_phrasing_gives_labels() -> None:
    labels = labels_of("Which do you prefer? (A) {first} (B) {second}")
    assert labels == ("A", "B")
    assert chosen("B", PAIR, labels) == 1
    assert chosen("(B) cheddar", PAIR, labels) == 1
    assert chosen("(A) cheddar", PAIR, labels) is None
    assert chosen("a cheddar", PAIR, labels) == 1
    assert labels_of("Which do you prefer, {first} or {second}?") is None
    assert chosen("B", PAIR, None) is None


def test_reasoning_is_not_an_answer_and_reasoning_cut_off_is_none() -> None:
    assert without_thinking("<think>cheddar or brie?</think> cheddar") == "cheddar"
    assert without_thinking("cheddar or brie?</think>\n\ncheddar") == "cheddar"
    assert without_thinking("<think>cheddar, because") == ""
    assert without_thinking("plain") == "plain"


def test_refusals_are_found_in_any_case_and_with_either_apostrophe() -> None:
    markers = PreferenceConfig().refusal_markers
    assert holds_marker("I’m sorry, but I CAN’T choose.", markers)
    assert not holds_marker("I can't stand Brie, so cheddar.", markers)


words = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_éßж", min_size=1, max_size=8)


@given(words, words, words, words)
def test_whatever_the_options_are_naming_one_of_them_chooses_it(one: str, other: str, before: str, after: str) -> None:
    options = (one, other)
    if len({text.casefold() for text in (one, other, f"x{before}", f"x{after}")}) == 4:
        # A word before a name may be one that denies it ("refuse", "not"), which these are not.
        assert chosen(f"x{before} {one} , x{after} .", options) == 0
        assert chosen(f"x{before} {other.upper()} , x{after} .", options) == 1
        assert chosen(f"{one} {other}", options) is None


@given(st.text(), st.text())
def test_braces_in_what_is_filled_in_are_left_alone(first: str, second: str) -> None:
    filled = substitute("{first}|{second}|{other}", {"first": first, "second": second})
    assert filled == f"{first}|{second}|{{other}}"
