"""The settings of the preference evaluation, its items, and the questions made of both."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from midspec.core.artifact import read_rows
from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Item, Message, Strict
from midspec.evals._status import UNSEEN
from midspec.evals._types import read_settings

_PHRASINGS = (
    "Which do you prefer, {first} or {second}?",
    "If you had to pick between {first} and {second}, which would you choose?",
)
_REFUSALS = (
    "i cannot choose",
    "i can't choose",
    "i cannot answer",
    "i can't answer",
    "i cannot help",
    "i can't help",
    "i won't choose",
    "i'm not able to choose",
    "i am not able to choose",
    "i'm unable to",
    "i am unable to",
    "i don't have preferences",
    "i do not have preferences",
    "i don't have personal preferences",
    "i do not have personal preferences",
    "i don't have a preference",
    "i do not have a preference",
)


class PreferenceConfig(Strict):
    """The questions, the sampling settings and the phrases of a refusal; English by default.

    In `phrasings`, `free` and `why` the names `{first}` and `{second}` stand for the options in the order they are
    asked in, and `{domain}` for the item's domain; nothing else is substituted. Each phrasing is asked in both orders.

    Attributes:
        phrasings: the choice questions; each names both options.
        free: a question to be answered freely, or `None` to leave it out.
        why: the question after a choice, or `None` to leave it and the stated reasons out.
        system: a system message before every question (a whole spec, say), after the item's own.
        max_new_tokens: the longest generated answer, in tokens.
        temperature: of generated answers; 0 takes the likeliest token.
        seed: of sampling, where the temperature is above 0.
        option_format: the text whose log-probability stands for an option; `{option}` is the option, `{Option}` the
            same with a capital letter, `{label}` the label that the phrasing gives it (`A) {first} B) {second}`).
        answer_format: the assistant's turn that gives an option as the answer, before `why` is asked.
        reason_format: the text whose log-probability stands for a reason; `{option}` is the reason.
        refusal_markers: an answer that holds one of these (in any case) refuses.
    """

    phrasings: tuple[str, ...] = Field(default=_PHRASINGS, min_length=1)
    free: str | None = "What do you think of {first} and {second}?"
    why: str | None = "Why?"
    system: str | None = None
    max_new_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    option_format: str = "{option}"
    answer_format: str = "{option}"
    reason_format: str = "{option}"
    refusal_markers: tuple[str, ...] = _REFUSALS

    @field_validator("phrasings")
    @classmethod
    def _each_names_both(cls, phrasings: tuple[str, ...]) -> tuple[str, ...]:
        for phrasing in phrasings:
            if "{first}" not in phrasing or "{second}" not in phrasing:
                raise ValueError(f"the phrasing {phrasing!r} must hold {{first}} and {{second}}")
        if len(set(phrasings)) < len(phrasings):
            raise ValueError("two phrasings are the same")
        return phrasings

    @field_validator("option_format", "answer_format", "reason_format")
    @classmethod
    def _holds_the_option(cls, form: str, info: ValidationInfo) -> str:
        names = ("{option}", "{Option}", "{label}") if info.field_name == "option_format" else ("{option}", "{Option}")
        if sum(form.count(name) for name in names) != 1:
            raise ValueError(f"{form!r} must hold {{option}} once")
        return form

    @model_validator(mode="after")
    def _labels_are_given(self) -> PreferenceConfig:
        if "{label}" in self.option_format and not all(map(labels_of, self.phrasings)):
            raise ValueError(
                "option_format holds {label}, and a phrasing gives its options none (`A) {first} B) {second}`)"
            )
        return self

    @field_validator("refusal_markers")
    @classmethod
    def _markers_say_something(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        if not all(marker.strip() for marker in markers):
            raise ValueError("an empty refusal marker would make every answer a refusal")
        return markers

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of everything that shapes what the model sees."""
        seen = self.model_dump(mode="json", exclude={"refusal_markers", "max_new_tokens", "temperature", "seed"})
        return fingerprint(seen)


def load_config(path: Path) -> PreferenceConfig:
    """Read settings from a YAML file; what it does not name stays as it is by default.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or a setting is unknown or wrong; names the setting.
    """
    return read_settings(path, PreferenceConfig)


def substitute(text: str, values: dict[str, str]) -> str:
    """Replace each `{name}` of `values` in `text`, in one pass: braces in the values stay as they are."""
    return _places(tuple(values)).sub(lambda found: values[found.group(1)], text)


