"""Differences between logs agree with scipy and statsmodels, and their intervals and p values do what they say.

Numbers called `statsmodels` are those of statsmodels 0.15.0 for the data that this file draws: `OLS` with clustered
errors (`use_t`), `ttost_paired`, `mcnemar` and `multipletests`, and `MixedLM` by REML with variance components.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from midspec.analysis import compare_logs
from midspec.analysis._clustered import Cells, clustered
from midspec.analysis._estimates import corrected, p_value
from midspec.analysis._intervals import DIFFERENCE
from midspec.analysis._mixed_model import Scores, mixed_model
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import ComparedLog, LoggedScore, LoggedScores
from midspec.report._log_comparison import difference_verdict


def logged(scores, *, clusters=None, task="sums", scorer="told") -> LoggedScores:
    """Rows of `{arm: array of shape (runs, items, epochs)}`, as if read from logs."""
    rows, logs = [], []
    for arm, values in scores.items():
        values = np.asarray(values, dtype=float)
        for run, of_run in enumerate(values, start=1):
            for item, epochs in enumerate(of_run):
                for epoch, value in enumerate(epochs, start=1):
                    lost = math.isnan(value)
                    rows.append(
                        LoggedScore(
                            task=task,
                            arm=arm,
                            run=run,
                            item=f"s{item}",
                            epoch=epoch,
                            scorer=scorer,
                            value=None if lost else value,
                            unscored="lost" if lost else None,
                            cluster=f"c{clusters[item]}" if clusters is not None else f"s{item}",
                        )
                    )
            names = {"file": f"{arm}{run}.eval", "eval_id": f"{task}{arm}{run}", "model": arm, "dataset": "d"}
            counts = {"n_planned": of_run.size, "n_missing": 0, "n_scored": {}, "unscored": {}, "status": "success"}
            logs.append(ComparedLog(**names, **counts, arm=arm, run=run, task=task, created="now"))
    return LoggedScores(logs=tuple(logs), scores=tuple(rows))


@pytest.fixture(scope="module")
def drawn():
    """120 yes-no scores of two arms, in 15 clusters."""
    rng = np.random.default_rng(11)
    clusters = np.arange(120) % 15
    item, cluster = rng.normal(0, 1, 120), rng.normal(0, 0.6, 15)
    plus = (item + cluster[clusters] + rng.normal(0.5, 1, 120) > 0).astype(float)
    minus = (item + rng.normal(0, 1, 120) > 0).astype(float)
    return plus, minus, clusters


def one(scores, **settings):
    [found] = compare_logs(logged(scores, clusters=settings.pop("clusters", None)), **settings).differences
    return found


def arms(plus, minus):
    return {"old": minus[None, :, None], "new": plus[None, :, None]}


def test_one_log_an_arm_is_the_paired_t_test(drawn):
    plus, minus, _ = drawn
    found, wanted = one(arms(plus, minus)), stats.ttest_rel(plus, minus)
    ends = wanted.confidence_interval(0.95)
    assert found.name == "new minus old"
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(plus - minus), ends.low, ends.high), abs=1e-9)
    assert (found.p, found.df) == pytest.approx((wanted.pvalue, 119), abs=1e-9)


def test_clusters_are_those_of_ordinary_least_squares(drawn):
    plus, minus, clusters = drawn
    found = one(arms(plus, minus), clusters=clusters)
    statsmodels = (0.08404458, -0.08859104, 0.27192437, 0.29382553)
    assert (found.se, found.low, found.high, found.p) == pytest.approx(statsmodels, abs=1e-7)
    assert found.n_clusters == 15
    assert found.design_effect == pytest.approx((0.08404458 / 0.05422723) ** 2, rel=1e-5)


def test_equivalence_is_two_one_sided_tests(drawn):
    plus, minus, _ = drawn
    found = one(arms(plus, minus), equivalence_points=20).equivalence
    statsmodels = 0.02401139203528916
    assert found.p == pytest.approx(statsmodels, abs=1e-9)
    assert found.is_shown
    assert -0.2 < found.low < found.high < 0.2
    narrow = one(arms(plus, minus), equivalence_points=10).equivalence
    assert not narrow.is_shown


def test_mcnemars_test_is_exact(drawn):
    plus, minus, _ = drawn
    found = one(arms(plus, minus)).discordance
    assert (found.n_plus, found.n_minus) == (27, 16)
    assert found.p == pytest.approx(stats.binomtest(16, 43).pvalue)


def test_corrections_are_those_of_statsmodels():
    p_values = [0.001, 0.04, 0.03, 0.2, 0.012]
    assert corrected(p_values, "holm") == pytest.approx([0.005, 0.09, 0.09, 0.2, 0.048])
    assert corrected(p_values, "bh") == pytest.approx([0.005, 0.05, 0.05, 0.2, 0.03])
    assert corrected(p_values, "none") == p_values
    assert corrected([0.01, None, 0.04], "holm") == pytest.approx([0.03, None, 0.08])


def test_two_arms_of_several_runs_and_hardly_any_samples_noise_are_welchs_test():
    rng = np.random.default_rng(3)
    items = rng.normal(0, 1, 400)
    plus, minus = rng.normal(0.3, 0.5, 4), rng.normal(0, 1.0, 6)
    found = one({"old": (items + minus[:, None])[:, :, None], "new": (items + plus[:, None])[:, :, None]})
    wanted = stats.ttest_ind(plus, minus, equal_var=False)
    assert (found.p, found.df) == pytest.approx((wanted.pvalue, wanted.df), abs=1e-9)


def test_paired_runs_are_the_paired_test_over_runs():
    rng = np.random.default_rng(4)
    items, seeds = rng.normal(0, 1, 300), rng.normal(0, 2, 5)
    plus, minus = seeds + rng.normal(0.3, 0.3, 5), seeds + rng.normal(0, 0.3, 5)
    scores = {"old": (items + minus[:, None])[:, :, None], "new": (items + plus[:, None])[:, :, None]}
    wanted = stats.ttest_rel(plus, minus)
    assert one(scores, paired_runs=True).p == pytest.approx(wanted.pvalue, abs=1e-9)
    assert one(scores).p > 0.3  # unpaired, the seeds hide it


def scores_of(n_runs, n_epochs, share_lost):
    """Scores with known variances: samples 1, samples by arm 0.5, runs 0.3, samples by run 0.4, residual 0.6."""
    rng, rows = np.random.default_rng(3), []
    by_item = rng.normal(0, 1, 60)
    for arm in range(2):
        by_arm = rng.normal(0, 0.5, 60)
        for run in range(n_runs):
            of_run, by_run = rng.normal(0, 0.3), rng.normal(0, 0.4, 60)
            for item in range(60):
                for _ in range(n_epochs):
                    if rng.random() >= share_lost:
                        mean = by_item[item] + by_arm[item] + of_run + by_run[item] + 0.4 * arm
                        rows.append((mean + rng.normal(0, 0.6), arm, run + arm * n_runs, item))
    values, plus, runs, items = (np.array(column) for column in zip(*rows, strict=True))
    return Scores(values, plus, runs, items, items)


@pytest.mark.parametrize(
    ("design", "value", "se", "sds"),
    [  # statsmodels
        ((1, 4, 0.0), 0.7136, 0.1248, (1.145, 0.617, None, None, 0.587)),
        ((1, 4, 0.2), 1.0852, 0.1445, (1.103, 0.711, None, None, 0.589)),
        ((3, 1, 0.0), 0.7166, 0.3011, (1.176, 0.461, 0.342, None, 0.702)),
        ((3, 1, 0.15), 0.2557, 0.3092, (1.158, 0.468, 0.351, None, 0.671)),
        ((2, 3, 0.1), 0.7809, 0.2260, (0.993, 0.559, 0.188, 0.436, 0.580)),
    ],
)
def test_the_mixed_model_is_that_of_statsmodels(design, value, se, sds):
    found = mixed_model(scores_of(*design))
    assert (found.value, found.se) == pytest.approx((value, se), abs=2e-4)
    names = (found.item_sd, found.item_by_arm_sd, found.run_sd, found.item_by_run_sd, found.residual_sd)
    assert [None if sd is None else pytest.approx(sd, abs=2e-3) for sd in names] == list(sds)


def test_the_mixed_model_agrees_with_the_paired_test_where_nothing_is_lost(drawn):
    plus, minus, _ = drawn
    found = one(arms(plus, minus))
    assert (found.mixed_model.value, found.mixed_model.se) == pytest.approx((found.value, found.se), rel=1e-4)


def study(rng, shape, clusters, effect=0.0, run_sd=0.0, cluster_sd=0.0):
    """Two arms' shares of yes, (runs, items); items, samples by arm, runs and clusters vary on the logit scale."""
    n_runs, n_items, n_epochs = shape
    both, by_item = [], rng.normal(0, 1.5, n_items)
    for arm in range(2):
        logits = by_item + rng.normal(0, 0.7, n_items) + effect * arm
        logits = logits + rng.normal(0, cluster_sd, n_items)[clusters] + rng.normal(0, run_sd, (n_runs, 1))
        both.append(rng.binomial(n_epochs, 1 / (1 + np.exp(-logits))) / n_epochs)
    return Cells((both[1], both[0]), clusters)


