"""Kappas against figures in print, closed forms and simulated judges."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.analysis import cohen_kappa, fleiss_kappa, judge_agreements
from midspec.core.errors import DataError
from midspec.core.records import Judgement

# Fourteen judges, ten subjects, five categories: the example that is handed on in print for Fleiss' kappa.
FOURTEEN = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""
# Cohen (1960): two judges, three categories, shares of 200 cases.
COHEN_1960 = ((0.25, 0.13, 0.12), (0.12, 0.02, 0.16), (0.03, 0.15, 0.02))


def pair(table) -> tuple[list[int], list[int]]:
    """Verdicts of two judges that make a table of counts."""
    cells = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(round(n))]
    return [i for i, _ in cells], [j for _, j in cells]


def test_fleiss_kappa_is_the_one_in_print() -> None:
    rows = [[int(n) for n in line.split()] for line in FOURTEEN.split("\n") if line]
    verdicts = [[at for at, n in enumerate(row) for _ in range(n)] for row in rows]
    found = fleiss_kappa(verdicts)
    assert found.value == pytest.approx(0.210, abs=0.0005)
    assert found.observed == pytest.approx(0.378, abs=0.0005)
    assert (found.n_answers, found.n_judges) == (10, 14)


def test_cohen_kappa_is_the_one_in_print() -> None:
    first, second = pair([[200 * share for share in row] for row in COHEN_1960])
    found = cohen_kappa(first, second)
    assert found.value == pytest.approx((0.29 - 0.35) / (1 - 0.35))
    assert found.observed == pytest.approx(0.29)
    assert cohen_kappa(*pair([[20, 5], [10, 15]])).value == pytest.approx(0.4)
    assert cohen_kappa(*pair([[45, 15], [25, 15]])).value == pytest.approx(0.1304, abs=5e-5)
    assert cohen_kappa(*pair([[25, 35], [5, 35]])).value == pytest.approx(0.2593, abs=5e-5)


def large_sample_error(table) -> float:
    """The standard error of Fleiss, Cohen and Everitt (1969) from a table of counts."""
    n = sum(map(sum, table))
    shares = np.array(table) / n
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    observed, chance = np.trace(shares), float(rows @ columns)
    kappa = (observed - chance) / (1 - chance)
    on = sum(shares[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(len(table)))
    cells = product(range(len(table)), repeat=2)
    off = (1 - kappa) ** 2 * sum(shares[i, j] * (columns[i] + rows[j]) ** 2 for i, j in cells if i != j)
    variance = (on + off - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    return math.sqrt(variance)


@pytest.mark.parametrize(
    "table", [[[200, 50], [100, 150]], [[900, 20], [30, 50]], [[300, 40, 10], [30, 200, 60], [5, 70, 285]]]
)
def test_the_interval_of_two_judges_is_the_large_sample_one_where_there_are_many_answers(table) -> None:
    found = cohen_kappa(*pair(table))
    half = 1.96 * large_sample_error(table)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.02)
    assert found.value - found.low == pytest.approx(half, rel=0.02)


verdicts = st.lists(st.sampled_from(["yes", "no", "unclear", None]), min_size=3, max_size=3)
tables = st.lists(verdicts, min_size=1, max_size=30)


def directly(table) -> float | None:
    """Fleiss' kappa by going through all pairs of judges of every answer."""
    rated = [[one for one in row if one is not None] for row in table]
    rated = [row for row in rated if len(row) >= 2]
    said = [one for row in rated for one in row]
    if len(set(said)) < 2:
        return None
    agree = [np.mean([one == other for one, other in combinations(row, 2)]) for row in rated]
    chance = sum((said.count(label) / len(said)) ** 2 for label in set(said))
    return (np.mean(agree) - chance) / (1 - chance)


@given(tables)
def test_fleiss_kappa_is_what_counting_pairs_of_judges_gives_with_verdicts_missing_too(table) -> None:
    found, truth = fleiss_kappa(table), directly(table)
    assert found.value == (None if truth is None else pytest.approx(truth))
    assert found.n_answers == sum(sum(one is not None for one in row) >= 2 for row in table)
    assert found.n_asked == len(table)


@given(tables, st.permutations(["yes", "no", "unclear"]), st.permutations(range(3)))
def test_names_and_order_of_judges_and_verdicts_do_not_matter(table, names, order) -> None:
    renamed = dict(zip(["yes", "no", "unclear"], names, strict=True))
    other = [[renamed.get(row[at]) for at in order] for row in reversed(table)]
    assert fleiss_kappa(other).value == pytest.approx(fleiss_kappa(table).value)
    columns = list(zip(*table, strict=True))
    mirrored = cohen_kappa(columns[1], columns[0])
    assert mirrored.value == pytest.approx(cohen_kappa(columns[0], columns[1]).value)


@given(tables)
def test_a_kappa_lies_in_its_interval_and_says_why_where_there_is_none(table) -> None:
    columns = list(zip(*table, strict=True))
    for found in (fleiss_kappa(table), cohen_kappa(columns[0], columns[1])):
        if found.value is None:
            assert found.low is None
            assert found.note
        elif found.low is None:
            assert found.high is None
            assert found.note
        else:
            assert -1 <= found.low <= found.value <= found.high <= 1


