"""The manner of each document, drawn for it: who speaks, how, for how long, and what people in it are called.

Draws are by the row's id, never by arrival, so that a document is asked for in the same manner in every run.
"""

from __future__ import annotations

from collections.abc import Sequence

from midspec.core.fingerprint import hash_text
from midspec.corpus.llm_author._prompts import Template, voices_file

_KINDS = {
    "persona": "personas",
    "register": "registers",
    "stance": "stances",
    "opening": "openings",
    "approach": "approaches",
}
_N_NAMES = 3
_ROUND_WORDS = 50
_WORDS_PER_TOKEN = 0.75


def mean_share() -> float:
    """The mean of the drawn lengths, as a share of the expected length."""
    lengths = _lengths()
    return sum(share * weight for share, weight in lengths) / sum(weight for _, weight in lengths)


class Voices:
    """Draws the slots of a document's prompt that say how it is to be written.

    Args:
        model_name: fills `{{model_name}}` in the lists.
        mean_tokens: the expected length of a document.
    """

    def __init__(self, model_name: str, mean_tokens: int) -> None:
        lists = voices_file()
        name = {"model_name": model_name}
        self._lists = {slot: [Template(str(entry)).fill(name) for entry in lists[key]] for slot, key in _KINDS.items()}
        self._given = [str(entry) for entry in lists["given_names"]]
        self._family = [str(entry) for entry in lists["family_names"]]
        scale = mean_tokens * _WORDS_PER_TOKEN / mean_share()
        # Each length as often as it weighs, so that one draw among them is a draw by weight.
        self._words = [
            str(max(_ROUND_WORDS, round(share * scale / _ROUND_WORDS) * _ROUND_WORDS))
            for share, weight in _lengths()
            for _ in range(weight)
        ]

    def draw(self, row_id: str) -> dict[str, str]:
        """Values for the slots persona, register, stance, opening, approach, n_words and names."""
        draw = _Draw(row_id)
        drawn = {slot: draw.one(entries) for slot, entries in self._lists.items()}
        drawn["n_words"] = draw.one(self._words)
        drawn["names"] = ", ".join(f"{draw.one(self._given)} {draw.one(self._family)}" for _ in range(_N_NAMES))
        return drawn


class _Draw:
    """Draws from the digits of a hash: a hundred times cheaper to begin than a generator, which counts a million times.

    256 bits are enough for a dozen draws from lists of some hundred.
    """

    def __init__(self, seed: str) -> None:
        self._rest = int(hash_text(seed), 16)

    def one(self, entries: Sequence[str]) -> str:
        self._rest, index = divmod(self._rest, len(entries))
        return entries[index]


def _lengths() -> list[tuple[float, int]]:
    found = []
    for entry in voices_file()["lengths"]:
        if not isinstance(entry, dict):
            raise TypeError("an entry of `lengths` is {share, weight}")
        found.append((float(entry["share"]), int(entry["weight"])))
    return found