@pytest.mark.parametrize(
    ("shape", "n_clusters", "sds", "most_covered"),
    [
        ((1, 100, 1), None, (0.0, 0.0), 0.97),
        ((1, 100, 5), None, (0.0, 0.0), 0.97),
        ((1, 200, 1), 20, (0.0, 0.8), 0.97),
        ((5, 100, 1), None, (0.5, 0.0), 0.975),
        # Two and three runs an arm leave one or two degrees of freedom each: the intervals are longer than need be.
        ((3, 100, 1), None, (0.3, 0.0), 0.98),
        ((2, 100, 1), None, (0.5, 0.0), 0.99),
    ],
)
def test_intervals_hold_no_difference_and_false_findings_are_as_many_as_said(shape, n_clusters, sds, most_covered):
    rng = np.random.default_rng(sum(shape))
    clusters = np.arange(shape[1]) % (n_clusters or shape[1])
    found = [clustered(study(rng, shape, clusters, 0.0, *sds), DIFFERENCE, 0.95) for _ in range(1500)]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    wrong = np.mean([p_value(one) < 0.05 for one in found])
    assert 0.93 <= covered <= most_covered
    assert 1 - most_covered - 1e-9 <= wrong <= 0.065


def test_a_planted_difference_is_found_as_often_as_the_power_says():
    rng = np.random.default_rng(5)
    clusters = np.arange(150)
    found = [clustered(study(rng, (1, 150, 1), clusters, effect=0.8), DIFFERENCE, 0.95) for _ in range(600)]
    truth = np.mean([one.value for one in found])
    share = np.mean([one.low > 0 for one in found])
    smallest = np.mean([one.mde for one in found])
    # Power at the planted size, from the smallest size that is found 4 times in 5 (2.8 standard errors).
    wanted = stats.norm.cdf(truth / smallest * (1.96 + 0.8416) - 1.96)
    assert 0.3 < share < 0.99
    assert share == pytest.approx(wanted, abs=0.05)


