"""Near duplicates: an exact copy is always found, and verdicts follow the true similarity."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError, DataError
from midspec.core.near_duplicates import NearIndex, Sketcher, cosine_duplicates

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def words(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(5000)}" for _ in range(n)]


def edited(text: list[str], share: float, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"e{draw.randrange(10**6)}" if draw.random() < share else word for word in text]


def jaccard(one: list[str], other: list[str]) -> float:
    first, second = ({tuple(text[at : at + 5]) for at in range(len(text) - 4)} for text in (one, other))
    return len(first & second) / len(first | second)


@given(st.lists(TEXTS, max_size=8), TEXTS, st.integers(0, 2**32))
def test_an_exact_copy_is_always_found(others: list[str], text: str, seed: int) -> None:
    near = NearIndex(seed=seed)
    near.add("it", text)
    for number, other in enumerate(others):
        near.add(f"{number}", other)
    assert near.find(text) is not None
    assert NearIndex(seed=seed).find(text) is None


@pytest.mark.parametrize("n_words", [3, 45, 55, 400])
def test_case_and_white_space_do_not_matter_whatever_the_length(n_words: int) -> None:
    text = words(n_words, seed=1)
    near = NearIndex()
    near.add("it", " ".join(text))
    assert near.find("\n  ".join(text).upper()) == "it"


def test_verdicts_follow_the_true_similarity_outside_the_noise_of_the_estimate() -> None:
    near = NearIndex(threshold=0.8)
    texts = {f"{seed}": words(700, seed) for seed in range(150)}
    for key, text in texts.items():
        near.add(key, " ".join(text))
    n_like = n_unlike = 0
    for share in (0.0, 0.005, 0.03, 0.1):
        for key, text in texts.items():
            changed = edited(text, share, seed=int(key) + 10_000)
            similarity, found = jaccard(text, changed), near.find(" ".join(changed))
            assert found in (key, None)
            # Four standard errors, and the hashing's own misses, which are rare this far above the threshold.
            n_like += similarity > 0.93 and found is None
            n_unlike += similarity < 0.66 and found is not None
    assert n_like == 0
    assert n_unlike == 0


def test_short_questions_are_compared_by_characters() -> None:
    near = NearIndex(threshold=0.6)
    near.add("rain", "What should I do when the weather report promises rain for our picnic?")
    assert near.find("What should I do when the weather report promises rain for our picnics?") == "rain"
    assert near.find("Which cheese goes best with a dry white wine?") is None


def test_a_script_without_spaces_is_compared_by_characters() -> None:
    text = "模型应当诚实地说明自己不知道的事情，并且解释为什么这样做对使用者更好。" * 3
    near = NearIndex(threshold=0.6)
    near.add("it", text)
    assert near.find(text.replace("诚实地", "坦率地")) == "it"


@pytest.mark.parametrize("n_words", range(36, 66))
def test_texts_on_both_sides_of_short_and_long_find_each_other(n_words: int) -> None:
    text = words(66, seed=3)
    for one, other in ((n_words, n_words + 1), (n_words + 1, n_words)):
        near = NearIndex()
        near.add("it", " ".join(text[:one]))
        assert near.find(" ".join(text[:other])) == "it"


def test_of_several_the_most_similar_is_named_and_of_equals_the_earliest() -> None:
    text = words(500, seed=5)
    near = NearIndex(threshold=0.5)
    near.add("far", " ".join(edited(text, 0.03, seed=1)))
    near.add("near", " ".join(edited(text, 0.01, seed=2)))
    near.add("copy", " ".join(text))
    near.add("copy again", " ".join(text))
    assert near.find(" ".join(text)) == "copy"


def test_what_is_found_is_not_added() -> None:
    near = NearIndex()
    assert near.find_or_add("a", "one text") is None
    assert near.find_or_add("b", "one text") == "a"
    assert len(near) == 1


def test_the_index_takes_what_a_sketcher_made_in_another_process() -> None:
    near, text = NearIndex(seed=7), " ".join(words(300, seed=7))
    sketcher: Sketcher = pickle.loads(pickle.dumps(near.sketcher))
    near.add("it", pickle.loads(pickle.dumps(sketcher(text))))
    assert near.find(text) == "it"


def test_the_index_grows_past_its_first_room() -> None:
    near = NearIndex()
    for number in range(3000):
        near.add(f"{number}", f"question number {number}: {number * 7919} or {number * 104729}?")
    assert near.find("question number 17: 134623 or 1780393?") == "17"


@pytest.mark.parametrize("wrong", [{"threshold": 0.0}, {"threshold": 1.1}, {"n_perm": 100}, {"shingle": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        NearIndex(**wrong)  # type: ignore[arg-type]


# Vectors -------------------------------------------------------------------------------------------------------


def greedy(vectors: list[list[float]], threshold: float) -> dict[int, int]:
    """The same, one pair at a time."""
    kept: list[int] = []
    found: dict[int, int] = {}
    rows = np.asarray(vectors, dtype=np.float64)
    for at, row in enumerate(rows):
        length = float(np.linalg.norm(row))
        cosines = {one: float(row @ rows[one]) / (length * float(np.linalg.norm(rows[one]))) for one in kept if length}
        best = max(cosines, key=lambda one: (round(cosines[one], 5), -one), default=-1)
        if best >= 0 and cosines[best] >= threshold:
            found[at] = best
        elif length:
            kept.append(at)
    return found


@given(st.integers(0, 60), st.integers(1, 7), st.integers(0, 2**16))
def test_blocks_find_what_one_pair_at_a_time_finds(n_rows: int, block: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(n_rows, 3)).reshape(n_rows, 3)
    assert cosine_duplicates(vectors, 0.95, block=block) == greedy(vectors.tolist(), 0.95)


def test_a_chain_of_neighbours_does_not_vanish_behind_its_first() -> None:
    angles = np.deg2rad([0, 20, 40, 60])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert cosine_duplicates(chain, float(np.cos(np.deg2rad(25)))) == {1: 0, 3: 2}


def test_zeros_are_like_nothing_and_no_number_is_an_error() -> None:
    assert cosine_duplicates(np.zeros((3, 4)), 0.9) == {}
    assert cosine_duplicates(np.empty((0, 4)), 0.9) == {}
    with pytest.raises(DataError):
        cosine_duplicates([[1.0, float("nan")]], 0.9)
    with pytest.raises(DataError):
        cosine_duplicates([1.0, 2.0], 0.9)
