"""What a preference evaluation asks, and how it reads the answers: all of it data, nothing of it code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from pydantic import Field, field_validator

from midspec.evals._settings import read_settings
from midspec.fingerprint import fingerprint
from midspec.records import Strict

__all__ = ["PreferenceConfig", "load_config"]

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
    """The questions, the sampling settings and the marks of a refusal. English unless told otherwise.

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
        option_format: the text whose log-probability stands for an option; `{option}` is the option.
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
    seed: int = 0
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
    def _holds_the_option(cls, form: str) -> str:
        if form.count("{option}") != 1:
            raise ValueError(f"{form!r} must hold {{option}} once")
        return form

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
    """The settings in a YAML file; what it does not name stays as it is by default.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or a setting is unknown or wrong; names the setting.
    """
    return read_settings(path, PreferenceConfig)


def substitute(text: str, values: dict[str, str]) -> str:
    """`text` with each `{name}` of `values` replaced, in one pass: braces in the values stay as they are."""
    return _places(tuple(values)).sub(lambda found: values[found.group(1)], text)


@cache
def _places(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\{{({'|'.join(map(re.escape, names))})\}}")