def test_samples_that_one_arm_lacks_are_told_and_left_out(drawn):
    plus, minus, _ = drawn
    plus, minus = plus.copy(), minus.copy()
    plus[:10], minus[5:20] = np.nan, np.nan
    found = one(arms(plus, minus))
    both = ~np.isnan(plus) & ~np.isnan(minus)
    assert (found.n_asked, found.n_pairs) == (120, 100)
    assert found.value == pytest.approx(np.mean((plus - minus)[both]))


def test_reruns_count_as_epochs():
    rng = np.random.default_rng(8)
    scores = {arm: rng.binomial(1, 0.5, (3, 40, 2)).astype(float) for arm in ("old", "new")}
    rerun = one(scores, reruns=True)
    pooled = one({arm: np.concatenate(list(runs), axis=1)[None] for arm, runs in scores.items()})
    assert rerun == pooled
    assert (rerun.n_runs, rerun.n_epochs) == ((1, 1), 6)


def test_arms_that_never_differ_get_a_bound_and_no_p():
    same = np.ones((1, 50, 1))
    found = one({"old": same, "new": same}, equivalence_points=5)
    assert (found.value, found.p, found.equivalence) == (0.0, None, None)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert not found.is_shown


@pytest.mark.parametrize(("n", "is_shown"), [(12, True), (3, False)])
def test_arms_that_differ_in_every_sample_are_told_apart_by_the_bound_where_it_leaves_out_0(n, is_shown):
    compared = compare_logs(logged({"old": np.ones((1, n, 1)), "new": np.zeros((1, n, 1))}))
    [found] = compared.differences
    assert (found.value, found.p, found.is_shown) == (-1.0, None, is_shown)
    said = difference_verdict(found, compared)
    assert ("is 100.0 points below old" in said) == is_shown == ("not told apart" not in said)


def test_no_more_than_100_points_are_said_to_be_found():
    rng = np.random.default_rng(2)
    scores = {arm: rng.integers(0, 2, (1, 3, 1)).astype(float) for arm in ("old", "new")}
    compared = compare_logs(logged(scores))
    [found] = compared.differences
    assert found.mde is not None
    assert found.mde > 1
    assert "no true difference at all would be found" in difference_verdict(found, compared)


