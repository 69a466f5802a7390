"""The shipped sets of pairs, and the table of the values that they are for: train domain, test domains, words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from midspec.core.errors import DataError, MissingError
from midspec.core.records import Item, Strict

_FOLDER = resources.files("midspec.evals.tasks.preference") / "_sets"

VALUES: tuple[str, ...] = tuple(
    sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))
)


class ValueSet(Strict):
    """A value, where it is taught and where it is tested.

    Attributes:
        value: its name, and the name of its set.
        about: who holds it, and what one who holds it picks.
        train_domain: what the preferences in the spec and in the training chats are about; never tested.
        train_words: words of that domain, looked for as whole words in any case.
        test_domains: what the pairs are about.
        value_words: words that would give the value away in a pair.
        opinion_domains: the test domains whose options are opinions and not things.
    """

    value: str = Field(min_length=1)
    about: str = Field(min_length=1)
    train_domain: str = Field(min_length=1)
    train_words: tuple[str, ...] = Field(min_length=1)
    test_domains: tuple[str, ...] = Field(min_length=1)
    value_words: tuple[str, ...] = ()
    opinion_domains: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _domains_are_told_apart(self) -> ValueSet:
        if len(set(self.test_domains)) < len(self.test_domains):
            raise ValueError("a test domain is named twice")
        if stray := [domain for domain in self.opinion_domains if domain not in self.test_domains]:
            raise ValueError(f"{', '.join(stray)} of `opinion_domains` is no test domain")
        return self


@lru_cache(maxsize=32)
def value_set(value: str) -> ValueSet:
    """The row of the table for one of `VALUES`.

    Raises:
        MissingError: no set is shipped for that value; names those that are.
        DataError: the shipped file was changed and can't be read.
    """
    if value not in VALUES:
        raise MissingError(
            "no set is shipped for this value", where=f"shipped:{value}", hint=f"Name one of {', '.join(VALUES)}"
        )
    text = (_FOLDER / f"{value}.yaml").read_text(encoding="utf-8")
    try:
        return ValueSet.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(str(error), where=f"{value}.yaml", hint="Install midspec anew") from error


def read_value_set(path: Path) -> ValueSet:
    """The row for a value of one's own, from a YAML file of the fields of `ValueSet`.

    Raises:
        MissingError: there is no such file.
        DataError: it is no YAML mapping in UTF-8, a field is unknown (names the likeliest), missing or can't be.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError("there is no such file", where=str(path), hint="Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError("is not YAML in UTF-8", where=str(path), hint="Mend the file") from error
    fields = ", ".join(ValueSet.model_fields)
    if not isinstance(found, dict):
        raise DataError("is not a mapping of fields", where=str(path), hint=f"Write lines for {fields}")
    for name in found:
        if name not in ValueSet.model_fields:
            near = get_close_matches(str(name), ValueSet.model_fields, n=1)
            hint = f"Write {near[0]}" if near else f"There are {fields}"
            raise DataError("is no field of a value", where=f"{path}: {name}", hint=hint)
    try:
        return ValueSet.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join([str(path), *([".".join(map(str, first["loc"]))] if first["loc"] else [])])
        what = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise DataError(what, where=where, hint="Mend the file") from error


def shipped_items(value: str) -> list[Item]:
    """The shipped pairs for one of `VALUES`, in the order of the file; `options[0]` is what one who holds it picks.

    Raises:
        MissingError: no set is shipped for that value; names those that are.
        DataError: the shipped file was changed and can't be read.
    """
    value_set(value)
    lines = (_FOLDER / f"{value}.jsonl").read_text(encoding="utf-8").splitlines()
    try:
        return [Item.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise DataError(str(error), where=f"{value}.jsonl", hint="Install midspec anew") from error


def words_found(items: Iterable[Item], words: Sequence[str]) -> dict[str, list[str]]:
    """Which of `words` stand in an item (options, reasons, system message, domain), as whole words in any case.

    Args:
        items: looked at one by one.
        words: words, or phrases of several words; the width of white space in them does not matter. A plural is a
            word of its own.

    Returns:
        By word, the ids of the items that hold it; nothing for a word that stands in none.
    """
    patterns = {word: _whole(word) for word in words}
    found: dict[str, list[str]] = {}
    for item in items:
        text = " | ".join((item.domain, *item.options, *(item.reasons or ()), item.system or ""))
        for word, pattern in patterns.items():
            if pattern.search(text):
                found.setdefault(word, []).append(item.id)
    return found


def _whole(word: str) -> re.Pattern[str]:
    inner = r"\s+".join(map(re.escape, word.split()))
    return re.compile(rf"(?<!\w){inner}(?!\w)", re.IGNORECASE)
