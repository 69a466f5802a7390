"""The lists that filters look things up in: files that a person can read and add to."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import AfterValidator, Field, ValidationError

from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Strict

ListT = TypeVar("ListT", bound=Strict)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from error
    return text


class Phrases(Strict):
    """What shows that a text is not what it was meant to be; see the shipped file for what each list is for."""

    anywhere: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    placeholders: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ()
    tags: tuple[str, ...] = ()


class Family(Strict):
    """The names of one maker's assistants and models: certain ones, and ones that are ordinary words as well."""

    certain: tuple[str, ...] = ()
    common: tuple[str, ...] = ()


class Brands(Strict):
    """Every family of names, and the words that make an ordinary word one of them."""

    families: tuple[Family, ...] = Field(min_length=1)
    cues: tuple[str, ...] = ()


class Planting(Strict):
    """Words to plant violations with. Slots: `{model}`, `{provider}`, `{clause}`.

    Attributes:
        swaps: pairs of words or phrases that turn a statement into its opposite, in both directions.
        one_way: the same from the first to the second only.
        reasons, values, rules: sentences that no spec says.
        denials: sentences that deny a clause.
        brands: (assistant, maker) of others.
    """

    swaps: tuple[tuple[str, str], ...] = Field(min_length=1)
    one_way: tuple[tuple[str, str], ...] = ()
    reasons: tuple[str, ...] = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1)
    rules: tuple[str, ...] = Field(min_length=1)
    denials: tuple[str, ...] = Field(min_length=1)
    brands: tuple[tuple[str, str], ...] = Field(min_length=1)


@lru_cache(maxsize=8)
def load_phrases(name: str) -> Phrases:
    """The phrases shipped under `name`, or those of the YAML file at that path.

    Raises:
        MissingError: neither shipped nor a file.
        ConfigError: not YAML, or not of this form.
    """
    return _load(name, Phrases)


@lru_cache(maxsize=1)
def load_brands() -> Brands:
    """The shipped list of other assistants and their makers."""
    return _load("brands", Brands)


@lru_cache(maxsize=1)
def load_planting() -> Planting:
    """The shipped words to plant violations with."""
    return _load("planting", Planting)


def _load(name: str, kind: type[ListT]) -> ListT:
    shipped = resources.files("midspec.curate") / "_lists" / f"{name}.yaml"
    if name.isidentifier() and shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise MissingError("there are no such lists", where=name, hint="Give `english` or a YAML file's path")
    try:
        return kind.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"is not YAML ({error})", where=name, hint="Mend the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{field}: {first['msg']}", where=name, hint="Mend that field of the lists") from error


def whole_words(phrases: tuple[str, ...], *, ignore_case: bool = True, versions: bool = False) -> re.Pattern[str]:
    """A pattern for any of the phrases as whole words, with any white space between; the longest is found first.

    With `versions`, digits may follow without a space, as they do in names of models.
    """
    ordered = sorted((phrase for phrase in phrases if phrase.strip()), key=len, reverse=True)
    forms = [r"\s+".join(map(re.escape, phrase.split())) for phrase in ordered]
    either = "|".join(forms) if forms else "(?!)"
    end = r"(?![^\W\d])" if versions else r"(?!\w)"
    return re.compile(rf"(?<![\w-])(?:{either}){end}", re.IGNORECASE if ignore_case else 0)
