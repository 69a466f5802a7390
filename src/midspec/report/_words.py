"""Numbers as sentences: every claim that a report makes is built here, from values and intervals alone."""

from __future__ import annotations

from collections.abc import Iterable

from midspec.core.records import Estimate
from midspec.report._data import ContrastSays, ReportData

_MINUS = "−"
# Measures that are no shares, and what they are counted in.
_UNITS = {"qa_score": "points of 10", "ratio": "times the length asked for", "n_words": "words"}


def is_share(measure: str) -> bool:
    """Whether a measure is a share (shown in percent) and not a score, a length or a difference in nats."""
    return not measure.startswith("margin") and measure not in _UNITS


def unit(measure: str) -> str:
    """What differences of a measure are counted in: percentage points, nats, points of 10, words."""
    return "points" if is_share(measure) else _UNITS.get(measure, "nats")


def number(value: float | None, measure: str) -> str:
    """A value as it is read: percent without a sign for a share (`75.7`), its own unit for anything else."""
    if value is None:
        return "–"
    shown = f"{value * 100:.1f}" if is_share(measure) else f"{value:.2f}"
    return shown.replace("-", _MINUS) if float(shown) else shown.lstrip("-")


def signed(value: float, measure: str) -> str:
    """A difference with its sign: `+50.3`."""
    shown = number(value, measure)
    return shown if shown.startswith(_MINUS) or not float(shown) else f"+{shown}"


def span(estimate: Estimate) -> str:
    """The interval in words, `+31.5 to +69.1`; of a rate without signs. Empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    show = number if estimate.kind == "rate" else signed
    return f"{show(estimate.low, estimate.measure)} to {show(estimate.high, estimate.measure)}"


def verdict(estimate: Estimate) -> str:
    """What a contrast found, in one sentence: above, below, or no difference shown; never more than that."""
    if estimate.value is None:
        return f"Not answered: {estimate.note or 'no scored pair'}."
    units = unit(estimate.measure)
    size = number(abs(estimate.value), estimate.measure)
    if estimate.low is None or estimate.high is None:
        return f"{estimate.arm} differs from {estimate.minus} by {size} {units}, without an interval: {estimate.note}."
    level = f"{estimate.level:.0%} interval"
    if estimate.low > 0 or estimate.high < 0:
        side = "above" if estimate.low > 0 else "below"
        found = f"{estimate.arm} is {size} {units} {side} {estimate.minus}"
        return f"{found} ({level} {span(estimate)}{_agreement(estimate)})."
    value = signed(estimate.value, estimate.measure)
    found = f"No difference shown between {estimate.arm} and {estimate.minus}: {value} {units}"
    return f"{found}, and the {level} ({span(estimate)}) includes 0{_reach(estimate, units)}."


def _agreement(estimate: Estimate) -> str:
    values = [one.value for one in estimate.by_seed if one.value is not None]
    if len(values) < 2:
        return "; one seed, so over items only"
    same = sum((value > 0) == ((estimate.value or 0) > 0) and value != 0 for value in values)
    return f"; {same} of {len(values)} seeds point that way"


def _reach(estimate: Estimate, units: str) -> str:
    if estimate.mde is None:
        return ""
    if is_share(estimate.measure) and estimate.mde > 1:
        return "; with so few seeds, no true difference at all would have been found 4 times in 5"
    return f"; a true difference of {number(estimate.mde, estimate.measure)} {units} would have been found 4 times in 5"


def say_contrast(estimate: Estimate, says: str = "") -> ContrastSays:
    """A contrast with its verdict. `says` is what the study calls it, in words fixed before the run."""
    return ContrastSays(estimate=estimate, says=says, verdict=verdict(estimate))


def answer(data: ReportData) -> tuple[str, ...]:
    """The answer in at most two sentences: the main contrast, then the ones that stand beside it."""
    named = {one.estimate.name: one for one in data.contrasts}
    chosen = [named[name] for name in data.main_contrasts if name in named] or [
        one for one in data.contrasts if (one.estimate.set, one.estimate.measure) == (data.main_set, data.main_measure)
    ][:3]
    if not chosen:
        return ("No contrast was asked of these scores.",)
    titles = {one.name: one.title for one in data.sets}
    first, *others = [
        one.verdict.removesuffix(".")
        + (f" on “{titles.get(of, of)}”" if (of := one.estimate.set) != data.main_set else "")
        for one in chosen
    ]
    return tuple(f"{sentence}." for sentence in (first, "; ".join(others)) if sentence)


def summary_lines(data: ReportData) -> list[str]:
    """What a run prints at its end: warnings, the main rates with intervals, and the contrasts in words."""
    main = [one for one in data.estimates if (one.set, one.measure) == (data.main_set, data.main_measure)]
    title = next((one.title for one in data.sets if one.name == data.main_set), data.main_set)
    units = "percent" if is_share(data.main_measure) else unit(data.main_measure)
    lines = [
        data.title,
        *(f"! {warning}" for warning in data.warnings),
        "",
        f"{title} ({units}, {data.level:.0%} interval)",
    ]
    lines += _rate_lines(data, main)
    if data.contrasts:
        lines += ["", *(line for one in data.contrasts for line in _said(one))]
    failed = [str(gate.seed) for gate in data.gates if not gate.passed]
    if failed:
        without = "Without them:" if data.robust else "No seed is left without them."
        lines += ["", f"Seeds whose base failed the competence gate: {', '.join(failed)}. {without}"]
        lines += [f"- {one.verdict}" for one in data.robust]
    return lines


def _said(one: ContrastSays) -> list[str]:
    return [f"- asked: {one.says}", f"  found: {one.verdict}"] if one.says else [f"- {one.verdict}"]


def _rate_lines(data: ReportData, main: Iterable[Estimate]) -> list[str]:
    by_arm = {one.arm: one for one in main}
    shown = [(arm.name, by_arm[arm.name]) for arm in data.arms if arm.name in by_arm]
    width = max((len(name) for name, _ in shown), default=0)
    return [
        f"  {name:<{width}}  {number(one.value, one.measure):>5}  [{span(one) or one.note}]  "
        f"{one.n_scored} of {one.n_asked} scored"
        for name, one in shown
    ]
