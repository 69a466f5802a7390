from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from midspec.analysis import contrasts, rates
from midspec.analysis import p_values as read_p_values
from midspec.analysis._estimates import format_p
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Contrast, Difference


def score(arm, seed, item, value, *, of="conflict", measure="choice_logprob"):
    row = {"task": "preference", "set": of, "item": item, "domain": "car", "measure": measure, "arm": arm, "seed": seed}
    return ArmScore(**row, value=value, unscored="no answer" if value is None else None)


def arm_scores(arm, values, *, nested=True, measure="choice_logprob"):
    """Scores of one arm from rows of values, one row a seed."""
    return [
        score(arm, seed, f"{seed if nested else ''}i{index}", value, measure=measure)
        for seed, row in enumerate(values)
        for index, value in enumerate(row)
    ]


def contrast(plus="a", minus="b", measure="choice_logprob"):
    return Contrast(name=f"{plus}-{minus}", plus=plus, minus=minus, set="conflict", measure=measure)


def quarters(seed, shape):
    return np.random.default_rng(seed).integers(0, 5, shape) / 4


def test_a_nested_contrast_is_the_paired_t_test_over_seed_means():
    plus, minus = quarters(1, (5, 40)), quarters(2, (5, 40)) * 0.75
    (found,) = contrasts(arm_scores("a", plus) + arm_scores("b", minus), [contrast()])
    truth = stats.ttest_rel(plus.mean(1), minus.mean(1))
    low, high = truth.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx((plus - minus).mean())
    assert f"p {truth.pvalue:.2g}" in found.note or "p < 0.0001" in found.note
    assert [one.value for one in found.by_seed] == pytest.approx((plus - minus).mean(1).tolist())
    assert "5 seed means" in found.method


@pytest.mark.parametrize("same_items", [True, False])
def test_seeds_that_share_a_base_count_as_one_draw_of_it(same_items: bool) -> None:
    plus, minus = quarters(1, (5, 3, 20)), quarters(2, (5, 3, 20)) * 0.75  # bases, midtrainings, items
    rows = [
        score(arm, base + 10 * index, f"{base}-{0 if same_items else index}-{item}", value)
        for arm, values in (("a", plus), ("b", minus))
        for (base, index, item), value in np.ndenumerate(values)
    ]
    bases = {base + 10 * index: base for base in range(5) for index in range(3)}
    (found,) = contrasts(rows, [contrast()], bases=bases)
    means = (plus - minus).mean((1, 2))
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert [one.seed for one in found.by_seed] == [0, 1, 2, 3, 4]
    assert [one.value for one in found.by_seed] == pytest.approx(means.tolist())
    assert found.within_sd == pytest.approx(math.sqrt((plus - minus).mean(2).var(axis=1, ddof=1).mean()))
    assert "5 seed means" in found.method
    assert "the mean of 3 midtrainings of one base" in found.method
    assert found.n_asked == 300


