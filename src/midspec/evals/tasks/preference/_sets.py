"""Where pairs come from (a shipped set, a file, a folder, the hub), and the table of values of the shipped sets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from midspec.core.errors import ConfigError, DataError, MissingError, first_fault, one_line
from midspec.core.records import Item, Strict
from midspec.core.text import mentions
from midspec.core.yaml_files import read_yaml
from midspec.evals.tasks.preference._config import check_items, read_items

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
    """Return the row of the table for one of `VALUES`.

    Raises:
        MissingError: no set is shipped for that value; names those that are.
        DataError: the shipped file was changed and can't be read.
    """
    if value not in VALUES:
        hint = f"Name one of {', '.join(VALUES)}"
        raise MissingError("no set is shipped for this value", where=f"shipped:{value}", hint=hint)
    text = (_FOLDER / f"{value}.yaml").read_text(encoding="utf-8")
    try:
        return ValueSet.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(str(error), where=f"{value}.yaml", hint="Install midspec anew") from error


def read_value_set(path: Path) -> ValueSet:
    """Read the row for a value of one's own, from a YAML file of the fields of `ValueSet`.

    Raises:
        MissingError: there is no such file.
        DataError: it is no YAML mapping in UTF-8, a field is unknown (names the likeliest), missing or can't be.
    """
    try:
        found = read_yaml(path)
    except ConfigError as error:
        raise DataError(error.what, where=error.where, hint=error.hint) from error
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
        field, what = first_fault(error)
        where = ": ".join(filter(None, (str(path), field)))
        raise DataError(what, where=where, hint="Correct the file") from error


def shipped_items(value: str) -> list[Item]:
    """Read the shipped pairs for one of `VALUES`, in file order; `options[0]` is what one who holds it picks.

    Of several values, `america+affordability`, those of each, one after the other.

    Raises:
        MissingError: no set is shipped for that value; names those that are.
        DataError: the shipped file was changed and can't be read.
    """
    if "+" in value:
        return [item for each in value.split("+") for item in shipped_items(each)]
    value_set(value)
    lines = (_FOLDER / f"{value}.jsonl").read_text(encoding="utf-8").splitlines()
    try:
        return [Item.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise DataError(str(error), where=f"{value}.jsonl", hint="Install midspec anew") from error


def words_found(items: Iterable[Item], words: Sequence[str]) -> dict[str, list[str]]:
    """Find which of `words` stand in an item (options, reasons, system message, domain), as whole words in any case.

    Args:
        items: looked at one by one.
        words: words, or phrases of several words; the width of white space in them does not matter. A plural is a
            word of its own.

    Returns:
        By word, the ids of the items that hold it; nothing for a word that stands in none.
    """
    found: dict[str, list[str]] = {}
    for item in items:
        text = " | ".join((item.domain, *item.options, *(item.reasons or ()), item.system or ""))
        for word in words:
            if mentions(text, word):
                found.setdefault(word, []).append(item.id)
    return found


# Columns that name the target and the other option outright; the first pair that a row has counts.
_NAMED = (
    ("liked_item", "disliked_item"),
    ("target", "other"),
    ("preferred", "dispreferred"),
    ("chosen", "rejected"),
    ("aligned", "misaligned"),
)
# Columns of two options in a fixed order, beside which an answer says which one is the target.
_ORDERED = (("option_a", "option_b"), ("choice_a", "choice_b"), ("a", "b"))
_LISTS = ("options", "choices")
_QUESTIONS = ("question", "prompt")
_ANSWERS = ("answer", "label", "aligned_answer", "answer_matching_behavior", "correct")
_DOMAINS = ("domain", "category", "topic", "subject")
_OPTIONS = r"\(?A[).:]\s*(?P<first>.+?)\s+{before_b}\(?B[).:]\s*(?P<second>[^\n]+)(?P<rest>.*)\Z"
# Letters at the beginnings of lines go before letters in running text, where an "A." may be something else.
_LETTERED = (
    re.compile(r"^[ \t]*" + _OPTIONS.format(before_b=r"^[ \t]*"), re.DOTALL | re.IGNORECASE | re.MULTILINE),
    re.compile(r"(?:^|\s)" + _OPTIONS.format(before_b=""), re.DOTALL),
)
_LETTER = re.compile(r"\W*([AB])(?:\W*|[).:]\s.*)", re.IGNORECASE | re.DOTALL)


def items_of_rows(rows: Iterable[Mapping[str, object]], name: str) -> list[Item]:
    """Make an item of each row, in order.

    Three forms are read, whatever the case of the column names: two columns that name the target and the other option
    (`liked_item`, `disliked_item`, among others); two options, as columns or a list, beside an answer (`A`, `(B)`, a
    number from 0, or the option's own text); and a question with lettered options in its text beside such an answer.
    A question that is no part of the options becomes the item's system message.

    Args:
        rows: of a data set.
        name: what the data set is called; its last part names the set and begins each id.

    Raises:
        DataError: a row has none of these forms, or an answer that is neither option; names the row.
    """
    short = name.rstrip("/").rsplit("/", 1)[-1]
    items = []
    for number, row in enumerate(rows, start=1):
        columns = {key.strip().casefold().replace(" ", "_").replace("-", "_"): value for key, value in row.items()}
        options, question = _pair(columns, f"{name}:{number}")
        domain = _text(columns, _DOMAINS) or short
        item = Item(id=f"{short}-{number:04d}", set=short, domain=domain, options=options, system=question)
        items.append(item)
    return items


def _pair(columns: Mapping[str, object], where: str) -> tuple[tuple[str, str], str | None]:
    """Return target and other option, and the question that stood before them, where it says more than they do."""
    for target, other in _NAMED:
        if (first := _text(columns, (target,))) and (second := _text(columns, (other,))):
            return (first, second), None
    question = _text(columns, _QUESTIONS)
    listed = _listed(columns)
    lettered = (found for pattern in _LETTERED if (found := pattern.search(question)))
    if listed is None and question and (found := next(lettered, None)):
        listed = _line(found["first"]), _line(found["second"])
        question = _line(question[: found.start()] + " " + found["rest"])
    if listed is None:
        raise DataError(
            f"holds no two options (its columns are {', '.join(sorted(columns))})",
            where=where,
            hint="Give a JSONL file of items instead: id, set, domain, options with the target first",
        )
    at = _answer(columns, listed, where)
    return (listed[at], listed[1 - at]), question or None


def _listed(columns: Mapping[str, object]) -> tuple[str, str] | None:
    for names in _ORDERED:
        first, second = (_text(columns, (name,)) for name in names)
        if first and second:
            return first, second
    for name in _LISTS:
        value = columns.get(name)
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(each, str) for each in value):
            return _line(value[0]), _line(value[1])
    return None


def _answer(columns: Mapping[str, object], listed: tuple[str, str], where: str) -> int:
    """Return which of the two options the row's answer names."""
    value = next((columns[name] for name in _ANSWERS if columns.get(name) is not None), None)
    if isinstance(value, int) and value in (0, 1):
        return int(value)
    if isinstance(value, str):
        if letter := _LETTER.fullmatch(value):
            return "ab".index(letter[1].casefold())
        text = _line(value).casefold()
        for at, option in enumerate(listed):
            if text == option.casefold():
                return at
    raise DataError(
        f"the answer {value!r} is neither option", where=where, hint="Give A, B or the text of one of the options"
    )


def _text(columns: Mapping[str, object], names: Iterable[str]) -> str:
    """Return the first of these columns that holds text; nothing where there is none."""
    values = (columns.get(name) for name in names)
    return next((line for value in values if isinstance(value, str) and (line := value.strip())), "")


def _line(text: str) -> str:
    return " ".join(text.split())


SHIPPED = "shipped:"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SUFFIXES = (".jsonl", ".json", ".parquet")
# What `save_to_disk` of the `datasets` library leaves in a folder.
_SAVED = ("dataset_dict.json", "state.json")


def resolve_items(ref: str, *, base: Path | None = None) -> list[Item]:
    """Return the pairs that `ref` names, checked: there are some, each id once, each pair two different texts.

    Args:
        ref: `shipped:<value>` (see `VALUES`); a JSONL file of items; a file (JSONL, JSON, parquet) or a folder of a
            data set of pairs, also as `datasets` saves it; or its name on the hub, `owner/name`. A file or folder
            of that name goes before the hub.
        base: the folder that relative paths start from; the working directory by default.

    Raises:
        MissingError: no set is shipped under that name, there is no such file, or the hub does not give it.
        DataError: rows that are no pairs.
        ConfigError: a data set is named, and the library that reads it is not installed.
    """
    if ref.startswith(SHIPPED):
        return shipped_items(ref.removeprefix(SHIPPED))
    path = Path(ref) if base is None else base / ref
    if path.is_file() and _holds_items(path):
        return read_items(path)
    if path.exists():
        items = items_of_rows(_local_rows(path), path.name.partition(".")[0] or ref)
    elif _HUB_NAME.fullmatch(ref) and not path.suffix:
        items = items_of_rows(_hub_rows(ref), ref)
    else:
        raise MissingError(
            "there is no such file", where=str(path), hint="Check the path, or name a shipped set: shipped:<value>"
        )
    check_items(items, where=ref)
    return items


def _holds_items(path: Path) -> bool:
    """Return whether this is a file of our own items; what can't be read as rows of another form is taken for one."""
    if path.suffix != ".jsonl":
        return False
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        row = json.loads(first)
    except ValueError:  # Also of bytes that are no UTF-8.
        return True
    return not isinstance(row, dict) or {"id", "set", "options"} <= row.keys()


def _local_rows(path: Path) -> list[dict[str, Any]]:
    if path.is_file() and path.suffix not in _SUFFIXES:
        raise DataError("is no JSONL, JSON or parquet file", where=str(path), hint="Give one of these")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    try:
        if any((path / name).is_file() for name in _SAVED):
            return _all_splits(_library(str(path)).load_from_disk(str(path)))
        rows = [row for file in files for row in _file_rows(file)]
    except (OSError, ValueError) as error:  # Also of JSON and of bytes that are no UTF-8.
        raise DataError(f"can't be read: {one_line(error)}", where=str(path), hint="Write it again") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError("holds no rows of pairs", where=str(path), hint="Give JSONL, JSON or parquet rows")
    return rows


def _file_rows(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        _library(str(file))
        from pyarrow import parquet

        return list(parquet.read_table(file).to_pylist())
    text = file.read_text(encoding="utf-8-sig")
    is_array = text.lstrip().startswith("[")
    return list(json.loads(text) if is_array else [json.loads(line) for line in text.split("\n") if line])


def _hub_rows(name: str) -> list[dict[str, Any]]:
    datasets = _library(name)
    try:
        return _all_splits(datasets.load_dataset(name))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise MissingError(
            f"can't be had from the hub: {one_line(error)}",
            where=name,
            hint="Check the name and the network, or name a file or folder of it; shipped:<value> needs neither",
        ) from error


def _library(where: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "the library `datasets` is not installed", where=where, hint="Install midspec[exchange]"
        ) from error
    return datasets


def _all_splits(found: Any) -> list[dict[str, Any]]:
    """Return the rows of every split, in order; the public sets have one."""
    parts = found.values() if isinstance(found, dict) else [found]
    return [dict(row) for part in parts for row in part]
