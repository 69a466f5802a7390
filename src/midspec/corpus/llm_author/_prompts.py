"""What prompts (`corpus/_prompts/`) are filled with: the numbered spec, and the manner of each document.

Clauses are numbered by the program, so that a model never copies an id. The manner (who speaks, how, for how long,
what people in it are called) is drawn by the row's id, never by arrival, so that a document is asked for in the same
manner in every run.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Sequence
from functools import cache

from midspec.core.fingerprint import hash_text
from midspec.core.records import Spec
from midspec.generation import PromptFolder, PromptTemplate

PROMPTS = PromptFolder("midspec.corpus", strip_end=True)

_LISTS = {
    "persona": "personas",
    "register": "registers",
    "stance": "stances",
    "opening": "openings",
    "approach": "approaches",
}
_N_NAMES = 3
_ROUND_WORDS = 50
_WORDS_PER_TOKEN = 0.75
_NAME_IN_SENTENCE = re.compile(r"[a-z,;] ([A-Z][a-z]{2,14})\b")
_CAPITALISED = re.compile(r"\b[A-Z][a-z]{2,14}\b")
_OPENING_WORDS = 4
_BEGINNING_CHARS = 2000
_MAX_COUNTED = 2048
_MAX_SHOWN = 10
# An opening or a name in more than this share of documents is over-used, if it is in so many at least.
_OVERUSED_SHARE = 0.02
_MIN_TIMES = 3
_REFRESH_AFTER, _REFRESH_GROWTH = 32, 1.05


def render_spec(spec: Spec) -> str:
    """Return the spec with a number before each heading (`§ 4`) and each clause (`[17]`), each on its own line."""
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
    """Return what stands before every prompt of a corpus: whom it is about, and the numbered spec."""
    values = {"model_name": model_name, "made_by": made_by(provider_name), "spec": render_spec(spec)}
    return PROMPTS.template("prefix").fill(values) + "\n\n"


def made_by(provider_name: str | None) -> str:
    """Return `, made by P`, or nothing."""
    return f", made by {provider_name}" if provider_name else ""


def runs_of(positions: Iterable[int]) -> str:
    """Put clause numbers in words: positions 0, 1, 2 and 6 are `1-3, 7`."""
    runs: list[list[int]] = []
    for position in sorted(positions):
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return ", ".join(f"{low + 1}-{high + 1}" if high > low else f"{low + 1}" for low, high in runs)


def number_clauses(texts: Sequence[str], positions: Iterable[int]) -> str:
    """Return clauses with their numbers, a line each."""
    return "\n".join(f"[{position + 1}] {texts[position]}" for position in positions)


@cache
def load_voices() -> dict[str, list[object]]:
    """Read the lists that the manner of a document is drawn from."""
    lists: dict[str, list[object]] = PROMPTS.load_yaml("voices.yaml")  # type: ignore[assignment]
    return lists


@cache
def lengths() -> list[tuple[float, int]]:
    """Return lengths of documents, as shares of the expected length, and their weights; the mean is near 1."""
    entries = [entry for entry in load_voices()["lengths"] if isinstance(entry, dict)]
    return [(float(entry["share"]), int(entry["weight"])) for entry in entries]


class Voices:
    """Draws the slots of a document's prompt that say how it is to be written.

    Args:
        model_name: fills `{{model_name}}` in the lists.
        mean_tokens: the expected length of a document.
    """

    def __init__(self, model_name: str, mean_tokens: int) -> None:
        lists = {key: [str(entry) for entry in entries] for key, entries in load_voices().items()}
        name = {"model_name": model_name}
        self._lists = {slot: [PromptTemplate(one).fill(name) for one in lists[key]] for slot, key in _LISTS.items()}
        self._given, self._family = lists["given_names"], lists["family_names"]
        mean_share = sum(share * weight for share, weight in lengths()) / sum(weight for _, weight in lengths())
        scale = mean_tokens * _WORDS_PER_TOKEN / mean_share
        # Each length as often as it weighs, so that one draw among them is a draw by weight.
        self._words = [
            str(max(_ROUND_WORDS, round(share * scale / _ROUND_WORDS) * _ROUND_WORDS))
            for share, weight in lengths()
            for _ in range(weight)
        ]

    def draw(self, row_id: str) -> dict[str, str]:
        """Draw values for the slots persona, register, stance, opening, approach, n_words and names.

        Draws are the digits of a hash, a hundred times cheaper to begin than a generator, which counts a million
        times: 256 bits are enough for a dozen draws from lists of some hundred.
        """
        rest = int(hash_text(row_id), 16)

        def one(entries: list[str]) -> str:
            nonlocal rest
            rest, index = divmod(rest, len(entries))
            return entries[index]

        drawn = {slot: one(entries) for slot, entries in self._lists.items()}
        drawn["n_words"] = one(self._words)
        drawn["names"] = ", ".join(f"{one(self._given)} {one(self._family)}" for _ in range(_N_NAMES))
        return drawn


class Overused:
    """Counts first words and names, and says which of them further documents are asked not to use.

    Counts are halved when they become too many, so old habits fade and memory stays flat.

    Args:
        known: a text whose capitalised words are no names to avoid (the spec, with the names in it).
    """

    def __init__(self, known: str) -> None:
        self._known = frozenset(_CAPITALISED.findall(known))
        self._n = 0
        self._openings: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._line = ""
        self._next_refresh = _REFRESH_AFTER

    def add(self, text: str) -> None:
        """Count a document's first words, and the capitalised words inside the sentences of its first part."""
        self._n += 1
        beginning = text[:_BEGINNING_CHARS]
        _count(self._openings, " ".join(beginning.split(None, _OPENING_WORDS)[:_OPENING_WORDS]))
        for name in set(_NAME_IN_SENTENCE.findall(beginning)) - self._known:
            _count(self._names, name)
        if self._n >= self._next_refresh:
            self._line = self._refreshed()
            self._next_refresh = max(self._n + _REFRESH_AFTER, int(self._n * _REFRESH_GROWTH))

    def line(self) -> str:
        """Return the line of a prompt that says what to avoid; empty while nothing is over-used.

        It is refreshed now and then.
        """
        return self._line

    def _refreshed(self) -> str:
        openings, names = self._most(self._openings), self._most(self._names)
        if not openings and not names:
            return ""
        values = {
            "openings": "First words: " + "; ".join(f'"{words} ..."' for words in openings) + ". " if openings else "",
            "names": "Names: " + ", ".join(names) + "." if names else "",
        }
        return PROMPTS.template("avoid").fill(values).rstrip() + "\n"

    def _most(self, counts: dict[str, int]) -> list[str]:
        least = max(_MIN_TIMES, _OVERUSED_SHARE * self._n)
        most = heapq.nlargest(_MAX_SHOWN, counts.items(), key=lambda entry: (entry[1], entry[0]))
        return [key for key, n in most if n >= least]


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
    if len(counts) > _MAX_COUNTED:
        kept = {key: n // 2 for key, n in counts.items() if n > 1}
        counts.clear()
        counts.update(kept)
