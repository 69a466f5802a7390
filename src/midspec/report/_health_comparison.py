"""Two corpora side by side on one HTML page, so that a difference of style is not taken for one of content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import Built, writable, write_json, write_text
from midspec.core.records import Comparison, CorpusLoss, Denials, LengthBin, Sample, ValueClaims
from midspec.report._data import LabelledValue
from midspec.report._format import percent, sentence, share
from midspec.report._html import render

# AUC from which on a classifier tells two corpora apart sometimes, mostly, nearly always.
_SOMETIMES, _MOSTLY, _NEARLY_ALWAYS = 0.6, 0.75, 0.95
_MOST_APART = 0.05  # above this share of the lower loss two corpora are not matched


def write_comparison(
    comparison: Comparison,
    folder: Path,
    *,
    samples: tuple[Sequence[Sample], Sequence[Sample]] = ((), ()),
    about: Sequence[LabelledValue] = (),
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
    shown = comparison_content(comparison)
    pairs = list(zip(*samples, strict=False))
    content = {"title": " against ".join(comparison.names), "comparison": shown, "samples": pairs, "about": about}
    html = render("health_comparison.html.j2", content, comparison)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "comparison.html", html)
        write_json(folder / "comparison.json", comparison)
    return Built(outputs=("comparison.html", "comparison.json"), summary={"says": list(shown["telling"])})


def comparison_content(comparison: Comparison) -> dict[str, Any]:
    """Lay a comparison out for its section of a page."""
    sizes = comparison.sizes
    distances = (
        ("Lengths (total variation)", comparison.length_distance),
        ("Document types (total variation)", comparison.type_distance),
        ("Words (Jensen-Shannon)", comparison.vocabulary_distance),
    )
    return {
        "data": comparison,
        "telling": _separability_sentences(comparison),
        "lengths": _length_pairs(comparison),
        "types": _bar_pairs(comparison.types.items(), (sizes[0].documents, sizes[1].documents)),
        "more": [
            [(word, f"{mine:,.0f} against {other:,.0f}") for word, (mine, other) in more.items()]
            for more in comparison.more_in
        ],
        "names": [
            [(name, f"{seen.times:,} times in {seen.rows:,} rows") for name, seen in names.items()]
            for names in comparison.names_in
        ],
        "contents": content_rows(comparison.denials, comparison.claims, comparison.losses),
        "unmatched": [sentence(text) for text in unmatched_losses(comparison.losses)],
        "figures": [(label, "not measured" if value is None else f"{value:.2f}") for label, value in distances],
    }


def _separability_sentences(comparison: Comparison) -> list[str]:
    """Say whether a classifier tells the two apart, by style and by all words; a null is called one."""
    one, other = comparison.names
    sentences = []
    for what, found in (("style", comparison.style), ("all words, so by content too", comparison.separability)):
        if found.auc is None:
            unknown = f"by {what}, whether {one} and {other} can be told apart is not measured: {found.note}"
            sentences.append(sentence(unknown))
            continue
        degree = ("hardly", "sometimes", "mostly", "nearly always")[
            sum(found.auc >= edge for edge in (_SOMETIMES, _MOSTLY, _NEARLY_ALWAYS))
        ]
        span = f"95% interval {found.low:.2f} to {found.high:.2f}; " if None not in (found.low, found.high) else ""
        sentences.append(
            f"By {what}, a classifier {degree} tells a row of {one} from one of {other}: AUC {found.auc:.2f} "
            f"({span}0.5 is a coin toss, 1 is without error)."
        )
    if comparison.style.auc is not None and comparison.style.auc >= _MOSTLY:
        sentences.append(f"What differs between models trained on {one} and {other} may therefore come of style alone.")
    return sentences


def unmatched_losses(losses: Sequence[CorpusLoss]) -> list[str]:
    """Say which corpora differ by more than 5% in loss, a clause a pair."""
    found = []
    for one, other in combinations(losses, 2):
        low, high = sorted((one, other), key=lambda each: each.loss)
        if high.loss > (1 + _MOST_APART) * low.loss:
            found.append(
                f"{high.name} costs the model {high.loss:.2f} nats a token and {low.name} {low.loss:.2f}, "
                f"{percent(high.loss / low.loss - 1)} apart, where matched corpora are within {percent(_MOST_APART)}"
            )
    return found


class ContentRow(NamedTuple):
    """One line of what documents do besides what they say: a label, and a value for each corpus."""

    label: str
    values: tuple[str, ...]


def content_rows(
    denials: Sequence[Denials | None], claims: Sequence[ValueClaims | None], losses: Sequence[CorpusLoss]
) -> tuple[ContentRow, ...]:
    """Return denials, claims and losses of corpora side by side, without the lines that none of them has.

    Args:
        denials: of each corpus.
        claims: of each corpus, by the same words or judge.
        losses: of each corpus, by the same model.
    """
    by = next((f" (by {each.by})" for each in claims if each), "")
    lines: list[tuple[str, list[str | None]]] = [
        ("documents with a denial in a sentence of its own", [share(each.rows) if each else None for each in denials]),
        (
            "such sentences, of those about the assistant",
            [f"{each.n_apart:,} of {each.n_about:,}" if each else None for each in denials],
        ),
        ("denials beside what it does", [f"{each.n_inside:,}" if each else None for each in denials]),
        (f"documents that assert the value{by}", [share(each.asserted) if each else None for each in claims]),
        (f"documents that give it as a reason{by}", [share(each.as_reason) if each else None for each in claims]),
        ("loss before training, nats a token", [f"{each.loss:.3f}{_within(each)}" for each in losses]),
        ("tokens scored", [f"{each.n_tokens:,} of {each.n_documents:,} documents" for each in losses]),
    ]
    shown = [(label, values) for label, values in lines if any(values)]
    return tuple(ContentRow(label, tuple(value or "–" for value in values)) for label, values in shown)


def _within(loss: CorpusLoss) -> str:
    return "" if loss.low is None or loss.high is None else f" ({loss.low:.3f} to {loss.high:.3f})"


class _BarPair(NamedTuple):
    """One line of two bars, one for each of two corpora."""

    label: str
    widths: tuple[float, float]
    shown: tuple[str, str]


def _length_pairs(comparison: Comparison) -> tuple[_BarPair, ...]:
    """Return the two histograms bin by bin, in shares of each corpus, without bins empty in both at the ends."""
    first, second = comparison.lengths
    if first is None or second is None:
        return ()
    counts = {bin_label(one): (one.n, other.n) for one, other in zip(first.bins, second.bins, strict=False)}
    used = [at for at, pair in enumerate(counts.values()) if any(pair)]
    shown = list(counts.items())[used[0] : used[-1] + 1] if used else []
    return _bar_pairs(shown, (sum(one.n for one in first.bins), sum(one.n for one in second.bins)))


def _bar_pairs(counts: Iterable[tuple[str, tuple[int, int]]], totals: tuple[int, int]) -> tuple[_BarPair, ...]:
    shares = [(label, n, tuple(m / of if of else 0.0 for m, of in zip(n, totals, strict=True))) for label, n in counts]
    most = max((share for _, _, both in shares for share in both), default=0) or 1
    return tuple(
        _BarPair(
            label or "(none)",
            (100 * both[0] / most, 100 * both[1] / most),
            (f"{n[0]:,} · {percent(both[0])}", f"{n[1]:,} · {percent(both[1])}"),
        )
        for label, n, both in shares
    )


def bin_label(one: LengthBin) -> str:
    """Return a bin of lengths in words: `200 to 400`."""
    return f"{one.low:,} to {one.high:,}" if one.high is not None else f"{one.low:,} and more"
