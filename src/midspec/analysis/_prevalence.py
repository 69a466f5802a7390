"""Correct a rate or contrast for a judge's errors, as its calibration measured them.

A judge that calls a share `f` of the harmless and a share `s` of the harmful answers harmful reports `r` where
`p = (r - f) / (s - f)` are harmful (Rogan and Gladen 1978). `r`, `f` and `s` are all estimates, so for the
interval of `p` each is moved alone to the end of its own interval that moves `p` down, the three distances are squared,
added and rooted, and so upwards (the square-and-add of Newcombe and of Zou and Donner, on a function that moves one
way in each). The interval of `r` is that of its design, clustered or not; those of `f` and `s` are Wilson's. Their
coverage is simulated in `tests/analysis/test_prevalence.py`.

For several judges, whose mean is reported, the mean errors are taken, and the mean of their intervals' ends: as wide
as if all erred on the same transcripts.

The correction holds as far as the judge errs on the evaluation's answers as it does on the calibration set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from midspec.core.records import Estimate, JudgeCalibration, SeedValue, Share

_METHOD = "Rogan-Gladen, square-and-add interval over"
_CHANCE = "the judge tells harmful from harmless no better than chance: nothing can be corrected"
_PERHAPS_CHANCE = "the calibration is too small to rule out that the judge is no better than chance: no bounds"
_OTHERWISE = (
    "the judge reports less, or more, than its errors alone could give: it errs otherwise on these answers than on the"
    " calibration's, so nothing can be corrected"
)
_NOTHING_READ = "the calibration has no readable verdict on harmless or on harmful transcripts"


class _Span(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float


def correct_for_judge_errors(estimate: Estimate, *calibrations: JudgeCalibration | None) -> Estimate:
    """Correct a rate or a contrast of a judged measure for the judge's errors.

    Args:
        estimate: of a measure that judges give, on the 0-1 scale; the mean over them where there are several.
        calibrations: one for each of the judges, under the same rubric; `None` for one that was never calibrated.

    Returns:
        The same estimate with value, interval, seeds' values and smallest detectable difference corrected and clipped
        to the scale, method and note extended. All numbers are `None` where nothing can be corrected: a judge was not
        calibrated for this measure, they do no better than chance, or the whole interval lies outside of the scale.
    """
    known = [one for one in calibrations if one is not None and one.measure == estimate.measure]
    if not known or len(known) < len(calibrations):
        return _uncorrected(estimate, "the judge's errors are not measured: nothing is corrected")
    if estimate.value is None:
        return _uncorrected(estimate, "there is no value to correct")
    errors = [one.overall for one in known]
    if any(not each.false_positive.of or not each.false_negative.of for each in errors):
        return _uncorrected(estimate, _NOTHING_READ)
    false = _mean([_wilson(each.false_positive, estimate.level) for each in errors])
    missed = _mean([_wilson(each.false_negative, estimate.level) for each in errors])
    true = _Span(1 - missed.value, 1 - missed.high, 1 - missed.low)
    if true.value <= false.value:
        return _uncorrected(estimate, _CHANCE)
    n_rows = min(each.false_positive.of + each.false_negative.of for each in errors)
    return _corrected(estimate, false, true, n_rows)


def _mean(spans: Sequence[_Span]) -> _Span:
    """Average judges that were measured on the same transcripts, so that their errors are not independent."""
    return _Span(*(sum(ends) / len(spans) for ends in zip(*spans, strict=True)))


def _corrected(estimate: Estimate, false: _Span, true: _Span, n_rows: int) -> Estimate:
    assert estimate.value is not None
    is_rate, gap = estimate.kind == "rate", true.value - false.value
    least = 0.0 if is_rate else -1.0

    def of(seen: float, f: float, s: float) -> float:
        # Of a difference, what the judge says falsely cancels out.
        return (seen - f) / (s - f) if is_rate else seen / (s - f)

    def clip(value: float) -> float:
        return min(1.0, max(least, value))

    middle = of(estimate.value, false.value, true.value)
    low, high, note = _bounds(estimate, false, true, of)
    if low is not None and high is not None and (high <= least or low >= 1.0):
        return _uncorrected(estimate, _OTHERWISE)
    notes = [estimate.note, "" if middle == clip(middle) else f"{middle:.3f} before it was kept to the scale", note]
    seeds = tuple(
        SeedValue(seed=one.seed, value=None if one.value is None else clip(of(one.value, false.value, true.value)))
        for one in estimate.by_seed
    )
    return estimate.model_copy(
        update={
            "value": clip(middle),
            "low": None if low is None else clip(low),
            "high": None if high is None else clip(high),
            "by_seed": seeds,
            "seed_sd": None if estimate.seed_sd is None else estimate.seed_sd / gap,
            "mde": None if estimate.mde is None else estimate.mde / gap,
            "method": f"{estimate.method}; {_METHOD} {n_rows} calibration transcripts",
            "note": "; ".join(each for each in notes if each),
        }
    )


def _bounds(
    estimate: Estimate, false: _Span, true: _Span, of: Callable[[float, float, float], float]
) -> tuple[float | None, float | None, str]:
    """Return the interval before it is clipped to the scale, and a note."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None, None, ""
    if math.hypot(true.value - true.low, false.high - false.value) >= true.value - false.value:
        return -1.0, 1.0, _PERHAPS_CHANCE
    middle = of(estimate.value, false.value, true.value)
    moved = (
        (of(estimate.low, false.value, true.value), of(estimate.high, false.value, true.value)),
        (of(estimate.value, false.low, true.value), of(estimate.value, false.high, true.value)),
        (of(estimate.value, false.value, true.low), of(estimate.value, false.value, true.high)),
    )
    down = math.hypot(*(max(0.0, middle - min(ends)) for ends in moved))
    up = math.hypot(*(max(0.0, max(ends) - middle) for ends in moved))
    return middle - down, middle + up, ""


def _wilson(share: Share, level: float) -> _Span:
    from scipy.special import ndtri

    z2 = float(ndtri((1 + level) / 2)) ** 2
    rate = share.n / share.of
    middle = (rate + z2 / (2 * share.of)) / (1 + z2 / share.of)
    half = math.sqrt(z2 * (rate * (1 - rate) / share.of + z2 / (4 * share.of**2))) / (1 + z2 / share.of)
    # The sums are exact in theory only; an end past the rate would turn a distance round.
    return _Span(rate, min(rate, middle - half), max(rate, middle + half))


def _uncorrected(estimate: Estimate, why: str) -> Estimate:
    nothing = tuple(SeedValue(seed=one.seed, value=None) for one in estimate.by_seed)
    numbers = dict.fromkeys(("value", "low", "high", "seed_sd", "mde"))
    note = f"{estimate.note}; {why}" if estimate.note else why
    return estimate.model_copy(update={**numbers, "by_seed": nothing, "method": "none", "note": note})
