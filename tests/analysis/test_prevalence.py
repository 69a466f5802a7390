"""Rates corrected by a judge's errors: the formula in closed form, the intervals by simulation.

Measured with 1,500 studies a case, truth in the 95% interval:

| rate, false positives, false negatives, answers, harmless and harmful transcripts | covered |
|---|---|
| .30, .05, .10, 300, 120, 80 | 95.1% |
| .10, .05, .10, 300, 120, 80 | 96.1% |
| .05, .02, .05, 300, 120, 80 | 97.3% |
| .50, .20, .20, 300, 120, 80 | 94.5% |
| .02, .05, .10, 300, 120, 80 | 96.0% |
| .80, .10, .20, 100, 60, 40 | 96.0% |
| .30, .05, .10, 1000, 120, 80 | 96.0% |
| .30, .30, .30, 300, 60, 40 | 94.5% |
| .68, .03, .03, 300, 140, 100 | 95.5% |

At a true rate of 0 (.05, .10, 300, 120, 80) 95.7% hold it, 1.3% miss it, and 3% are ruled out by the calibration.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.analysis import correct_for_judge_errors
from midspec.analysis._intervals import DIFFERENCE, SHARE, interval
from midspec.core.records import ErrorRates, Estimate, JudgeCalibration, SeedValue, Share


def estimate(value, low=None, high=None, kind="rate", **more) -> Estimate:
    plain = {"name": "n", "arm": "a", "set": "s", "measure": "harmful", "level": 0.95, "n_asked": 300, "n_scored": 300}
    counts = {"n_items": 300, "n_seeds": 1, "by_seed": (), "seed_sd": None, "mde": None, "method": "by seeds"}
    return Estimate.model_validate({**plain, **counts, "kind": kind, "value": value, "low": low, "high": high, **more})


def calibration(false_positive, harmless, false_negative, harmful, measure="harmful") -> JudgeCalibration:
    rates = ErrorRates(
        n=harmless + harmful,
        false_positive=Share.counted(false_positive, harmless),
        false_negative=Share.counted(false_negative, harmful),
        unread={},
    )
    parts = {"overall": rates, "seen": rates, "heldout": rates, "by_difficulty": {}, "by_kind": {}, "not_asked": {}}
    return JudgeCalibration(judge="j", temperature=0.0, rubric="r", measure=measure, rows="x", **parts)


def test_a_rate_is_corrected_by_the_formula_in_print() -> None:
    found = correct_for_judge_errors(estimate(0.30, 0.25, 0.35), calibration(5, 100, 10, 100))
    assert found.value == pytest.approx((0.30 + 0.95 - 1) / (0.90 + 0.95 - 1))
    assert found.low < found.value < found.high
    assert "Rogan-Gladen" in found.method


@given(st.floats(0.0, 1.0), st.integers(0, 40), st.integers(0, 40))
def test_the_true_rate_is_found_back_whatever_the_errors(truth: float, false: int, missed: int) -> None:
    seen = truth * (1 - missed / 100) + (1 - truth) * false / 100
    found = correct_for_judge_errors(
        estimate(seen, max(0, seen - 0.05), min(1, seen + 0.05)), calibration(false, 100, missed, 100)
    )
    assert found.value == pytest.approx(truth, abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_judge_without_a_found_error_changes_no_value_but_widens_the_interval() -> None:
    found = correct_for_judge_errors(estimate(0.30, 0.25, 0.35), calibration(0, 100, 0, 100))
    assert found.value == 0.30
    assert found.low < 0.25
    assert found.high > 0.35
    sure = correct_for_judge_errors(estimate(0.30, 0.25, 0.35), calibration(0, 10**9, 0, 10**9))
    assert (sure.low, sure.high) == (pytest.approx(0.25, abs=1e-6), pytest.approx(0.35, abs=1e-6))


def test_a_rate_below_the_false_positives_is_kept_at_0_and_the_note_says_so() -> None:
    found = correct_for_judge_errors(estimate(0.07, 0.03, 0.13), calibration(10, 100, 10, 100))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high > 0.03
    assert found.note == "-0.037 before it was kept to the scale"


@pytest.mark.parametrize(("seen", "low", "high"), [(0.02, 0.01, 0.05), (0.99, 0.98, 0.995)])
def test_a_rate_that_the_judges_errors_rule_out_is_not_corrected(seen: float, low: float, high: float) -> None:
    found = correct_for_judge_errors(estimate(seen, low, high), calibration(20, 100, 20, 100))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "errs otherwise on these answers" in found.note


@pytest.mark.parametrize(("false", "missed"), [(50, 50), (60, 60), (100, 0), (0, 100)])
def test_a_judge_no_better_than_chance_corrects_nothing(false: int, missed: int) -> None:
    found = correct_for_judge_errors(estimate(0.3, 0.25, 0.35), calibration(false, 100, missed, 100))
    assert (found.value, found.low, found.high, found.method) == (None, None, None, "none")
    assert "no better than chance" in found.note


def test_a_calibration_too_small_to_tell_gives_a_value_without_bounds() -> None:
    found = correct_for_judge_errors(estimate(0.5, 0.4, 0.6), calibration(1, 3, 1, 3))
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (0.0, 1.0)
    assert "too small" in found.note


def test_what_was_not_calibrated_is_not_measured() -> None:
    plain = estimate(0.3, 0.25, 0.35, note="2 of 300 unscored", by_seed=(SeedValue(seed=1, value=0.3),))
    for known in (None, calibration(5, 100, 5, 100, measure="another")):
        found = correct_for_judge_errors(plain, known)
        assert (found.value, found.low, found.by_seed) == (None, None, (SeedValue(seed=1, value=None),))
        assert found.note == "2 of 300 unscored; the judge's errors are not measured: nothing is corrected"
    for known in (calibration(0, 0, 5, 100), calibration(5, 100, 0, 0)):
        assert correct_for_judge_errors(plain, known).value is None
    assert correct_for_judge_errors(estimate(None), calibration(5, 100, 5, 100)).value is None


def test_the_mean_of_several_judges_is_corrected_by_their_mean_errors() -> None:
    truth, errors = 0.3, ((0.05, 0.1), (0.1, 0.2), (0.0, 0.3))
    seen = float(np.mean([truth * (1 - missed) + (1 - truth) * false for false, missed in errors]))
    known = [calibration(round(false * 100), 100, round(missed * 100), 100) for false, missed in errors]
    found = correct_for_judge_errors(estimate(seen, seen - 0.05, seen + 0.05), *known)
    assert found.value == pytest.approx(truth)
    assert found.low < truth < found.high
    alone = correct_for_judge_errors(estimate(seen, seen - 0.05, seen + 0.05), known[0])
    assert correct_for_judge_errors(estimate(seen, seen - 0.05, seen + 0.05), known[0], known[0]) == alone
    assert correct_for_judge_errors(estimate(seen, seen - 0.05, seen + 0.05), known[0], None).value is None
    assert correct_for_judge_errors(estimate(seen, seen - 0.05, seen + 0.05)).value is None


def test_seeds_and_the_smallest_detectable_difference_are_corrected_too() -> None:
    seeds = (SeedValue(seed=1, value=0.2), SeedValue(seed=2, value=0.4), SeedValue(seed=3, value=None))
    found = correct_for_judge_errors(
        estimate(0.3, 0.2, 0.4, by_seed=seeds, seed_sd=0.1, mde=0.17), calibration(5, 100, 10, 100)
    )
    values = [one.value for one in found.by_seed]
    assert values[:2] == [pytest.approx(0.15 / 0.85), pytest.approx(0.35 / 0.85)]
    assert values[2] is None
    assert found.seed_sd == pytest.approx(0.1 / 0.85)
    assert found.mde == pytest.approx(0.17 / 0.85)


def test_a_contrast_grows_by_what_the_judge_blurs_and_keeps_its_sign() -> None:
    found = correct_for_judge_errors(estimate(-0.2, -0.3, -0.1, kind="contrast"), calibration(5, 100, 10, 100))
    assert found.value == pytest.approx(-0.2 / 0.85)
    assert found.low < -0.3 / 0.85
    assert -0.1 / 0.85 < found.high < 0


def test_with_much_data_the_interval_is_the_one_that_rogan_and_gladen_give() -> None:
    seen, false, missed, n, n_false, n_missed = 0.4, 0.1, 0.15, 40_000, 20_000, 30_000
    gap = 1 - missed - false
    truth = (seen - false) / gap
    half_seen = 1.959964 * math.sqrt(seen * (1 - seen) / n)
    parts = (
        seen * (1 - seen) / n,
        truth**2 * missed * (1 - missed) / n_missed,
        (1 - truth) ** 2 * false * (1 - false) / n_false,
    )
    half = 1.959964 * math.sqrt(sum(parts)) / gap
    known = calibration(round(false * n_false), n_false, round(missed * n_missed), n_missed)
    found = correct_for_judge_errors(estimate(seen, seen - half_seen, seen + half_seen), known)
    assert found.value - found.low == pytest.approx(half, rel=0.01)
    assert found.high - found.value == pytest.approx(half, rel=0.01)


CASES = [
    (0.3, 0.05, 0.1, 300, 120, 80),
    (0.1, 0.05, 0.1, 300, 120, 80),
    (0.5, 0.2, 0.2, 300, 120, 80),
    (0.02, 0.05, 0.1, 300, 120, 80),
    (0.8, 0.1, 0.2, 100, 60, 40),
    (0.3, 0.3, 0.3, 300, 60, 40),
    (0.68, 0.03, 0.03, 300, 140, 100),
]
N_STUDIES = 600


@pytest.mark.parametrize(("truth", "false", "missed", "n", "n_harmless", "n_harmful"), CASES)
def test_the_true_rate_lies_in_95_percent_intervals_as_often_as_said(truth, false, missed, n, n_harmless, n_harmful):
    rng = np.random.default_rng(11)
    seen, covered = truth * (1 - missed) + (1 - truth) * false, 0
    for _ in range(N_STUDIES):
        plain = interval((rng.random(n) < seen).astype(float), np.zeros(n, int), np.arange(n), SHARE, 0.95)
        errors = rng.binomial(n_harmless, false), n_harmless, rng.binomial(n_harmful, missed), n_harmful
        found = correct_for_judge_errors(estimate(plain.value, plain.low, plain.high), calibration(*map(int, errors)))
        covered += found.low is not None and found.low <= truth <= found.high
    assert 0.93 <= covered / N_STUDIES <= 0.975


@pytest.mark.parametrize(("plus", "minus", "false", "missed"), [(0.7, 0.3, 0.05, 0.1), (0.3, 0.2, 0.1, 0.2)])
def test_the_true_contrast_lies_in_95_percent_intervals_as_often_as_said(plus, minus, false, missed):
    rng, n = np.random.default_rng(12), 300
    covered = 0
    for _ in range(N_STUDIES):
        arms = [rng.random(n) < truth * (1 - missed) + (1 - truth) * false for truth in (plus, minus)]
        difference = arms[0].astype(float) - arms[1]
        plain = interval(difference, np.zeros(n, int), np.arange(n), DIFFERENCE, 0.95)
        known = calibration(int(rng.binomial(120, false)), 120, int(rng.binomial(80, missed)), 80)
        found = correct_for_judge_errors(estimate(plain.value, plain.low, plain.high, kind="contrast"), known)
        covered += found.low <= plus - minus <= found.high
    assert 0.93 <= covered / N_STUDIES <= 0.975
