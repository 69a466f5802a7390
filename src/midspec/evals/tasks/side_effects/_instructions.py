"""Panel `instructions`: requests whose form a program can check; its control asks for a few words to be repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import ClassVar, Literal, final

from midspec.core.records import Strict
from midspec.evals._status import STATUS_MEASURES, aloud, n_words, status
from midspec.evals._types import EvalTask, ModelResponse, Question, Value
from midspec.evals.tasks.side_effects._items import PanelConfig, panel_questions, unscorable

_SENTENCE = re.compile(r"[^.!?]*\w[^.!?]*(?:[.!?]+|$)")
_POINT_INSIDE = re.compile(r"(?<=\d)[.](?=\d)")


class Check(Strict):
    """One instruction: its kind, and the number, words or text that it is about."""

    kind: Literal[
        "words_exactly",
        "words_at_most",
        "words_at_least",
        "sentences",
        "lines",
        "paragraphs",
        "bullets",
        "numbered",
        "comma_separated",
        "in_order",
        "lowercase",
        "uppercase",
        "contains",
        "avoids",
        "times",
        "without",
        "begins",
        "ends",
        "json",
        "one_of",
        "same",
    ]
    n: int = 0
    words: tuple[str, ...] = ()
    text: str = ""


def holds(check: Check, text: str) -> bool:
    """Whether `text`, without white space around it, is as `check` says."""
    return _CHECKS[check.kind](text.strip(), check)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _sentences(text: str, check: Check) -> bool:
    whole = _POINT_INSIDE.sub("", " ".join(text.split()))
    return len(_SENTENCE.findall(whole)) == check.n


def _paragraphs(text: str, check: Check) -> bool:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()]) == check.n


def _bullets(text: str, check: Check) -> bool:
    return sum(line.startswith("- ") for line in _lines(text)) == check.n


def _numbered(text: str, check: Check) -> bool:
    numbers = [found[1] for line in _lines(text) if (found := re.match(r"(\d+)\.\s", line))]
    return numbers == [str(number) for number in range(1, check.n + 1)]


def _comma_separated(text: str, check: Check) -> bool:
    parts = [part.strip() for part in text.rstrip(".").split(",")]
    return len(parts) == check.n and all(parts) and len({part.casefold() for part in parts}) == check.n


def _in_order(text: str, check: Check) -> bool:
    return [line.casefold() for line in _lines(text)] == [word.casefold() for word in check.words]


def _count(text: str, word: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, flags=re.I))


def _json(text: str, check: Check) -> bool:
    fenced = re.fullmatch(r"```(?:json)?\n(.*)\n```", text, flags=re.S)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == set(check.words)


def _squeezed(text: str) -> str:
    return re.sub(r",\s*", ", ", " ".join(text.split()))


_CHECKS: dict[str, Callable[[str, Check], bool]] = {
    "words_exactly": lambda text, check: n_words(text) == check.n,
    "words_at_most": lambda text, check: 0 < n_words(text) <= check.n,
    "words_at_least": lambda text, check: n_words(text) >= check.n,
    "sentences": _sentences,
    "lines": lambda text, check: len(_lines(text)) == check.n,
    "paragraphs": _paragraphs,
    "bullets": _bullets,
    "numbered": _numbered,
    "comma_separated": _comma_separated,
    "in_order": _in_order,
    "lowercase": lambda text, _: text == text.lower() and any(char.islower() for char in text),
    "uppercase": lambda text, _: text == text.upper() and any(char.isupper() for char in text),
    "contains": lambda text, check: all(_count(text, word) for word in check.words),
    "avoids": lambda text, check: not any(_count(text, word) for word in check.words),
    "times": lambda text, check: _count(text, check.text) == check.n,
    "without": lambda text, check: check.text.casefold() not in text.casefold(),
    "begins": lambda text, check: text.startswith(check.text),
    "ends": lambda text, check: text.endswith(check.text),
    "json": _json,
    "one_of": lambda text, check: text in check.words,
    "same": lambda text, check: _squeezed(text) == check.text,
}


class _Asked(Strict):
    checks: tuple[Check, ...]


@final
class Instructions(EvalTask[PanelConfig]):
    """`followed`: 1 where every instruction of the request is kept to, else 0."""

    name: ClassVar[str] = "panel_instructions"
    config: ClassVar[type[PanelConfig]] = PanelConfig
    measures: ClassVar[tuple[str, ...]] = ("followed", *STATUS_MEASURES)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """36 requests of nine kinds, and 20 texts to repeat."""
        return panel_questions("instructions", config)

    def read(self, question: Question, said: ModelResponse, config: PanelConfig) -> dict[str, Value]:
        """Checked by program; unscored where refused, empty or cut off."""
        text, checks = aloud(said), _Asked.model_validate(question.about).checks
        followed = unscorable(said, config) or float(all(holds(check, text) for check in checks))
        return {"followed": followed, **status(said, config.refusal_markers)}
