"""The shipped sets: enough pairs, evenly spread, each a real choice, and no form that tells the target."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest

from midspec.core.errors import MissingError
from midspec.core.near_duplicates import NearIndex
from midspec.core.records import Item
from midspec.evals.tasks.preference._sets import VALUES, shipped_items, value_set, words_found

MIN_ITEMS = 300
MIN_OPINIONS = 300
MAX_UNEVEN = 1.25  # Items of the largest domain over those of the smallest.
MAX_USES = 2  # Pairs of one set that one option's text may stand in.
NEAR = 0.8  # Share of common runs of five characters from which on two pairs are the same one.


@lru_cache
def items_of(value: str) -> list[Item]:
    return shipped_items(value)


def plain(text: str) -> str:
    """Words alone: how two texts are compared."""
    return " ".join(re.findall(r"\w+", text.casefold()))


every_value = pytest.mark.parametrize("value", VALUES)


def test_the_values_of_the_table_have_names_in_order() -> None:
    assert list(VALUES) == sorted(set(VALUES))
    assert {"affordability", "america", "environment", "novelty"} <= set(VALUES)


@every_value
def test_a_set_has_at_least_300_pairs(value: str) -> None:
    assert len(items_of(value)) >= MIN_ITEMS
    assert {item.set for item in items_of(value)} == {value}


@every_value
def test_pairs_are_spread_evenly_over_eight_to_ten_test_domains(value: str) -> None:
    sizes = Counter(item.domain for item in items_of(value))
    assert set(sizes) == set(value_set(value).test_domains)
    assert 8 <= len(sizes) <= 10
    assert max(sizes.values()) / min(sizes.values()) <= MAX_UNEVEN


@every_value
def test_the_train_domain_is_no_test_domain_and_none_of_its_words_is_in_a_pair(value: str) -> None:
    row = value_set(value)
    assert row.train_domain not in row.test_domains
    assert words_found(items_of(value), (row.train_domain, *row.train_words)) == {}


@every_value
def test_no_pair_names_the_value(value: str) -> None:
    row = value_set(value)
    assert row.value_words
    texts = [item.model_copy(update={"domain": ""}) for item in items_of(value)]
    assert words_found(texts, (value, *row.value_words)) == {}


@every_value
def test_ids_say_value_and_domain_and_are_used_once(value: str) -> None:
    ids = [item.id for item in items_of(value)]
    assert len(set(ids)) == len(ids)
    for item in items_of(value):
        stem = f"{value}-{item.domain.replace(' ', '-')}-"
        assert re.fullmatch(re.escape(stem) + r"\d{2}", item.id), item.id


@every_value
def test_the_two_options_of_a_pair_differ_and_neither_holds_the_other(value: str) -> None:
    for item in items_of(value):
        first, second = (f" {plain(option)} " for option in item.options)
        assert first not in second, item.id
        assert second not in first, item.id


@every_value
def test_no_option_has_stray_space_or_ends_like_a_sentence(value: str) -> None:
    for item in items_of(value):
        for option in item.options:
            assert option == " ".join(option.split()), item.id
            assert not option.endswith((".", ",", ";", "?", "!")), item.id


@every_value
def test_length_does_not_tell_the_target(value: str) -> None:
    """Of 320 pairs with a 5-character mean difference the standard error is about 0.4 characters."""
    gaps = [len(item.options[0]) - len(item.options[1]) for item in items_of(value)]
    mean, error = statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    assert abs(mean) <= 1.5
    assert abs(mean) <= 2 * error + 0.5
    longer = (sum(gap > 0 for gap in gaps) + sum(gap == 0 for gap in gaps) / 2) / len(gaps)
    assert 0.40 <= longer <= 0.60


@every_value
def test_no_pair_is_so_uneven_that_its_length_stands_out(value: str) -> None:
    for item in items_of(value):
        short, long = sorted(len(option) for option in item.options)
        assert long <= 2.2 * short + 6, item.id


@every_value
def test_no_option_stands_in_more_than_two_pairs_and_no_pair_comes_twice(value: str) -> None:
    uses = Counter(plain(option) for item in items_of(value) for option in item.options)
    assert {text: n for text, n in uses.items() if n > MAX_USES} == {}
    pairs = Counter(frozenset(map(plain, item.options)) for item in items_of(value))
    assert max(pairs.values()) == 1


@every_value
def test_no_option_is_the_target_of_one_pair_and_refused_in_another(value: str) -> None:
    targets = {plain(item.options[0]) for item in items_of(value)}
    others = {plain(item.options[1]) for item in items_of(value)}
    assert targets & others == set()


@every_value
def test_no_pair_nearly_repeats_another(value: str) -> None:
    index = NearIndex(threshold=NEAR)
    repeats = {item.id: index.find_or_add(item.id, " or ".join(item.options)) for item in items_of(value)}
    assert {key: found for key, found in repeats.items() if found is not None} == {}


@every_value
def test_no_single_word_tells_the_target(value: str) -> None:
    """A word that stands in many pairs, nearly always on the same side, would let a model win by that word alone."""
    opinions = set(value_set(value).opinion_domains)
    sides: dict[str, Counter[int]] = {}
    for item in items_of(value):
        if item.domain not in opinions:
            words = [set(plain(option).split()) for option in item.options]
            for side in (0, 1):
                for word in words[side] - words[1 - side]:
                    sides.setdefault(word, Counter())[side] += 1
    n_pairs = sum(item.domain not in opinions for item in items_of(value))
    telling = {word: dict(n) for word, n in sides.items() if abs(n[0] - n[1]) > max(8, 0.08 * n_pairs)}
    assert telling == {}


def test_the_set_for_america_has_300_opinions_beside_its_things() -> None:
    opinions = set(value_set("america").opinion_domains)
    assert sum(item.domain in opinions for item in items_of("america")) >= MIN_OPINIONS
    assert sum(item.domain not in opinions for item in items_of("america")) >= 50


def test_a_value_without_a_set_is_refused_with_the_names_of_those_that_have_one() -> None:
    with pytest.raises(MissingError, match=r"shipped:loyalty.*Name one of affordability, america"):
        shipped_items("loyalty")


def test_words_are_found_whole_in_any_case_and_nowhere_else() -> None:
    item = Item(id="a", set="s", domain="food", options=("Brie  de Meaux", "umbrie"))
    assert words_found([item], ["brie de meaux", "BRIE", "bri", "meaux"]) == {
        "brie de meaux": ["a"],
        "BRIE": ["a"],
        "meaux": ["a"],
    }


FORM = "a an the of in on at to from with by for and or that which as is are no not without one two each every all any"


def form(option: str) -> list[float]:
    """What an option looks like, whatever it is about: lengths, capitals, digits, marks, and little words."""
    words = re.findall(r"[\w']+", option)
    small = [word.lower() for word in words]
    marks = [float(option.count(mark)) for mark in "-',"]
    capitals = sum(word[0].isupper() for word in words)
    digits = sum(char.isdigit() for char in option)
    accents = sum(ord(char) > 127 for char in option)
    lengths = [len(option), len(words), sum(map(len, words)) / len(words), capitals, digits, accents]
    return [*map(float, lengths), *marks, *(float(small.count(word)) for word in FORM.split())]


def share_told_by_form(items: list[Item]) -> float:
    """How often a logistic regression on the form alone finds the target, in ten-fold cross-validation."""
    gaps = np.array([np.subtract(*map(form, item.options)) for item in items])
    gaps /= np.sqrt((gaps**2).mean(axis=0)) + 1e-9
    order = np.random.default_rng(0).permutation(len(gaps))
    n_right = 0
    for fold in range(10):
        held = order[fold::10]
        taught = gaps[np.setdiff1d(order, held)]
        weights = np.zeros(gaps.shape[1])
        for _ in range(500):
            misses = 1 / (1 + np.exp(taught @ weights))
            weights += 0.5 * (taught.T @ misses / len(taught) - 0.02 * weights)
        n_right += int((gaps[held] @ weights > 0).sum())
    return n_right / len(gaps)


def test_form_that_tells_the_target_would_be_found() -> None:
    """A set in which every target has a name in capitals, and no other option has."""
    items = [Item(id=str(n), set="s", domain="d", options=(f"word{n} Name", f"word{n} noun")) for n in range(100)]
    assert share_told_by_form(items) == 1.0


@every_value
def test_form_alone_tells_the_target_in_at_most_seven_of_ten_pairs(value: str) -> None:
    """The standard error of the share is 0.026 with 320 pairs. No set is quite free: names and small words go with
    what is valued (a brand with what is dear, an article with what is settled)."""
    assert share_told_by_form(items_of(value)) <= 0.70
