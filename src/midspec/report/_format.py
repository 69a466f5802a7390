"""Format numbers for reading, and put every claim that a report makes into words, from values and intervals alone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from midspec.analysis import DataSaving, p_values, scale_of
from midspec.core.records import Estimate, Share
from midspec.report._data import ContrastResult, PublishedFigure, ReportData

_MINUS = "−"
# Measures that are not shares, with their units.
_UNITS = {"qa_score": "points of 10", "ratio": "times the length asked for", "n_words": "words"}


def is_share(measure: str) -> bool:
    """Return whether a measure is a share (shown in percent), not a score, a length or a difference in nats."""
    return scale_of(measure) is None


def unit(measure: str) -> str:
    """Return the unit of a measure's differences: percentage points, nats, points of 10, words."""
    return "points" if is_share(measure) else _UNITS.get(measure, "nats")


def number(value: float | None, measure: str) -> str:
    """Format a value: percent without a sign for a share (`75.7`), its own unit for anything else."""
    if value is None:
        return "–"
    shown = f"{value * 100:.1f}" if is_share(measure) else f"{value:.2f}"
    return shown.replace("-", _MINUS) if float(shown) else shown.lstrip("-")


def signed(value: float, measure: str) -> str:
    """Format a difference with its sign: `+50.3`."""
    shown = number(value, measure)
    return shown if shown.startswith(_MINUS) or not float(shown) else f"+{shown}"


def span(estimate: Estimate) -> str:
    """Format the interval, `+31.5 to +69.1`; of a rate without signs. Empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    if estimate.kind == "rate":
        return f"{number(estimate.low, estimate.measure)} to {number(estimate.high, estimate.measure)}"
    ends = [signed(end, estimate.measure) for end in (estimate.low, estimate.high)]
    if leaves_out_0(estimate):  # an end that is no 0 must not be read as one
        for at, end in enumerate((estimate.low, estimate.high)):
            if not float(ends[at].replace(_MINUS, "-")):
                ends[at] = f"{end * (100 if is_share(estimate.measure) else 1):+.1g}".replace("-", _MINUS)
    return " to ".join(ends)


def verdict(estimate: Estimate) -> str:
    """Say in one sentence what a contrast found: above, below, or no difference shown; never more than that."""
    if estimate.value is None:
        return f"Not answered: {estimate.note or 'no scored pair'}."
    units = unit(estimate.measure)
    size = number(abs(estimate.value), estimate.measure)
    if estimate.low is None or estimate.high is None:
        return f"{estimate.arm} differs from {estimate.minus} by {size} {units}, without an interval: {estimate.note}."
    level = f"{estimate.level:.0%} interval"
    if leaves_out_0(estimate):
        side = "above" if estimate.low > 0 else "below"
        found = f"{estimate.arm} is {size} {units} {side} {estimate.minus}"
        return f"{found} ({level} {span(estimate)}{_seeds_agreeing(estimate)})."
    value = signed(estimate.value, estimate.measure)
    found = f"No difference shown between {estimate.arm} and {estimate.minus}: {value} {units}"
    return f"{found}, and the {level} ({span(estimate)}) includes 0{_detectable(estimate)}."


def describe_contrast(estimate: Estimate, says: str = "") -> ContrastResult:
    """Return a contrast with its verdict. `says` is the study's description of it, fixed before the run."""
    return ContrastResult(estimate=estimate, says=says, verdict=verdict(estimate))


def leaves_out_0(estimate: Estimate) -> bool:
    """Return whether a contrast's interval lies on one side of 0."""
    return estimate.low is not None and estimate.high is not None and (estimate.low > 0 or estimate.high < 0)


def holds(estimate: Estimate) -> bool:
    """Return whether a contrast is shown: its interval leaves out 0, and so does what the correction leaves of it.

    A contrast in which nothing varies has no p; its interval alone decides.
    """
    found = p_values(estimate)
    return leaves_out_0(estimate) and (found is None or found.corrected < 1 - estimate.level + 1e-9)


def corrected_p(estimate: Estimate) -> str:
    """Format the p that counts: `p 0.096 after Holm's correction for 13 comparisons`; empty where there is none."""
    if (found := p_values(estimate)) is None:
        return ""
    after = f" after Holm’s correction for {found.n_contrasts} comparisons" if found.n_contrasts > 1 else ""
    return f"p\u00a0{found.shown}{after}"


def main_contrasts(data: ReportData) -> tuple[ContrastResult, ...]:
    """Return the contrasts that answer the question: those that the study names, else the first three on its set."""
    named = {one.estimate.name: one for one in data.contrasts}
    of_main = (data.main_set, data.main_measure)
    return (
        tuple(named[name] for name in data.main_contrasts if name in named)
        or tuple(one for one in data.contrasts if (one.estimate.set, one.estimate.measure) == of_main)[:3]
    )