def test_judges_that_all_say_the_same_have_no_kappa_and_a_note_says_why() -> None:
    for found in (cohen_kappa(["no"] * 20, ["no"] * 20), fleiss_kappa([["no"] * 3] * 20)):
        assert (found.value, found.low, found.observed) == (None, None, 1.0)
        assert found.note == "all verdicts are the same: nothing can be told of agreement beyond chance"


def test_judges_that_never_differ_have_a_bound_and_no_interval_of_width_nothing() -> None:
    said = ["yes"] * 30 + ["no"] * 30
    found = cohen_kappa(said, said)
    share = 1 - 0.025 ** (1 / 60)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(1 - share / 0.5)


def test_answers_that_only_one_judge_read_are_left_out_and_counted() -> None:
    found = cohen_kappa(["yes", None, "no", "yes", "no"], ["yes", "no", None, "no", "no"])
    assert (found.n_asked, found.n_answers) == (5, 3)
    nothing = cohen_kappa(["yes", None], [None, "no"])
    assert (nothing.value, nothing.note) == (None, "no answer has verdicts of two judges")
    assert fleiss_kappa([]).value is None


def test_verdicts_of_different_numbers_of_answers_are_refused() -> None:
    with pytest.raises(DataError):
        cohen_kappa(["yes"], ["yes", "no"])
    with pytest.raises(DataError):
        fleiss_kappa([["yes", "no"], ["yes"]])
    with pytest.raises(DataError):
        cohen_kappa(["yes", "no"], ["yes", "no"], clusters=["a"])


def judged(rng, n, share, error, n_judges):
    truth = rng.random(n) < share
    return [truth ^ (rng.random(n) < error) for _ in range(n_judges)]


def true_kappa(share: float, error: float) -> float:
    """Of judges that err independently of each other and of the truth."""
    yes = share * (1 - error) + (1 - share) * error
    agree = (1 - error) ** 2 + error**2
    chance = yes**2 + (1 - yes) ** 2
    return (agree - chance) / (1 - chance)


@pytest.mark.parametrize(
    ("n", "share", "error", "n_judges"),
    [
        (200, 0.3, 0.1, 2),
        (60, 0.3, 0.1, 2),
        (200, 0.5, 0.4, 2),
        (200, 0.3, 0.1, 3),
        (100, 0.1, 0.05, 3),
        (40, 0.5, 0.2, 3),
    ],
)
def test_the_true_kappa_lies_in_95_percent_intervals_as_often_as_said(n, share, error, n_judges) -> None:
    rng, truth, n_studies = np.random.default_rng(n), true_kappa(share, error), 400
    covered = 0
    for _ in range(n_studies):
        table = judged(rng, n, share, error, n_judges)
        found = cohen_kappa(*map(list, table)) if n_judges == 2 else fleiss_kappa(list(zip(*table, strict=True)))
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / n_studies <= 0.98


def test_clusters_whose_judges_err_together_make_the_interval_wider() -> None:
    rng = np.random.default_rng(3)
    cells = np.repeat(np.arange(20), 20)
    error = np.where(cells % 2 == 0, 0.02, 0.35)
    truth = rng.random(400) < 0.5
    said = [list(truth ^ (rng.random(400) < error)) for _ in range(2)]
    alone, together = cohen_kappa(*said), cohen_kappa(*said, clusters=list(cells))
    assert together.value == alone.value
    assert together.high - together.low > 1.3 * (alone.high - alone.low)
    assert together.method == "jackknife t interval over 20 clusters of 400 answers"


def judgement(item: int, judge: str, value: float | None) -> Judgement:
    return Judgement(
        item=f"i{item}",
        set="s",
        domain=f"d{item % 4}",
        judge=judge,
        rubric="r",
        text="",
        stop_reason="stop",
        values={"harmful": value},
        unscored={} if value is not None else {"harmful": "cut"},
    )


def test_of_three_judges_all_together_and_each_pair_are_told() -> None:
    rng = np.random.default_rng(4)
    said = judged(rng, 80, 0.4, 0.1, 3)
    rows = [
        judgement(at, name, float(v)) for name, column in zip("abc", said, strict=True) for at, v in enumerate(column)
    ]
    rows[0] = judgement(0, "a", None)
    found = judge_agreements(rows, "harmful")
    assert [(each.kind, each.judges) for each in found] == [
        ("fleiss", ("a", "b", "c")),
        ("cohen", ("a", "b")),
        ("cohen", ("a", "c")),
        ("cohen", ("b", "c")),
    ]
    assert [each.n_answers for each in found] == [80, 79, 79, 80]
    assert {each.measure for each in found} == {"harmful"}
    assert found[3].value == cohen_kappa(list(said[1]), list(said[2])).value
    assert "over 4 clusters" in found[0].method
    assert judge_agreements(rows[:80], "harmful") == []
    with pytest.raises(DataError, match="two judgements"):
        judge_agreements([*rows, rows[5]], "harmful")
