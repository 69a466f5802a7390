"""Two specs compared clause by clause: kept, changed, added, removed, moved."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from midspec.core.records import ClauseDiff, DiffWord, Spec

# Clauses with at least this share of words in common (2 x common / all) are one clause that was changed.
_CHANGED = 0.5
_WORDS = re.compile(r"(\s*)(\{\w+\}|\w+(?:['’-]\w+)*|[^\w\s])")


class _Unit(NamedTuple):
    """A heading or a clause of one of the two."""

    id: str
    text: str
    section: str
    is_heading: bool


def diff_specs(before: Spec, after: Spec) -> tuple[ClauseDiff, ...]:
    """Compare two specs, headings and clauses; in the order of `after`, with what was removed where it stood."""
    old, new = _units(before), _units(after)
    place = {one.id: at for at, one in enumerate(old)}
    partner = {at: place[one.id] for at, one in enumerate(new) if one.id in place}
    partner |= _changed(old, new, partner)
    in_order = _longest_in_order({at: was for at, was in partner.items() if _is_same(old[was], new[at])})
    rows = [_row(old, new, partner, in_order, at) for at in range(len(new))]
    return tuple(_with_removed(rows, old, partner))


def _longest_in_order(partner: dict[int, int]) -> set[int]:
    """Return the most units of the later spec that stand in the order of the earlier one; the others were moved."""
    ends: list[int] = []
    tails: list[int] = []
    before: dict[int, int | None] = {}
    for at, was in sorted(partner.items()):
        size = bisect_left(ends, was)
        before[at] = tails[size - 1] if size else None
        ends[size:], tails[size:] = [was, *ends[size + 1 :]], [at, *tails[size + 1 :]]
    found = set()
    last = tails[-1] if tails else None
    while last is not None:
        found.add(last)
        last = before[last]
    return found


def word_diff(before: str, after: str) -> tuple[DiffWord, ...]:
    """Return two texts as runs that both have, that only the first has, and that only the second has.

    Every run begins with the space before it, so that runs of one side can be put together.
    """
    old, new = _tokens(before), _tokens(after)
    keys = [token.strip() for token in old], [token.strip() for token in new]
    runs: list[DiffWord] = []
    for way, i, j, k, m in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if way == "equal":
            runs.append(DiffWord(kind="same", text="".join(new[k:m])))
            continue
        if i < j:
            runs.append(DiffWord(kind="out", text="".join(old[i:j])))
        if k < m:
            runs.append(DiffWord(kind="in", text="".join(new[k:m])))
    return tuple(runs)


def _tokens(text: str) -> list[str]:
    """Cut a text into words and signs, each with a space before it if there was one; line feeds stay."""
    return [
        (space if "\n" in space else " " if space or not at else "") + word
        for at, (space, word) in enumerate(_WORDS.findall(text))
    ]


def _units(spec: Spec) -> list[_Unit]:
    found = []
    for section in spec.sections:
        path = " > ".join(filter(None, section.path))
        if section.level:
            found.append(_Unit(section.id, f"{'#' * section.level} {section.title}", path, is_heading=True))
        found += [_Unit(clause.id, clause.text, path, is_heading=False) for clause in section.clauses]
    return found


def _is_same(one: _Unit, other: _Unit) -> bool:
    """Return whether two units are the same but for spaces: between words, and around signs."""
    return one.is_heading == other.is_heading and _plain_words(one) == _plain_words(other)


def _plain_words(unit: _Unit) -> list[str]:
    return [token.strip() for token in _tokens(unit.text.lstrip("#") if unit.is_heading else unit.text)]


def _changed(old: Sequence[_Unit], new: Sequence[_Unit], partner: dict[int, int]) -> dict[int, int]:
    """Pair what is left of the two by likeness, the most alike first; of equally alike ones those of one section."""
    taken = set(partner.values())
    olds = [at for at in range(len(old)) if at not in taken]
    likely = []
    for at in (at for at in range(len(new)) if at not in partner):
        matcher = SequenceMatcher(None, autojunk=False)
        matcher.set_seq2(_plain_words(new[at]))
        for was in (was for was in olds if old[was].is_heading == new[at].is_heading):
            matcher.set_seq1(_plain_words(old[was]))
            if matcher.real_quick_ratio() >= _CHANGED and matcher.quick_ratio() >= _CHANGED:
                ratio = matcher.ratio()
                if ratio >= _CHANGED:
                    likely.append((-ratio, old[was].section != new[at].section, at, was))
    found: dict[int, int] = {}
    for _, _, at, was in sorted(likely):
        if at not in found and was not in found.values():
            found[at] = was
    return found


def _row(
    old: Sequence[_Unit], new: Sequence[_Unit], partner: dict[int, int], in_order: set[int], at: int
) -> ClauseDiff:
    """Make the row of one unit of the later spec."""
    unit = new[at]
    if at not in partner:
        words = (DiffWord(kind="in", text=unit.text),)
        return ClauseDiff(kind="added", after_id=unit.id, after_section=unit.section, words=words)
    was = old[partner[at]]
    is_same = _is_same(was, unit)
    return ClauseDiff(
        kind="kept" if is_same and at in in_order else "moved" if is_same else "changed",
        before_id=was.id,
        after_id=unit.id,
        before_section=was.section,
        after_section=unit.section,
        words=(DiffWord(kind="same", text=unit.text),) if is_same else word_diff(was.text, unit.text),
    )


def _with_removed(rows: list[ClauseDiff], old: Sequence[_Unit], partner: dict[int, int]) -> list[ClauseDiff]:
    """Put each removed unit behind the row of the unit that it followed."""
    place = {was: at for at, was in partner.items()}
    behind: dict[int, list[ClauseDiff]] = {}
    last = -1
    for was, unit in enumerate(old):
        if was in place:
            last = place[was]
            continue
        words = (DiffWord(kind="out", text=unit.text),)
        row = ClauseDiff(kind="removed", before_id=unit.id, before_section=unit.section, words=words)
        behind.setdefault(last, []).append(row)
    out = list(behind.get(-1, []))
    for at, row in enumerate(rows):
        out += [row, *behind.get(at, [])]
    return out