def test_every_two_arms_are_compared_or_all_with_a_baseline_and_the_family_is_all_of_them():
    rng = np.random.default_rng(9)
    read = logged({name: rng.binomial(1, 0.5, (1, 60, 1)) for name in "abc"})
    assert [one.name for one in compare_logs(read).differences] == ["b minus a", "c minus a", "c minus b"]
    found = compare_logs(read, baseline="b").differences
    assert [one.name for one in found] == ["a minus b", "c minus b"]
    assert [one.p_corrected for one in found] == corrected([one.p for one in found])


def test_what_cannot_be_compared_is_refused():
    one_arm, other = logged({"a": np.ones((1, 5, 1))}), logged({"b": np.ones((1, 5, 1))}, task="words")
    with pytest.raises(DataError, match="only one arm, 'a'"):
        compare_logs(one_arm)
    both = LoggedScores(logs=one_arm.logs + other.logs, scores=one_arm.scores + other.scores)
    with pytest.raises(DataError, match="no task with a scorer is in two arms: a has sums; b has words"):
        compare_logs(both)
    pair = logged({name: np.ones((1, 5, 1)) for name in ("first", "second")})
    with pytest.raises(ConfigError, match=r"no log is of 'frist'. Did you mean first\?"):
        compare_logs(pair, baseline="frist")
    with pytest.raises(ConfigError, match="level of 95 is not between"):
        compare_logs(pair, level=95)
    with pytest.raises(ConfigError, match="a bound must be above 0"):
        compare_logs(pair, equivalence_points=0)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_swapping_the_arms_turns_the_sign_and_nothing_else(data):
    n_items = data.draw(st.integers(3, 12))
    value = st.sampled_from([0.0, 0.5, 1.0, math.nan])
    shape = st.tuples(st.integers(1, 3), st.just(n_items), st.integers(1, 2))
    drawn = {}
    for arm in ("a", "b"):
        runs, items, epochs = data.draw(shape)
        flat = data.draw(st.lists(value, min_size=runs * items * epochs, max_size=runs * items * epochs))
        drawn[arm] = np.array(flat).reshape(runs, items, epochs)
    there, back = one(drawn), one(dict(reversed(drawn.items())))
    assert there.n_pairs == back.n_pairs
    if there.value is None:
        assert back.value is None
        return
    assert there.value == pytest.approx(-back.value, abs=1e-12)
    if there.low is not None:
        assert there.low == pytest.approx(-back.high, abs=1e-9)
        assert there.low - 1e-12 <= there.value <= there.high + 1e-12
    assert (there.p is None) == (back.p is None)
    if there.p is not None:
        assert there.p == pytest.approx(back.p, abs=1e-9)


@pytest.mark.parametrize("n_runs", [1, 3])
def test_one_cluster_or_one_sample_gives_no_interval_and_says_so(n_runs):
    rng = np.random.default_rng(2)
    scores = {arm: rng.binomial(1, 0.6, (n_runs, 12, 1)).astype(float) for arm in ("old", "new")}
    compared = compare_logs(logged(scores, clusters=np.zeros(12, int)), equivalence_points=5)
    [found] = compared.differences
    assert found.value == pytest.approx(scores["new"].mean() - scores["old"].mean())
    assert (found.low, found.high, found.p, found.equivalence, found.mde) == (None, None, None, None, None)
    assert found.note == "one cluster: no interval over samples"
    assert [(one.low, one.note) for one in compared.rates] == [(None, "one cluster: no interval over samples")] * 2
    alone = one({arm: values[:, :1] for arm, values in scores.items()})
    assert (alone.low, alone.high, alone.note) == (None, None, "one sample: no interval over samples")


def test_clusters_with_one_mean_get_the_bound_of_that_mean_whatever_their_samples_are():
    """Half of each of ten pairs is right: an end may not come from the first sample of each."""
    values = np.tile([1.0, 0.0], 10)
    scores = {"old": np.zeros((1, 20, 1)), "new": values[None, :, None]}
    compared = compare_logs(logged(scores, clusters=np.arange(20) // 2))
    [found] = compared.differences
    share = 1 - 0.025 ** (1 / 10)  # of clusters that could still differ, as Clopper and Pearson have it
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5 - 1.5 * share, 0.5 + 0.5 * share))
    assert found.p is None
    of_new = next(rate for rate in compared.rates if rate.arm == "new")
    assert (of_new.low, of_new.high) == pytest.approx((0.5 - 0.5 * share, 0.5 + 0.5 * share))


def test_scores_whose_squares_a_float_does_not_hold_have_no_mixed_model():
    values = np.array([1e100, 2e100, -1e100, 3.0])
    n = np.arange(4)
    assert mixed_model(Scores(values, n % 2, n % 2, n // 2, n // 2)) is None
    assert mixed_model(Scores(values / 1e50, n % 2, n % 2, n // 2, n // 2)) is not None