def answer_sentences(data: ReportData) -> tuple[str, ...]:
    """Return the answer in at most two sentences: the main contrast, then the other main ones.

    Each says no more than its estimate: direction, size, interval and corrected p; that nothing is shown, and what
    could have been found; or that a difference is not significant after the correction for all that was asked.
    """
    chosen = main_contrasts(data)
    if data.savings:
        return tuple(saving_sentence(each) for each in data.savings[:2])
    if not chosen:
        return ("No contrast was asked of these scores.",)
    titles = {one.name: one.title for one in data.sets}
    first = chosen[0].estimate
    where = f" on “{titles.get(first.set, first.set)}”"
    others = "; ".join(
        _found(one, f" on “{titles.get(one.set, one.set)}”" if one.set != first.set else "", is_first=False)
        for one in (each.estimate for each in chosen[1:])
    )
    return tuple(sentence(text) for text in (_found(first, where, is_first=True), others) if text)


def saving_sentence(saving: DataSaving) -> str:
    """Say how many times fewer chats give the same rate, with the interval; a bound as a bound, and none as none."""
    both = [point.n for point in saving.points if point.n and None not in (point.without, point.treated)]
    fewest, most = min(both), max(both)
    rate = f"the rate that {most:,} chats give alone ({number(saving.rate, saving.measure)})"
    bases = f"{saving.n_bases} bases"
    if saving.n_treated is None:
        found = f"After {saving.name}, no number of chats that was tried gives {rate}"
        if saving.high is None:
            return f"{found}, nor does the upper end of its {saving.level:.0%} interval: none are saved ({bases})."
        return f"{found}: no saving is shown ({_ends(saving)}; {bases})."
    if saving.is_bound:
        found = f"{fewest:,} chats or fewer give {rate}: at least {saving.factor:.1f} times fewer"
    else:
        found = f"{saving.factor:.1f} times fewer chats give {rate}"
    shown = ""
    if saving.low is None:
        shown = ": the rate is not surely reached, and no saving is shown"
    elif saving.low <= 1 <= (saving.high or 0):
        shown = ", which includes 1: no saving is shown"
    return f"After {saving.name}, {found} ({_ends(saving)}{shown}; {bases})."


def _ends(saving: DataSaving) -> str:
    """Name the ends of a factor's interval; one that the tried numbers of chats don't show is open."""
    high = f"{saving.high:.1f}{' or more' if saving.is_high_bound else ''}"
    if saving.low is None:
        return f"{saving.level:.0%} interval up to {high}, without a lower end"
    low = f"{saving.low:.1f} to " if saving.low != saving.high else ""
    return f"{saving.level:.0%} interval {low}{high}"


def _found(one: Estimate, where: str, *, is_first: bool) -> str:
    """Say what a contrast found, as a clause; only the first names its interval's level and the correction in full."""
    if one.value is None:
        return f"{one.arm} against {one.minus}{where} is not answered: {one.note or 'no scored pair'}"
    units, size = unit(one.measure), number(abs(one.value), one.measure)
    if one.low is None or one.high is None:
        return f"{one.arm} differs from {one.minus} by {size} {units}{where}, without an interval: {one.note}"
    level = f"{one.level:.0%} interval {span(one)}" if is_first else span(one)
    found = p_values(one)
    p = "" if found is None else f"; {corrected_p(one)}" if is_first else f"; p\u00a0{found.shown}"
    if not leaves_out_0(one):
        null = (
            f"no difference is shown between {one.arm} and {one.minus}{where} ({signed(one.value, one.measure)} {units}"
        )
        return f"{null}, {level}{p}{_detectable(one)})"
    side = "above" if one.low > 0 else "below"
    seeds = _seeds_agreeing(one) if is_first else ""
    said = f"{one.arm} is {size} {units} {side} {one.minus}{where} ({level}{p}{seeds})"
    if not holds(one):
        said += ", a difference that is not significant after the correction"
    return said


def _seeds_agreeing(estimate: Estimate) -> str:
    values = [one.value for one in estimate.by_seed if one.value is not None]
    if len(values) < 2:
        return "; one seed, so over items only"
    same = sum((value > 0) == ((estimate.value or 0) > 0) and value != 0 for value in values)
    return f"; {same} of {len(values)} seeds point that way"


def _detectable(estimate: Estimate) -> str:
    """Say which true difference would have been found; empty where that is not known."""
    if estimate.mde is None:
        return ""
    if is_share(estimate.measure) and estimate.mde > 1:
        return "; with so few seeds, no true difference at all would have been found 4 times in 5"
    size = number(estimate.mde, estimate.measure)
    return f"; a true difference of {size} {unit(estimate.measure)} would have been found 4 times in 5"


