"""Panel `instructions`: requests whose form a program can check; its control asks for a few words to be repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, final

from midspec.core.records import Strict
from midspec.evals._status import STATUS_MEASURES, count_words, status, without_thinking
from midspec.evals._types import EvalTask, ModelResponse, Question, Value
from midspec.evals.tasks.side_effects._items import PanelConfig, panel_questions, unscorable

# Full stops that end no sentence: in numbers and initials, and behind titles and abbreviations.
_POINT_INSIDE = re.compile(
    r"(?<=\d)[.](?=\d)|(?<=\b\w)[.](?=\w\b)|(?<=\b[A-HJ-Z])(?<!\.[A-Z])[.](?=\s[A-Z])"
    r"|(?<=\b(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Fig|fig|Vol|vol))[.](?=\s\d)"
    r"|(?<=\b(?:Dr|Mr|Ms|St|Jr|Sr|No|vs|cf))[.](?=\s)|(?<=\bMrs)[.](?=\s)|(?<=\b(?:Prof|Capt))[.](?=\s)"
)
_ENDS = re.compile(r"([.!?\u2026]+)([\"'\u201d\u2019)\]*_]*)(?=\s|$)|([\u3002\uff01\uff1f]+)")


def n_sentences(text: str) -> int:
    """Count sentences: a stop behind a title or within a quotation that the sentence goes on after ends none."""
    text = _POINT_INSIDE.sub("", " ".join(text.split()))
    n_ends, end = 0, 0
    for found in _ENDS.finditer(text):
        # "Stop!" he said. Apple Inc. in Ohio. Where nothing begins with a capital letter, that tells nothing.
        goes_on = text != text.lower() and re.match(r"\s+[a-z]", text[found.end() :])
        if not goes_on and any(char.isalnum() for char in text[end : found.end()]):
            n_ends, end = n_ends + 1, found.end()
    return n_ends + any(char.isalnum() for char in text[end:])


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
    """Return whether `text`, without white space around it, is as `check` says."""
    return CHECKS[check.kind](text.strip(), check)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _comma_parts(text: str) -> list[str]:
    return [part.strip() for part in text.rstrip(".").split(",")]


def _count(text: str, word: str) -> int:
    # Marks of emphasis are no part of a word: _lantern_, **lantern**.
    return len(re.findall(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text, flags=re.I))


def _is_json_with(text: str, keys: Sequence[str]) -> bool:
    fenced = re.fullmatch(r"```[ \t]*(?:json)?[ \t]*\r?\n(.*)\n[ \t]*```", text, flags=re.S | re.I)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == set(keys)


CHECKS: dict[str, Callable[[str, Check], bool]] = {
    "words_exactly": lambda text, check: count_words(text) == check.n,
    "words_at_most": lambda text, check: 0 < count_words(text) <= check.n,
    "words_at_least": lambda text, check: count_words(text) >= check.n,
    "sentences": lambda text, check: n_sentences(text) == check.n,
    "lines": lambda text, check: len(_lines(text)) == check.n,
    "paragraphs": lambda text, check: sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text)) == check.n,
    "bullets": lambda text, check: sum(line.startswith("- ") for line in _lines(text)) == check.n,
    "numbered": lambda text, check: (
        [found[1] for line in _lines(text) if (found := re.match(r"(\d+)\.\s", line))]
        == [str(number) for number in range(1, check.n + 1)]
    ),
    "comma_separated": lambda text, check: (
        all(_comma_parts(text))
        and len(_comma_parts(text)) == check.n == len({part.casefold() for part in _comma_parts(text)})
    ),
    "in_order": lambda text, check: [line.casefold() for line in _lines(text)] == [w.casefold() for w in check.words],
    "lowercase": lambda text, _: text == text.lower() and any(char.islower() for char in text),
    "uppercase": lambda text, _: text == text.upper() and any(char.isupper() for char in text),
    "contains": lambda text, check: all(_count(text, word) for word in check.words),
    "avoids": lambda text, check: not any(_count(text, word) for word in check.words),
    "times": lambda text, check: _count(text, check.text) == check.n,
    "without": lambda text, check: check.text.casefold() not in text.casefold(),
    "begins": lambda text, check: text.startswith(check.text),
    "ends": lambda text, check: text.endswith(check.text),
    "json": lambda text, check: _is_json_with(text, check.words),
    "one_of": lambda text, check: text in check.words,
    "same": lambda text, check: re.sub(r",\s*", ", ", " ".join(text.split())) == check.text,
}


class _Asked(Strict):
    checks: tuple[Check, ...]


@final
class Instructions(EvalTask[PanelConfig]):
    """`followed`: 1 where every instruction of the request is followed, else 0."""

    name: ClassVar[str] = "panel_instructions"
    config: ClassVar[type[PanelConfig]] = PanelConfig
    measures: ClassVar[tuple[str, ...]] = ("followed", *STATUS_MEASURES)
    title: ClassVar[str] = "Instructions"
    main_measures: ClassVar[tuple[str, ...]] = ("followed",)

    def questions(self, config: PanelConfig) -> tuple[Question, ...]:
        """Return 36 requests of nine kinds, and 20 texts to repeat."""
        return panel_questions("instructions", config)

    def read(self, question: Question, response: ModelResponse, config: PanelConfig) -> dict[str, Value]:
        """Return whether all checks of a program hold; unscored where refused, empty or cut off."""
        text, checks = without_thinking(response.text), _Asked.model_validate(question.about).checks
        followed = unscorable(response, config) or float(all(holds(check, text) for check in checks))
        return {"followed": followed, **status(response, config.refusal_markers)}
