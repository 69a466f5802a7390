"""Two corpora side by side, so that what is taken for an effect of content is not one of style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import Built, writable, write_json, write_text
from midspec.core.records import Comparison, Sample, Separability, Size
from midspec.report._data import Shown
from midspec.report._health_page import percent, render, sentence, span_of

# AUC below which two corpora are hardly told apart, from which on mostly, and from which on nearly always.
_UNTELLING, _TELLING, _SURE = 0.6, 0.75, 0.95


class _Pair(NamedTuple):
    """One line of two bars, one for each of two corpora."""

    label: str
    widths: tuple[float, float]
    shown: tuple[str, str]


def write_comparison(
    comparison: Comparison,
    folder: Path,
    *,
    samples: tuple[Sequence[Sample], Sequence[Sample]] = ((), ()),
    about: Sequence[Shown] = (),
) -> Built:
    """Write `comparison.html` and `comparison.json` into `folder`: two corpora, and what tells them apart.

    Args:
        comparison: what was compared.
        folder: where to write; made if it is not there.
        samples: rows of each to read side by side.
        about: where the two come from.

    Raises:
        FolderError: the folder can't be written.
    """
    pairs = list(zip(*samples, strict=False))
    content = {"comparison": compared(comparison), "samples": pairs, "about": about}
    title = " against ".join(comparison.names)
    html = render("health_comparison.html.j2", title, content, comparison)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "comparison.html", html)
        write_json(folder / "comparison.json", comparison)
    return Built(outputs=("comparison.html", "comparison.json"), summary={"says": list(telling(comparison))})


def compared(comparison: Comparison) -> dict[str, Any]:
    """A comparison as its section shows it."""
    return {
        "data": comparison,
        "telling": telling(comparison),
        "lengths": _length_pairs(comparison),
        "types": _pairs(comparison.types, comparison.sizes),
        "more": [
            [(word, f"{mine:,.0f} against {other:,.0f}") for word, (mine, other) in more.items()]
            for more in comparison.more_in
        ],
        "names": [
            [(name, f"{seen.times:,} times in {seen.rows:,} rows") for name, seen in names.items()]
            for names in comparison.names_in
        ],
        "figures": _figures(comparison),
    }


def telling(comparison: Comparison) -> tuple[str, ...]:
    """Whether the two can be told apart, by style and by all words, in sentences; a null is called one."""
    one, other = comparison.names
    said = []
    for what, found in (("style", comparison.style), ("all words, so by content too", comparison.separability)):
        if found.auc is None:
            said.append(
                sentence(f"by {what}, whether {one} and {other} can be told apart is not measured: {found.note}")
            )
            continue
        how = _how_well(found)
        span = f"95% interval {found.low:.2f} to {found.high:.2f}; " if None not in (found.low, found.high) else ""
        said.append(
            f"By {what}, a classifier {how} tells a row of {one} from one of {other}: AUC {found.auc:.2f} "
            f"({span}0.5 is a coin toss, 1 is without error)."
        )
    if comparison.style.auc is not None and comparison.style.auc >= _TELLING:
        said.append(f"What differs between models trained on {one} and {other} may therefore come of style alone.")
    return tuple(said)


def _how_well(found: Separability) -> str:
    auc = found.auc or 0.5
    if auc < _TELLING:
        return "hardly" if auc < _UNTELLING else "sometimes"
    return "mostly" if auc < _SURE else "nearly always"


def _figures(comparison: Comparison) -> tuple[tuple[str, str], ...]:
    """The distances, each with what it is of; 0 is equal and 1 has nothing in common."""
    distances = (
        ("Lengths (total variation)", comparison.length_distance),
        ("Document types (total variation)", comparison.type_distance),
        ("Words (Jensen-Shannon)", comparison.vocabulary_distance),
    )
    return tuple((label, "not measured" if value is None else f"{value:.2f}") for label, value in distances)


def _length_pairs(comparison: Comparison) -> tuple[_Pair, ...]:
    """The two histograms bin by bin, in shares of each corpus; bins that are empty in both at the ends are left out."""
    first, second = comparison.lengths
    if first is None or second is None:
        return ()
    counts = {span_of(one.low, one.high): (one.n, other.n) for one, other in zip(first.bins, second.bins, strict=False)}
    used = [at for at, pair in enumerate(counts.values()) if any(pair)]
    shown = list(counts.items())[used[0] : used[-1] + 1] if used else []
    totals = (sum(one.n for one in first.bins), sum(one.n for one in second.bins))
    return _paired(shown, totals)


def _pairs(counts: Mapping[str, tuple[int, int]], sizes: tuple[Size, Size]) -> tuple[_Pair, ...]:
    return _paired(counts.items(), (sizes[0].documents, sizes[1].documents))


def _paired(counts: Iterable[tuple[str, tuple[int, int]]], totals: tuple[int, int]) -> tuple[_Pair, ...]:
    shares = [(label, n, tuple(m / of if of else 0.0 for m, of in zip(n, totals, strict=True))) for label, n in counts]
    most = max((share for _, _, both in shares for share in both), default=0) or 1
    return tuple(
        _Pair(
            label or "(none)",
            (100 * both[0] / most, 100 * both[1] / most),
            (f"{n[0]:,} · {percent(both[0])}", f"{n[1]:,} · {percent(both[1])}"),
        )
        for label, n, both in shares
    )