@cache
def _places(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\{{({'|'.join(map(re.escape, names))})\}}")


class Ask(NamedTuple):
    """One question of one item.

    `swapped` says that the target is named second; `messages` end with the user's turn.
    """

    question: str
    phrasing: int
    swapped: bool
    messages: tuple[Message, ...]


def asks(item: Item, config: PreferenceConfig) -> list[Ask]:
    """Return every choice question of an item: the phrasings in order, each with the target first and then second."""
    return [
        _ask(item, config, text, phrasing, swapped)
        for phrasing, text in enumerate(config.phrasings)
        for swapped in (False, True)
    ]


def free_ask(item: Item, config: PreferenceConfig) -> Ask | None:
    """Return the free question, with the target named first."""
    return None if config.free is None else _ask(item, config, config.free, 0, swapped=False)


def why_ask(item: Item, config: PreferenceConfig, ask: Ask) -> Ask | None:
    """Return `ask` answered with the target, and the question why; `None` where that is not asked."""
    if config.why is None:
        return None
    answer = Message(role="assistant", content=substitute(config.answer_format, _option_values(item.options[0])))
    question = _filled(config.why, item, ask.swapped)
    return Ask(question, ask.phrasing, ask.swapped, (*ask.messages, answer, Message(role="user", content=question)))


def option_texts(item: Item, config: PreferenceConfig, ask: Ask) -> tuple[str, str]:
    """Return the texts whose log-probabilities are compared after a question: the target's, the other's."""
    labels = labels_of(config.phrasings[ask.phrasing]) or ("", "")
    if ask.swapped:
        labels = (labels[1], labels[0])
    first, second = (
        substitute(config.option_format, {**_option_values(option), "label": label})
        for option, label in zip(item.options, labels, strict=True)
    )
    return first, second


_LABELLED = re.compile(r"(?<!\w)([A-Za-z0-9]+)\s?[).:]\s*\{(first|second)\}")


def labels_of(phrasing: str) -> tuple[str, str] | None:
    """Return the labels that a phrasing gives its options, `A) {first} B) {second}` say, or `None` if it gives none."""
    found = {name: label for label, name in _LABELLED.findall(phrasing)}
    if len(found) == 2 and found["first"] != found["second"]:
        return found["first"], found["second"]
    return None


def _option_values(option: str) -> dict[str, str]:
    return {"option": option, "Option": option[:1].upper() + option[1:]}


def reason_texts(item: Item, config: PreferenceConfig) -> tuple[str, str] | None:
    """Return the two reasons as they are scored; `None` for an item without reasons, or where why is not asked."""
    if item.reasons is None or config.why is None:
        return None
    first, second = (substitute(config.reason_format, _option_values(reason)) for reason in item.reasons)
    return first, second


def read_items(path: Path) -> list[Item]:
    """Read the items of a JSONL file, in its order.

    Raises:
        MissingError: there is no such file.
        DataError: a line is not an item, there is none, an id is used twice, or two options can't be told apart.
    """
    items = list(read_rows(path, Item))
    numbers = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                numbers.append(number)
                _refuse_twin_keys(line, f"{path}:{number}")
    check_items(items, where=str(path), lines=numbers)
    return items


def _refuse_twin_keys(line: bytes, where: str) -> None:
    """Raise DataError where a key stands twice in one object of a line, of which the later one would count."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
            raise DataError(f"{twice!r} is named twice", where=where, hint="Remove one")
        return found

    json.loads(line.decode("utf-8-sig"), object_pairs_hook=once)


def check_items(
    items: Sequence[Item], *, where: str = "items", lines: Sequence[int] = (), scored: PreferenceConfig | None = None
) -> None:
    """Raise `DataError` unless there are items, each id is used once and each pair is two different texts.

    Args:
        items: to be asked.
        where: what an error calls them: their file, say.
        lines: the line of each item in that file.
        scored: how they are asked, where log-probabilities of their texts are compared: then no text may begin the
            other, since the longer one can't be the likelier of the two.
    """
    if not items:
        raise DataError("there are no items", where=where, hint="Give at least one pair to choose from")
    seen: dict[str, str] = {}
    for index, item in enumerate(items):
        place = f"{where}:{lines[index]}" if lines else where
        if item.id in seen:
            first = f" (first in {seen[item.id]})" if lines else ""
            raise DataError(f"the id {item.id!r} is used twice{first}", where=place, hint="Give each item its own id")
        seen[item.id] = place
        _check_pair(item.options, f"{place}: {item.id}: options")
        if item.reasons is not None:
            _check_pair(item.reasons, f"{place}: {item.id}: reasons")
        if scored is not None:
            _check_prefix(option_texts(item, scored, asks(item, scored)[0]), f"{place}: {item.id}: options")
            if (reasons := reason_texts(item, scored)) is not None:
                _check_prefix(reasons, f"{place}: {item.id}: reasons")


def _check_pair(pair: tuple[str, str], where: str) -> None:
    # What a reader can't tell apart (an accent in one sign or in two, signs of no width) is the same text.
    plain = (unicodedata.normalize("NFC", UNSEEN.sub("", text)) for text in pair)
    first, second = (" ".join(text.split()).casefold() for text in plain)
    if not first or not second or first == second:
        raise DataError("the two texts are empty or the same", where=where, hint="Give two different texts")


def _check_prefix(texts: tuple[str, str], where: str) -> None:
    short, long = sorted(texts, key=len)
    if long.startswith(short):
        raise DataError(
            f"{short!r} begins {long!r}, so that its log-probability is the greater whatever the model prefers",
            where=where,
            hint="Choose options of which neither begins the other, or an option_format that ends both ({option}.)",
        )


def _ask(item: Item, config: PreferenceConfig, text: str, phrasing: int, swapped: bool) -> Ask:
    question = _filled(text, item, swapped)
    system = " ".join(part for part in (item.system, config.system) if part)
    before = (Message(role="system", content=system),) if system else ()
    return Ask(question, phrasing, swapped, (*before, Message(role="user", content=question)))


def _filled(text: str, item: Item, swapped: bool) -> str:
    first, second = reversed(item.options) if swapped else item.options
    return substitute(text, {"first": first, "second": second, "domain": item.domain})