def summary_lines(data: ReportData) -> list[str]:
    """Return what a run prints at its end: warnings, the main rates with intervals, and the contrasts in words."""
    title = next((one.title for one in data.sets if one.name == data.main_set), data.main_set)
    units = "percent" if is_share(data.main_measure) else unit(data.main_measure)
    lines = [data.title, *(f"! {warning}" for warning in data.warnings)]
    lines += ["", f"{title} ({units}, {data.level:.0%} interval)"]
    by_arm = {one.arm: one for one in data.estimates if (one.set, one.measure) == (data.main_set, data.main_measure)}
    shown = [(arm.name, by_arm[arm.name]) for arm in data.arms if arm.name in by_arm]
    width = max((len(name) for name, _ in shown), default=0)
    lines += [
        f"  {name:<{width}}  {number(one.value, one.measure):>5}  [{span(one) or one.note}]  "
        f"{one.n_scored} of {one.n_asked} scored"
        for name, one in shown
    ]
    lines += [""] if data.contrasts else []
    for contrast in data.contrasts:
        asked = [f"- asked: {contrast.says}", f"  found: {contrast.verdict}"]
        lines += asked if contrast.says else [f"- {contrast.verdict}"]
    failed = [str(gate.seed) for gate in data.gates if not gate.passed]
    if failed:
        without = "Without them:" if data.robust else "No seed is left without them."
        lines += ["", f"Seeds whose base failed the competence gate: {', '.join(failed)}. {without}"]
        lines += [f"- {one.verdict}" for one in data.robust]
    return lines


def count(n: float) -> str:
    """Format a count with its thousands set apart; a million and more in millions."""
    return f"{n / 1e6:,.1f}M" if n >= 1e6 else f"{n:,.0f}"


def percent(part: float) -> str:
    """Format a share in percent; what is not nothing is never shown as 0, nor what is not all as 100."""
    if 0 < part < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 < part < 1 else f"{part:.0%}"


def share(share: Share) -> str:
    """Format a share of a health page: counts, percent and interval."""
    if not share.of or share.low is None or share.high is None:
        return "none asked"
    return f"{share.n} of {share.of} ({share.n / share.of:.0%}; 95% interval {share.low:.0%} to {share.high:.0%})"


def share_words(share: Share) -> str:
    """Format a share of a study's report: `3.1% (1.1 to 8.8), 3 of 97`."""
    if not share.of or share.low is None or share.high is None:
        return "none to count"
    rate = 100 * share.n / share.of
    return f"{rate:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f}), {share.n} of {share.of}"


def value_words(value: float | None, measure: str) -> str:
    """Format the value of one answer: yes, no, a number, or that there is none."""
    if value is None:
        return "no score"
    if is_share(measure) and value in {0.0, 1.0}:
        return "yes" if value else "no"
    return number(value, measure)


def published_words(each: PublishedFigure) -> str:
    """Format a published figure: `68.0 (60.1 to 74.9)`, a contrast with its sign."""
    show = signed if each.minus else number
    ends = (
        ""
        if each.low is None or each.high is None
        else f" ({show(each.low, each.measure)} to {show(each.high, each.measure)})"
    )
    units = "" if is_share(each.measure) else f" {unit(each.measure)}"
    return f"{show(each.value, each.measure)}{units}{ends}"


def estimate_words(one: Estimate | None) -> str:
    """Format one side of a pair."""
    if one is None:
        return "not asked"
    if one.value is None:
        return "no score"
    return number(one.value, one.measure) if one.kind == "rate" else signed(one.value, one.measure)


def contrast_words(contrast: Estimate | None) -> str:
    """Format a contrast in one line: `−9.1 (−15.8 to −2.4) p 0.078`; empty where it was not asked or has no value."""
    if contrast is None or contrast.value is None:
        return ""
    p = corrected_p(contrast).partition(" after")[0]
    ends = f"({span(contrast)})" if span(contrast) else ""
    return " ".join(filter(None, (signed(contrast.value, contrast.measure), ends, p)))


def sentence(text: str) -> str:
    """Return `text` with a capital at its beginning and a full stop at its end."""
    whole = text.strip()
    return whole[:1].upper() + whole[1:] + ("" if whole.endswith((".", "!", "?")) else ".")


def usd(value: float | None) -> str:
    """Format dollars; an unknown amount is never 0."""
    return "not known, or nothing was asked" if value is None else f"${value:,.2f}"


def duration(seconds: float) -> str:
    """Format seconds: `2 min 5 s`, `3.2 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def breakable(name: str) -> list[str]:
    """Split an arm's name into pieces between which a narrow column may break it."""
    return re.split(r"(?<=.)(?=[(+/_])", name)


def csv_text(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of a CSV file with a head; `names` are the columns, in order."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def footnote_letter(index: int) -> str:
    """Return the letter of a footnote: a to z, then aa, ab, ..."""
    head, last = divmod(index, 26)
    return (footnote_letter(head - 1) if head else "") + "abcdefghijklmnopqrstuvwxyz"[last]
