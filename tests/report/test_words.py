from __future__ import annotations

import subprocess
import sys

import pytest

from midspec.core.records import Estimate, SeedValue
from midspec.report import describe_contrast, summary_lines, verdict
from midspec.report._html import render
from midspec.report._log_comparison import p_words
from midspec.report._report import _content

from .simulated import simulated_report, simulated_scores


def estimate(value, low, high, seeds=(0.1, 0.2), **changes):
    plain = Estimate(
        kind="contrast", name="n", arm="A", minus="B", set="s", measure="choice_logprob",
        value=value, low=low, high=high, level=0.95, n_asked=8, n_scored=8, n_items=4, n_seeds=2,
        seed_sd=0.1, mde=0.123, method="t",
        by_seed=tuple(SeedValue(seed=n, value=v) for n, v in enumerate(seeds)),
    )  # fmt: skip
    return plain.model_copy(update=changes)


def test_a_difference_whose_interval_leaves_out_0_is_said_with_its_direction():
    assert verdict(estimate(0.503, 0.315, 0.691, seeds=(0.4, 0.6, -0.1))) == (
        "A is 50.3 points above B (95% interval +31.5 to +69.1; 2 of 3 seeds point that way)."
    )
    assert "A is 26.0 points below B (95% interval −40.0 to −12.0" in verdict(estimate(-0.26, -0.4, -0.12))


def test_an_end_of_an_interval_that_leaves_out_0_is_never_written_as_0():
    assert "is 5.0 points above B (95% interval +0.02 to +10.0;" in verdict(estimate(0.05, 0.0002, 0.1))
    assert "is 5.0 points below B (95% interval −10.0 to −0.003;" in verdict(estimate(-0.05, -0.1, -0.00003))
    assert "(95% interval +0.003 to +2.50;" in verdict(estimate(1.5, 0.003, 2.5, measure="margin_logprob"))
    assert "(0.0 to +10.0) includes 0" in verdict(estimate(0.05, -0.0002, 0.1))


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.03, -0.08, 0.14), (0.1, 0.0, 0.2), (0.0, -0.1, 0.1), (-0.1, -0.2, 0.0)]
)
def test_a_null_is_called_a_null_and_says_what_could_have_been_found(value, low, high):
    said = verdict(estimate(value, low, high))
    assert said.startswith("No difference shown between A and B")
    assert "includes 0" in said
    assert "12.3 points would have been found" in said
    assert "above" not in said
    assert "below" not in said


def test_a_contrast_without_a_value_is_not_answered():
    assert verdict(estimate(None, None, None, note="no scored item")) == "Not answered: no scored item."


def test_a_contrast_without_an_interval_makes_no_claim_of_direction():
    said = verdict(estimate(0.4, None, None, note="nothing varies"))
    assert said == "A differs from B by 40.0 points, without an interval: nothing varies."


def test_one_seed_is_never_passed_off_as_more():
    assert "one seed, so over items only" in verdict(estimate(0.3, 0.1, 0.5, seeds=(0.3,)))


def test_a_margin_is_told_in_nats():
    assert "is 1.50 nats above" in verdict(estimate(1.5, 0.5, 2.5, measure="margin_logprob"))


def test_the_summary_tells_warnings_rates_and_every_contrast_and_what_failed_seeds_change():
    data = simulated_report(failed_seed=14)
    text = "\n".join(summary_lines(data))
    assert "! The floor of updates was lowered" in text
    assert all(arm.name in text for arm in data.arms)
    assert all(one.verdict in text for one in (*data.contrasts, *data.robust))
    assert "failed the competence gate: 14" in text
    assert max(len(line) for line in summary_lines(data) if "scored" in line) < 80


def test_the_answer_follows_the_numbers_when_the_effect_is_gone():
    swapped = {"MSM(america)+AFT": "MSM(thrift)+AFT", "MSM(thrift)+AFT": "MSM(america)+AFT"}
    scores = [row.model_copy(update={"arm": swapped.get(row.arm, row.arm)}) for row in simulated_scores()]
    data = simulated_report(failed_seed=None, scores=scores)
    assert "points below MSM(thrift)+AFT" in data.contrasts[0].verdict
    null = describe_contrast(data.contrasts[0].estimate.model_copy(update={"high": 0.9}))
    assert null.verdict.startswith("No difference shown")


def test_importing_the_room_brings_in_neither_matplotlib_nor_jinja():
    code = "import sys, midspec.report; sys.exit(any(n in sys.modules for n in ('matplotlib', 'jinja2', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_page_says_that_intervals_near_0_and_1_are_longer_than_their_level_asks_for(n):
    data, method = simulated_report(), "profile likelihood over 3 seeds, normal on the logit scale"
    rates = [one.model_copy(update={"method": method if at < n else "t"}) for at, one in enumerate(data.estimates)]
    shown = data.model_copy(update={"estimates": tuple(rates), "contrasts": (), "main_contrasts": ()})
    page = render("report.html.j2", _content(shown, {}), shown)
    assert ('id="near-ends"' in page) == bool(n)
    assert n == 0 or f"{n} rate{'s are' if n > 1 else ' is'} near 0 or 1" in page


@pytest.mark.parametrize(
    ("p", "words"),
    [(None, "no p"), (0.0501, "p 0.0501"), (0.05, "p 0.05"), (0.2, "p 0.2"), (0.00004, "p < 0.0001")],
)
def test_a_p_of_a_comparison_above_a_level_is_not_written_as_that_level(p: float | None, words: str) -> None:
    assert p_words(p) == words
