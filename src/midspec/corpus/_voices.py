"""The manner of each document, drawn for it: who speaks, how, for how long, and what people in it are called.

Draws are by the row's id, never by arrival, so that a document is asked for in the same manner in every run.
"""

from __future__ import annotations

import random
from itertools import accumulate

from midspec.corpus._templates import Template, voices_file

__all__ = ["Voices", "mean_share"]

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
        self._words = [max(_ROUND_WORDS, round(share * scale / _ROUND_WORDS) * _ROUND_WORDS) for share, _ in _lengths()]
        self._weights = list(accumulate(weight for _, weight in _lengths()))

    def draw(self, row_id: str) -> dict[str, str]:
        """Values for the slots persona, register, stance, opening, approach, n_words and names."""
        draw = random.Random(row_id)
        drawn = {slot: draw.choice(entries) for slot, entries in self._lists.items()}
        drawn["n_words"] = str(draw.choices(self._words, cum_weights=self._weights)[0])
        names = (f"{draw.choice(self._given)} {draw.choice(self._family)}" for _ in range(_N_NAMES))
        drawn["names"] = ", ".join(names)
        return drawn


def _lengths() -> list[tuple[float, float]]:
    found = []
    for entry in voices_file()["lengths"]:
        if not isinstance(entry, dict):
            raise TypeError("an entry of `lengths` is {share, weight}")
        found.append((float(entry["share"]), float(entry["weight"])))
    return found
