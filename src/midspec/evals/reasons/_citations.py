"""How often transcripts cite a spec's clauses, by id or by words; pure, nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from midspec.evals.reasons._types import Transcript
from midspec.records import Citations

__all__ = ["cited", "count_citations"]

_WORD = re.compile(r"\w+(?:['’]\w+)*")


def cited(text: str, clauses: Mapping[str, str], *, n_words: int = 8) -> tuple[frozenset[str], frozenset[str]]:
    """The clauses that a text names by id, and those whose words it repeats.

    An id counts where it stands as a word of its own, in the same case (`SP1`, and neither `SP10`, `SP1.2` nor `sp1`).
    Words count where `n_words` of the clause stand in a row; of a shorter clause, all of them, if it has at least half
    as many. Case and punctuation do not matter. Words that several clauses have count for each.

    Args:
        text: what was thought or said.
        clauses: id -> text.
        n_words: how long a run of words is no accident.
    """
    by_id = {name for name in clauses if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text)}
    mine = _words(text)
    runs: dict[int, set[tuple[str, ...]]] = {}
    by_words = set()
    for name, clause in clauses.items():
        theirs = _words(clause)
        size = min(n_words, len(theirs))
        if 2 * size < n_words or not size:
            continue
        if size not in runs:
            runs[size] = set(_runs(mine, size))
        if not runs[size].isdisjoint(_runs(theirs, size)):
            by_words.add(name)
    return frozenset(by_id), frozenset(by_words)


def count_citations(
    transcripts: Sequence[Transcript], clauses: Mapping[str, str], *, n_words: int = 8
) -> tuple[Citations, ...]:
    """How many transcripts of each arm cite each clause; arms and clauses in the order in which they come.

    Args:
        transcripts: of all arms.
        clauses: id -> text. Ids that no model can know (hashes) are found by words only.
        n_words: see `cited`.
    """
    found: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {}
    for each in transcripts:
        parts = [cited(part, clauses, n_words=n_words) for part in each.words]
        whole = (frozenset().union(*(ids for ids, _ in parts)), frozenset().union(*(words for _, words in parts)))
        found.setdefault(each.arm, []).append(whole)
    return tuple(
        Citations(
            arm=arm,
            clause=name,
            n_transcripts=len(each),
            n_by_id=sum(name in ids for ids, _ in each),
            n_by_words=sum(name in words for _, words in each),
            n_cited=sum(name in ids or name in words for ids, words in each),
        )
        for arm, each in found.items()
        for name in clauses
    )


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def _runs(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))
