"""The probe right after the documents: what each arm knew then of its spec, beside what it chose at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from midspec.core.records import Estimate
from midspec.report._format import number, span
from midspec.report._task_data import SeamProbe


class SeamLine(NamedTuple):
    """One line of the table: a model, what it knows, and the main measure of the arms that end after it."""

    probe: SeamProbe
    knows: str
    gain: str
    delta: str
    ends: tuple[tuple[str, str], ...]


def seam_lines(
    probes: Sequence[SeamProbe], estimates: Sequence[Estimate], main: tuple[str, str]
) -> tuple[SeamLine, ...]:
    """Lay out the probes of own specs, each beside the ends of its arms.

    Args:
        probes: of every model and spec.
        estimates: rates of arms.
        main: the study's main set and measure.
    """
    ends = {one.arm: one for one in estimates if (one.set, one.measure) == main}
    lines = []
    for probe in probes:
        if probe.is_own:
            delta = next((each for each in probe.deltas if each.set == main[0]), None)
            told = "–" if delta is None else f"{delta.auc:.2f} ({delta.low:.2f} to {delta.high:.2f})"
            shown = tuple((arm, _told(ends[arm])) for arm in probe.arms if arm in ends)
            lines.append(SeamLine(probe, _told(probe.knows), _told(probe.gain), told, shown))
    return tuple(lines)


def _told(estimate: Estimate) -> str:
    between = span(estimate)
    return number(estimate.value, estimate.measure) + (f" ({between})" if between else "")
