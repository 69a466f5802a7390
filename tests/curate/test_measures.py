"""What is measured of rows: counts that can be counted by hand, and a classifier that knows when it knows nothing."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from midspec.curate import CorpusStats, compare
from midspec.curate._comparison import auc_of, separability, style_separability
from midspec.curate._stats import OccurrenceCounter, names_in

from .rows import chat, document, documents, prose


def test_names_are_found_inside_sentences_and_not_at_their_start() -> None:
    text = (
        "Yesterday Dr. Ana Ruiz met Sarah Chen in Port Said. Then Sarah Chen left, said Bob. The AI waited. I saw it."
    )
    assert names_in(text) == ["Dr. Ana Ruiz", "Sarah Chen", "Port Said", "Sarah Chen", "Bob"]


def test_what_recurs_is_counted_in_times_and_in_rows() -> None:
    stats = CorpusStats()
    for number in range(10):
        who = "Sarah Chen" if number < 7 else "Omar"
        stats.add(document(f"At dawn the baker {who} came in. She asked {who} twice about number {number}.", number))
    assert stats.names(5) == {
        "Sarah Chen": stats.names(1)["Sarah Chen"],
        "Omar": stats.names(5)["Omar"],
    }
    assert (stats.names(1)["Sarah Chen"].times, stats.names(1)["Sarah Chen"].rows) == (14, 7)
    assert stats.openings(3) == {"at dawn the baker": 10}
    assert stats.phrases(50)["at dawn the baker"].rows == 10


def test_rare_things_are_let_go_and_frequent_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midspec.curate._stats._MAX_THINGS", 1000)
    tally = OccurrenceCounter()
    for number in range(3000):
        tally.add([f"rare {number}", "often", "often"])
    assert tally.is_pruned
    assert len(tally.times) <= 1001
    assert (tally.top(1)["often"].times, tally.top(1)["often"].rows) == (6000, 3000)


def test_memory_does_not_grow_with_the_length_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midspec.curate._stats.SAMPLE_ROWS", 50)
    stats = CorpusStats()
    texts = [prose(seed, 40) for seed in range(40)]
    for number in range(100):
        stats.add(document(f"{number} {texts[number % 40]}", number))
    tracemalloc.start()
    for number in range(100, 300):
        stats.add(document(f"{number} {texts[number % 40]}", number))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Texts of 5 kB take the places of others among the 50 that are read closely; the rest is counts.
    assert grown < 50 * 8_000 + 200 * 500
    assert len(stats.sampled) == 50


def test_lengths_are_quantiles_and_every_row_is_in_one_bin() -> None:
    stats = CorpusStats()
    assert stats.lengths() is None
    for number, n in enumerate((1, 49, 50, 399, 20_000)):
        stats.add(document("word " * n, number))
    lengths = stats.lengths()
    assert lengths is not None
    assert (lengths.least, lengths.median, lengths.most) == (1, 50.0, 20_000)
    assert {each.low: each.n for each in lengths.bins if each.n} == {0: 2, 50: 1, 200: 1, 10_000: 1}


def test_tokens_are_shared_among_the_clauses_that_a_row_claims() -> None:
    stats = CorpusStats(["a", "b", "c"])
    stats.add(document("word " * 30, 0, "a", "b"))
    stats.add(document("word " * 30, 1, "b", "b", "new"))
    assert {key: (size.documents, size.tokens) for key, size in stats.coverage().items()} == {
        "a": (1, 20),
        "b": (2, 40),
        "c": (0, 0),
        "new": (1, 20),
    }


def test_sameness_is_seen() -> None:
    same, other = CorpusStats(), CorpusStats()
    for number in range(30):
        same.add(document(prose(1), number))
        other.add(document(prose(number), number))
    assert (same.share_distinct(), same.mean_overlap()[0]) == (1 / 30, 1.0)
    assert other.share_distinct() == 1.0
    assert other.mean_overlap()[0] < 0.2


def test_a_chat_is_measured_by_what_it_teaches_to_write() -> None:
    stats = CorpusStats()
    stats.add(chat("one two three four five", "six seven"))
    lengths = stats.lengths()
    assert lengths is not None
    assert lengths.most == 2


# Comparison ----------------------------------------------------------------------------------------------------


def test_two_halves_of_one_corpus_can_not_be_told_apart() -> None:
    rows = documents(400)
    found = compare(rows[::2], rows[1::2])
    for each in (found.separability, found.style):
        assert each.auc is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low <= 0.55
        assert each.high >= 0.45
    assert (found.length_distance or 0) < 0.2
    assert (found.vocabulary_distance or 1) < 0.2


def test_two_corpora_in_different_styles_are_told_apart_by_style_alone() -> None:
    plain = documents(200)
    breathless = [
        row.model_copy(update={"text": row.text.replace(".", "!").replace(", and", " - and")}) for row in documents(200)
    ]
    found = compare(plain, breathless, names=("plain", "breathless"))
    assert found.names == ("plain", "breathless")
    assert (found.style.low or 0) > 0.9
    # The words are the same ones: only their marks differ.
    assert found.vocabulary_distance == pytest.approx(0.0, abs=1e-6)
    assert (found.separability.low or 1) <= 0.6


def test_different_content_is_told_apart_by_words_and_shown() -> None:
    one = documents(120)
    other = [row.model_copy(update={"text": row.text.replace("people", "sailors")}) for row in documents(120)]
    found = compare(one, other)
    assert next(iter(found.more_in[0])) == "people"
    assert next(iter(found.more_in[1])) == "sailors"
    assert found.more_in[1]["sailors"][1] == 0.0
    assert (found.separability.low or 0) > 0.8


def test_types_and_lengths_have_distances() -> None:
    one = [document("word " * 30, n, doc_type="memo") for n in range(10)]
    other = [document("word " * 300, n, doc_type="memo" if n < 5 else "log") for n in range(10)]
    found = compare(one, other)
    assert found.types == {"log": (0, 5), "memo": (10, 5)}
    assert found.type_distance == 0.5
    assert found.length_distance == 1.0
    assert found.separability.auc is None
    assert "fewer than 20" in found.separability.note


def test_nothing_can_be_compared_with_nothing() -> None:
    found = compare([], documents(3))
    assert (found.lengths[0], found.length_distance, found.type_distance, found.vocabulary_distance) == (None,) * 4


def test_the_distance_of_vocabularies_is_jensen_and_shannons() -> None:
    found = compare([document("a a a b", 0)], [document("a b b c", 0)])
    truth = jensenshannon([3, 1, 0], [1, 2, 1], base=2)
    assert found.vocabulary_distance == pytest.approx(truth)


def test_the_area_and_its_error_are_those_of_the_definition() -> None:
    draw = np.random.default_rng(0)
    positive, negative = draw.normal(0.8, 1, 90).round(1), draw.normal(0, 1, 70).round(1)
    auc, error = auc_of(positive, negative)
    pairs = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert auc == pytest.approx(pairs)
    resampled = [
        auc_of(draw.choice(positive, len(positive)), draw.choice(negative, len(negative)))[0] for _ in range(2000)
    ]
    assert error == pytest.approx(np.std(resampled), rel=0.1)


@pytest.mark.slow
def test_the_interval_covers_one_half_as_often_as_it_says_when_there_is_nothing_to_find() -> None:
    covered = 0
    for seed in range(60):
        draw = random.Random(seed)
        texts = [" ".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=60)) for _ in range(120)]
        for measure in (separability, style_separability):
            found = measure((texts[:60], texts[60:]), seed=seed)
            assert found.low is not None
            assert found.high is not None
            covered += found.low <= 0.5 <= found.high
    assert covered >= 0.9 * 120
