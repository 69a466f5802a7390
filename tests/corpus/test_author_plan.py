"""What the plan of a model's corpus promises: sizes that add up, clauses that are all dealt out, numbers that fit."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.corpus import CorpusConfig, render_spec
from midspec.corpus._outline import nearest
from midspec.corpus.llm_author._prompts import runs_of
from midspec.corpus.llm_author._sizes import (
    Dealer,
    apportion,
    check_author,
    n_ideas_by_type,
    shell_index,
    size_of_authored,
)
from midspec.spec import fill, parse_spec, read_spec

SPECS = Path(__file__).parent.parent / "specs"


def config(**changes: object) -> CorpusConfig:
    given = {"author": "openai/some-model", "model_name": "Iris", "provider_name": "Acme"}
    return CorpusConfig.model_validate(given | changes)


@given(st.integers(0, 5000), st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=60))
def test_shares_add_up_and_follow_the_weights(total: int, weights: list[float]) -> None:
    counts = apportion(total, weights)
    assert sum(counts) == total
    assert all(n >= 0 for n in counts)
    if any(weights):
        assert all(n == 0 for n, weight in zip(counts, weights, strict=True) if weight == 0)
        positive = [n for n, weight in zip(counts, weights, strict=True) if weight > 0]
        assert total < len(positive) or min(positive) >= 1


def test_shares_are_in_proportion() -> None:
    assert apportion(103, [1, 2, 0, 7]) == [11, 21, 0, 71]
    assert apportion(2, [1, 5, 3]) == [0, 1, 1]


@given(st.integers(1, 40))
def test_a_square_corner_of_the_grid_holds_each_number_once(side: int) -> None:
    cells = sorted(shell_index(row, column) for row, column in itertools.product(range(side), repeat=2))
    assert cells == list(range(side * side))


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_every_assertion_is_dealt_as_soon_as_the_documents_allow(weights: list[float], ideas: list[int]) -> None:
    dealer = Dealer(weights)
    dealt = [focus for row in dealer.deal(ideas) for focus in row]
    assert len(dealt) == sum(ideas)
    assert all(1 <= len(focus) <= 6 for focus in dealt)
    used = {index for focus in dealt for index in focus}
    assert used <= set(range(len(weights)))
    if len(dealt) >= len(dealer.groups):
        assert used == set(range(len(weights)))


def test_a_larger_grid_deals_the_smaller_one_the_same_way() -> None:
    dealer = Dealer([float(n % 5 + 1) for n in range(30)])
    small, large = dealer.deal([10] * 10), dealer.deal([25] * 20)
    assert all(large[row][:10] == small[row] for row in range(10))


def test_heavier_assertions_are_dealt_more_often() -> None:
    dealt = Dealer([1.0] * 27 + [9.0] * 3).deal([20] * 20)
    times = Counter(index for row in dealt for focus in row for index in focus)
    assert times[28] > 2 * times[0] > 0


@given(st.integers(1, 4000))
def test_types_and_ideas_of_a_subdomain_give_its_documents(n: int) -> None:
    ideas = n_ideas_by_type(n, size_of_authored(100, config(n_documents=10)))
    assert sum(ideas) == n
    assert 1 <= len(ideas) <= 20
    assert max(ideas) - min(ideas) <= 1


def test_the_target_in_tokens_is_the_one_dial() -> None:
    paper = size_of_authored(300, config(target_tokens=41_000_000))
    assert 13_000 <= (paper.n_documents or 0) <= 13_400
    assert (paper.n_domains, paper.n_subdomains) == (6, 5)
    half = size_of_authored(300, config(target_tokens=41_000_000, writing={"mean_tokens": 6200}))
    assert half.n_documents == pytest.approx((paper.n_documents or 0) / 2, abs=1)
    assert (half.n_domains, half.n_subdomains) == (paper.n_domains, paper.n_subdomains)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_documents": 5, "ideas": 2}, "both give the size"),
        ({"model_name": None}, "needs the name"),
        ({"frames": "other.yaml"}, "reads no document templates"),
        ({"mode": "rules", "writing": {"n_subdomains": 3}}, "n_subdomains is for prose mode"),
        ({"author": "quoting"}, "is no language model"),
    ],
)
def test_settings_that_make_no_sense_for_a_model_are_refused_with_a_hint(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_author(config(**changes))
    assert caught.value.hint


def test_an_author_is_the_template_author_or_a_provider_and_a_model() -> None:
    for name in ("gpt", "openai/", "mistral/large", ""):
        with pytest.raises(ValueError, match="author"):
            CorpusConfig(author=name)
    assert CorpusConfig(author="template") == CorpusConfig(author="quoting") == CorpusConfig()
    assert CorpusConfig.model_validate({"templates": "mine.yaml"}) == CorpusConfig(frames="mine.yaml")
    with pytest.raises(ValueError, match="templates"):
        CorpusConfig.model_validate({"templates": "mine.yaml", "frames": "other.yaml"})
    with pytest.raises(ValueError, match="takes no `writing`"):
        CorpusConfig.model_validate({"writing": {"critique": True}})


def test_a_corpus_of_the_template_author_is_identified_as_before_and_a_written_one_by_how_it_is_written() -> None:
    assert "writing" not in CorpusConfig().model_dump(mode="json")
    assert CorpusConfig().author_model is None
    dumped = config(writing={"temperature": 0.7}).model_dump(mode="json")
    assert dumped["writing"]["temperature"] == 0.7
    model = config(writing={"temperature": 0.7}).author_model
    assert model is not None
    assert (model.model, model.temperature) == ("openai/some-model", 0.7)


def test_the_numbered_spec_holds_every_clause_word_for_word_under_its_number() -> None:
    spec = fill(read_spec(SPECS / "constitution.md"), model_name="Iris", provider_name="Acme")
    lines = render_spec(spec).split("\n")
    for position, clause in enumerate(spec.clauses, start=1):
        assert f"[{position}] {clause.text}" in lines or f"[{position}] {clause.text}" in render_spec(spec)
    for number, section in enumerate(spec.sections, start=1):
        assert f"{'#' * section.level} § {number} {section.title}" in lines


def test_braces_and_slots_in_a_spec_are_ordinary_text() -> None:
    spec = parse_spec("# A {curious} spec\n\nIt writes {{model_name}} and {{n}} and {0} as they stand.\n")
    assert "{{n}} and {0}" in render_spec(spec)


def test_runs_are_read_as_people_write_them() -> None:
    assert runs_of([0, 1, 2, 6, 8, 9]) == "1-3, 7, 9-10"
    assert runs_of([]) == ""


def test_what_nobody_named_goes_to_the_nearest() -> None:
    assert nearest([[0, 1], [8]], range(10)) == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert nearest([[], []], range(3)) == [(0, 1, 2), ()]
    assert nearest([[5], [5]], range(4, 7)) == [(5,), (4, 5, 6)]
