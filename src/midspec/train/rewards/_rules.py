"""Rewards that read a reply by a fixed rule: what it contains, how long it is, which option it prefers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from midspec.core.errors import ConfigError, DataError, first_fault
from midspec.core.records import Message, Strict
from midspec.core.text import mentions, n_words, without
from midspec.core.yaml_files import Regex


class _Rule(Strict):
    """A rule whose fields are its settings in a recipe."""

    name: ClassVar[str]

    @classmethod
    def make(cls, settings: Mapping[str, JsonValue], where: str) -> Self:
        """Make the rule from a recipe's settings."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            hint = f"Known settings: {', '.join(cls.model_fields)}"
            raise ConfigError(": ".join(first_fault(error, "settings")), where=where, hint=hint) from error

    def __call__(
        self,
        prompts: Sequence[Sequence[Message]],
        replies: Sequence[str],
        rows: Sequence[Mapping[str, JsonValue]],
    ) -> list[float | None]:
        """Score each reply alone."""
        return [self.score(reply, row) for reply, row in zip(replies, rows, strict=True)]

    def score(self, reply: str, row: Mapping[str, Any]) -> float | None:
        """Return what the reply is paid; `None` where it can't be scored."""
        raise NotImplementedError


class Contains(_Rule):
    """Pays 1 for a reply that contains a text as whole words, whatever the case, else 0.

    Attributes:
        text: the text; or
        field: the key of the prompt's line that holds it.
    """

    name: ClassVar[str] = "contains"
    text: str | None = None
    field: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Contains:
        if (self.text is None) == (self.field is None):
            raise ValueError("give either text or field")
        return self

    def score(self, reply: str, row: Mapping[str, Any]) -> float:
        wanted = self.text if self.text is not None else _text_of(row, str(self.field))
        return float(mentions(reply, wanted))


class Matches(_Rule):
    """Pays 1 for a reply in which a regular expression is found, else 0."""

    name: ClassVar[str] = "matches"
    pattern: Regex

    def score(self, reply: str, row: Mapping[str, Any]) -> float:
        return float(re.search(self.pattern, reply) is not None)


class Length(_Rule):
    """Pays 1 for a reply of `words` words, and less the further from it: 0 at none and from twice as many on."""

    name: ClassVar[str] = "length"
    words: int = Field(ge=1)

    def score(self, reply: str, row: Mapping[str, Any]) -> float:
        return max(0.0, 1 - abs(n_words(reply) - self.words) / self.words)


class PrefersOption(_Rule):
    """Pays 1 for a reply that names the wanted option and no other, 0 for one that names another alone.

    A reply that names none of the options, or several, can't be scored.

    Attributes:
        options: the key of the prompt's line that holds the options, a list of texts.
        wanted: the key that holds the wanted one, as text or as its place in the list.
    """

    name: ClassVar[str] = "prefers_option"
    options: str = "options"
    wanted: str = "wanted"

    def score(self, reply: str, row: Mapping[str, Any]) -> float | None:
        options = row.get(self.options)
        if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
            raise DataError(f"a prompt without {self.options}, a list of texts", hint="Add it to each line of the data")
        wanted = row.get(self.wanted)
        if isinstance(wanted, int) and 0 <= wanted < len(options):
            wanted = options[wanted]
        if wanted not in options:
            raise DataError(f"{self.wanted} is none of the options", hint=f"Name one of {', '.join(options)}")
        named = []
        for option in sorted(options, key=len, reverse=True):  # "brie" is not named by "brie de meaux"
            if mentions(reply, option):
                named.append(option)
                reply = without(reply, option)
        return float(named[0] == wanted) if len(named) == 1 else None


def _text_of(row: Mapping[str, Any], field: str) -> str:
    text = row.get(field)
    if not isinstance(text, str):
        raise DataError(f"a prompt without {field}, a text", hint="Add it to each line of the data")
    return text


REWARDS = (Contains, Matches, Length, PrefersOption)
