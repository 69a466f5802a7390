"""The spec with its sections and clauses numbered: models name numbers, the program cuts the words.

A clause's number is its position in the spec, counted from 1. The same text stands first in every request, so that
providers can cache it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from midspec.corpus._templates import template
from midspec.records import Spec

__all__ = ["nearest", "prefix_of", "render_spec", "runs_of", "shown"]


def render_spec(spec: Spec) -> str:
    """The spec's text with a number before every heading (`§ 4`) and every clause (`[17]`), each on its own line."""
    lines: list[str] = []
    position = 0
    for number, section in enumerate(spec.sections, start=1):
        title = section.title if section.level else ""
        lines += ["", f"{'#' * max(1, section.level)} § {number} {title}".rstrip(), ""]
        for clause in section.clauses:
            position += 1
            lines.append(f"[{position}] {clause.text}")
    return "\n".join(lines).strip()


def prefix_of(spec: Spec, model_name: str, provider_name: str | None) -> str:
    """What stands before every prompt of a corpus, always the same: whom it is about, and the numbered spec."""
    values = {"model_name": model_name, "made_by": made_by(provider_name), "spec": render_spec(spec)}
    return template("prefix").fill(values) + "\n\n"


def made_by(provider_name: str | None) -> str:
    """`, made by P`, or nothing."""
    return f", made by {provider_name}" if provider_name else ""


def runs_of(positions: Iterable[int]) -> str:
    """Clause numbers in words: positions 0, 1, 2 and 6 are `1-3, 7`."""
    runs: list[list[int]] = []
    for position in sorted(positions):
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return ", ".join(f"{low + 1}-{high + 1}" if high > low else f"{low + 1}" for low, high in runs)


def shown(texts: Sequence[str], positions: Iterable[int]) -> str:
    """Clauses with their numbers, a line each."""
    return "\n".join(f"[{position + 1}] {texts[position]}" for position in positions)


def nearest(homes: Sequence[Sequence[int]], wanted: Iterable[int]) -> list[tuple[int, ...]]:
    """`homes` (groups of positions), with every wanted position that none of them holds added to the nearest.

    Nearest in the order of the text; of two equally near, the one that comes before. A group may be empty.
    """
    grown = [set(home) for home in homes]
    owner = {position: index for index, home in enumerate(homes) for position in home}
    held = sorted(owner)
    for position in wanted:
        if position not in owner:
            grown[owner[_closest(held, position)] if held else 0].add(position)
    return [tuple(sorted(home)) for home in grown]


def _closest(held: Sequence[int], position: int) -> int:
    after = bisect_left(held, position)
    around = held[max(0, after - 1) : after + 1]
    return min(around, key=lambda other: (abs(other - position), other))
