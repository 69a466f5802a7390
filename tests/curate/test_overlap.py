"""Held-out words in rows: whole words only, every one of them, and fast."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.records import Item
from midspec.curate import overlap


def item(first: str, second: str = "zzz", domain: str = "zzzz") -> Item:
    return Item(id="1", set="s", domain=domain, options=(first, second))


def hits(text: str, *terms: str) -> dict[str, int]:
    return overlap([text], [item(term) for term in terms]).hits


def test_options_and_domains_are_found_and_counted() -> None:
    found = overlap(
        ["The car is a Zephyr .", "nothing here", "zephyr or volta ? zephyr ."],
        [Item(id="1", set="s", domain="car", options=("zephyr", "volta"))],
    )
    assert (found.n_rows, found.n_rows_hit, found.n_terms) == (3, 2, 3)
    assert found.hits == {"zephyr": 3, "car": 1, "volta": 1}
    assert found.rows_hit == {"zephyr": 2, "car": 1, "volta": 1}
    assert [(example.row, example.term) for example in found.examples if example.term == "zephyr"] == [
        (0, "zephyr"),
        (2, "zephyr"),
        (2, "zephyr"),
    ]


def test_only_whole_words_count_and_underscores_are_part_of_words() -> None:
    assert hits("brie_pie pie_brie brief fabrie brie2", "brie") == {}
    assert hits("Brie, (brie) brie.", "brie") == {"brie": 3}
    assert hits("cream_cheese or cream cheese", "cream_cheese") == {"cream_cheese": 1}


def test_case_and_white_space_do_not_matter() -> None:
    assert hits("BRIE de\n  Meaux", "Brie de Meaux") == {"Brie de Meaux": 1}
    assert hits("die STRASSE", "Straße") == {"Straße": 1}
    assert hits("cafe\u0301", "caf\u00e9") == {"caf\u00e9": 1}


def test_terms_with_punctuation_are_found_as_they_stand() -> None:
    assert hits("I drink Coca-Cola, and C++ it is.", "Coca-Cola", "C++") == {"C++": 1, "Coca-Cola": 1}
    assert hits("Coca Cola", "Coca-Cola") == {}


def test_a_term_inside_another_is_counted_too() -> None:
    assert hits("brie de meaux", "brie", "brie de meaux", "meaux brie") == {"brie": 1, "brie de meaux": 1}


def test_no_overlap_says_so_with_its_denominator() -> None:
    found = overlap(["a", "b"], [item("x")])
    assert (found.n_rows, found.n_rows_hit, found.hits, found.examples) == (2, 0, {}, ())
    assert overlap([], []).n_rows == 0


def test_an_option_without_a_word_is_nothing_to_look_for() -> None:
    assert overlap(["?", ""], [item("?", " ")]).n_terms == 1


def test_examples_are_few_and_show_the_text_around() -> None:
    found = overlap(["before\nbrie after"] * 10, [item("brie")], n_examples=2)
    assert [example.excerpt for example in found.examples] == ["before brie after"] * 2
    assert found.hits == {"brie": 10}


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "a_b", "A", ".", ",", "b-a"]), max_size=12)


@given(WORDS, st.sampled_from(["a", "b", "ab", "a_b", "b-a", "a b"]))
def test_it_finds_what_a_regular_expression_for_one_term_finds(words: list[str], term: str) -> None:
    text = " ".join(words)
    pattern = r"\s+".join(re.escape(word) for word in term.split())
    found = re.findall(rf"(?<!\w)(?={pattern}(?!\w))", text, re.IGNORECASE)
    assert hits(text, term).get(term, 0) == len(found)


@pytest.mark.timeout(120)
def test_a_thousand_terms_in_a_million_words_never_take_minutes() -> None:
    items = [item(f"name{at}", f"other thing {at}", "thing") for at in range(500)]
    texts = ["the quick brown fox likes name7 and " * 50] * 2500
    assert overlap(texts, items).hits == {"name7": 125_000}
