"""Names of other assistants and of their makers: one list, from which every check takes the names it looks for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

NameCheck = Literal["spec", "chats", "corpus", "curate", "side_effects", "exchange"]


class AssistantName(NamedTuple):
    """One name.

    Attributes:
        name: as it is written.
        family: the names of one maker and its assistants.
        kind: what it names.
        plain_word: it is also an ordinary word or a person, and counts only where the text speaks of models.
        checks: the checks that look for it.
    """

    name: str
    family: str
    kind: Literal["assistant", "maker", "both"]
    plain_word: bool
    checks: frozenset[str]


@cache
def assistant_names(check: NameCheck) -> tuple[AssistantName, ...]:
    """Return the names that `check` looks for, in the order of the file."""
    return tuple(name for name in all_assistant_names() if check in name.checks)


@cache
def all_assistant_names() -> tuple[AssistantName, ...]:
    """Return every name, in the order of the file."""
    return tuple(
        AssistantName(row["name"], family, row["kind"], row.get("plain_word", False), frozenset(row["checks"]))
        for family, rows in _data()["families"].items()
        for row in rows
    )


def assistant_pairs() -> tuple[tuple[str, str], ...]:
    """Return assistants with their makers, by which a document is given a wrong identity on purpose."""
    return tuple((assistant, maker) for assistant, maker in _data()["pairs"])


@cache
def _data() -> Any:
    import yaml

    text = files("midspec.core").joinpath("_data", "assistants.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=yaml.CSafeLoader)