def test_a_difference_less_another_is_the_t_test_of_what_is_left():
    values = {arm: quarters(number, (6, 10)) for number, arm in enumerate("abcd")}
    rows = [row for arm, each in values.items() for row in arm_scores(arm, each)]
    asked = contrast().model_copy(update={"less": Difference(plus="c", minus="d")})
    (found,) = contrasts(rows, [asked])
    left = (values["a"] - values["b"] - values["c"] + values["d"]).mean(1)
    low, high = stats.ttest_1samp(left, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx(left.mean())
    assert (found.arm, found.minus) == ("(a minus b)", "(c minus d)")
    (lost,) = contrasts(rows[:-10], [asked])
    assert lost.n_scored == 50
    (absent,) = contrasts([row for row in rows if row.arm != "d"], [asked])
    assert absent.value is None
    assert "no scores at all of d" in absent.note


def test_a_base_for_each_seed_changes_nothing() -> None:
    rows = arm_scores("a", quarters(1, (5, 40))) + arm_scores("b", quarters(2, (5, 40)))
    bases = {seed: seed for seed in range(5)}
    assert contrasts(rows, [contrast()], bases=bases) == contrasts(rows, [contrast()])
    assert rates(rows, bases=bases) == rates(rows)
    assert "within_sd" not in rates(rows)[0].model_dump()


def test_a_one_seed_contrast_is_the_paired_t_test_over_items_and_says_so():
    plus, minus = quarters(1, (1, 40)), quarters(2, (1, 40))
    (found,) = contrasts(arm_scores("a", plus) + arm_scores("b", minus), [contrast()])
    low, high = stats.ttest_rel(plus[0], minus[0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.seed_sd is None
    assert "over items only" in found.note


def test_a_crossed_variance_is_that_of_the_two_way_analysis_of_variance():
    values = quarters(3, (4, 30)) * 0.5 + np.linspace(0, 0.5, 4)[:, None]
    n_seeds, n_items = values.shape
    seeds, items = values.mean(1), values.mean(0)
    rest = values - seeds[:, None] - items[None] + values.mean()
    noise = (rest**2).sum() / ((n_seeds - 1) * (n_items - 1)) / values.size
    variances = seeds.var(ddof=1) / n_seeds, max(items.var(ddof=1) / n_items - noise, 0)
    half = math.hypot(*(stats.t.ppf(0.975, df) * v**0.5 for v, df in zip(variances, (3, 29), strict=True)))
    scores = arm_scores("a", values, nested=False) + arm_scores("b", np.zeros((4, 30)), nested=False)
    (found,) = contrasts(scores, [contrast()])
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert "4 seeds and 30 items" in found.method


def test_a_rate_interval_is_taken_on_the_logit_scale_and_stays_between_0_and_1():
    values = 1 - quarters(4, (5, 40)) * np.array([0.2, 0.5, 0.6, 0.9, 1.0])[:, None]
    (found,) = rates(arm_scores("a", values))
    means = values.mean(1)
    p = means.mean()
    half = stats.t.ppf(0.975, 4) * means.std(ddof=1) / 5**0.5 / (p * (1 - p))
    middle = math.log(p / (1 - p))
    assert (found.low, found.high) == pytest.approx(
        tuple(1 / (1 + math.exp(-x)) for x in (middle - half, middle + half))
    )


def test_with_no_variance_at_all_the_interval_is_a_stated_bound():
    (found,) = rates(arm_scores("a", np.ones((1, 40))))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(stats.binomtest(40, 40).proportion_ci(method="exact").low)
    assert "Clopper-Pearson" in found.method
    assert "bound over items" in found.note
    assert found.mde is None
    (of_seeds,) = rates(arm_scores("a", np.ones((5, 8))))
    assert of_seeds.value == of_seeds.high == 1
    assert of_seeds.low < found.low
    assert "a bound over seeds" in of_seeds.note


def test_two_arms_that_always_differ_by_one_are_bounded_away_from_certainty():
    (found,) = contrasts(arm_scores("a", np.ones((5, 8))) + arm_scores("b", np.zeros((5, 8))), [contrast()])
    assert found.value == found.high == 1
    assert 0.5 < found.low < 1


def test_equal_seed_means_do_not_make_an_interval_of_width_0():
    values = np.tile([0.0, 0.5, 1.0, 0.25, 0.75], (2, 8))
    (found,) = rates(arm_scores("a", values))
    assert found.high - found.low > 0.1
    assert "items only" in found.note


def test_an_unscored_item_is_never_a_zero():
    (found,) = rates(arm_scores("a", [[1.0, None, 0.5], [1.0, 0.5, None]]))
    assert found.value == 0.75
    assert (found.n_asked, found.n_scored, found.n_items, found.n_seeds) == (6, 4, 4, 2)
    assert "2 of 6 unscored" in found.note


def test_a_set_without_a_scored_item_has_no_value_and_says_why():
    (found,) = rates(arm_scores("a", [[None, None], [None, None]]))
    assert (found.value, found.low, found.high, found.mde) == (None, None, None, None)
    assert (found.n_asked, found.n_scored) == (4, 0)
    assert "no scored item" in found.note
    assert [one.value for one in found.by_seed] == [None, None]


def test_a_seed_without_a_scored_item_is_named_and_left_out():
    (found,) = rates(arm_scores("a", [[1.0, 0.5], [None, None], [0.5, 0.75]]))
    assert found.n_seeds == 2
    assert [one.value for one in found.by_seed] == [0.75, None, 0.625]


def test_every_seed_counts_the_same_however_many_items_it_has():
    (found,) = rates(arm_scores("a", [[1.0], [0.0, 0.0, 0.25, 0.0]]))
    assert found.value == pytest.approx((1.0 + 0.0625) / 2)


def test_pairs_that_are_not_scored_in_both_arms_are_lost_and_counted():
    scores = arm_scores("a", [[1.0, None, 0.5], [1.0, 0.5, 0.5]]) + arm_scores("b", [[0.0, 0.5, None], [0.5, 0.5]])
    (found,) = contrasts(scores, [contrast()])
    assert (found.n_asked, found.n_scored) == (6, 3)
    assert found.value == pytest.approx((1.0 + 0.25) / 2)
    assert "3 of 6 pairs lost" in found.note


def test_a_contrast_with_an_arm_that_has_no_scores_says_which():
    (found,) = contrasts(arm_scores("a", [[1.0, 0.5]]), [contrast(minus="ghost")])
    assert found.value is None
    assert "no scores at all of ghost" in found.note
    (found,) = contrasts(arm_scores("a", [[1.0, 0.5]]), [contrast(minus="top p 0.9")])
    assert read_p_values(found) is None, "an arm's name is no p"


def test_a_contrast_on_a_set_without_items_names_the_sets_that_there_are() -> None:
    scores = [
        ArmScore(task="t", set="s", item="i", domain="d", measure="m", value=1.0, unscored=None, arm=arm, seed=1)
        for arm in ("a", "b")
    ]
    [found] = contrasts(scores, [Contrast(name="n", plus="a", minus="b", set="conflit", measure="m")])
    assert found.note.startswith("no item of the set 'conflit' exists (the sets are s)")


def test_a_measure_beyond_0_and_1_is_not_clipped_to_them():
    margins = np.random.default_rng(5).normal(3, 2, (5, 20))
    (found,) = rates(arm_scores("a", margins, measure="margin_logprob"))
    low, high = stats.t.interval(0.95, 4, margins.mean(), stats.sem(margins.mean(1)))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert "logit" not in found.method


def test_p_values_are_corrected_for_every_contrast_that_was_asked():
    plus, minus = quarters(1, (5, 40)), quarters(2, (5, 40))
    scores = arm_scores("a", plus) + arm_scores("b", minus) + arm_scores("c", minus * 0.2)
    asked = [contrast(), contrast(minus="c"), contrast(plus="b", minus="c")]
    p_values = [stats.ttest_rel(x.mean(1), y.mean(1)).pvalue for x, y in [(plus, minus), (plus, minus * 0.2)]]
    found = contrasts(scores, asked)
    assert all("after Holm's correction for 3 contrasts" in one.note for one in found)
    assert p_values[0] > p_values[1]
    assert f"p {p_values[0]:.2g} alone, {p_values[0]:.2g} after" in found[0].note


def test_a_score_given_twice_is_refused():
    with pytest.raises(DataError, match="two scores of arm 'a', seed 0, item 'i'"):
        rates([score("a", 0, "i", 1.0), score("a", 0, "i", 0.0)])


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(DataError, match="not between 0 and 1"):
        rates([], level=level)


SCORES = st.lists(
    st.lists(st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(values=SCORES, nested=st.booleans(), level=st.floats(0.5, 0.999))
@settings(max_examples=200)
def test_whatever_is_scored_an_interval_holds_its_value_and_stays_in_its_scale(values, nested, level):
    scores = arm_scores("a", values, nested=nested)
    (found,) = rates(scores, level=level)
    if found.value is None:
        assert all(one is None for row in values for one in row)
    else:
        assert 0 <= found.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.high <= 1
        assert found.high > found.low


def test_the_order_of_scores_changes_nothing():
    scores = arm_scores("a", quarters(1, (3, 9)), nested=False)
    assert rates(scores[::-1]) == rates(scores)


@pytest.mark.timeout(120)
def test_160_thousand_scores_never_take_minutes():
    values = quarters(1, (20, 5, 4, 40, 10))
    scores = [
        score(f"a{arm}", seed, f"{seed}-{of}-{item}", value, of=f"s{of}", measure=f"m{measure}")
        for (arm, seed, of, item, measure), value in np.ndenumerate(values)
    ]
    found = rates(scores)
    assert len(found) == 800


def test_importing_the_room_is_quick_and_leaves_scipy_out():
    code = "import sys, midspec.analysis; sys.exit('scipy' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0504, "0.0504"), (0.05, "0.05"), (0.0496, "0.05"), (0.05000001, "0.05"), (0.0104, "0.0104"), (0.123, "0.12")],
)
def test_a_p_above_a_usual_level_is_not_written_as_that_level(p, shown):
    assert format_p(p) == shown
