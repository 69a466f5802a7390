"""A spec that is JSON: rules as objects `{id, name, text}`, in a list, by domain, or one a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from midspec.records import Strict

__all__ = ["Rule", "rules_of_json"]


class Rule(Strict):
    """One rule of a rules file; `domain` is empty where the file names none."""

    id: str
    name: str
    text: str
    domain: str = ""


def rules_of_json(text: str) -> list[Rule]:
    """The rules of a text that is JSON rules and nothing else; empty for any other text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return []
    try:
        values = [json.loads(text)]
    except (ValueError, RecursionError):
        try:
            values = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            return []
    return [rule for value in values for rule in _rules(value, "")]


def _rules(value: object, domain: str) -> Iterator[Rule]:
    if isinstance(value, list):
        for entry in value:
            yield from _rules(entry, domain)
    elif isinstance(value, dict) and isinstance(value.get("text"), str):
        identity, name = value.get("id", ""), value.get("name", "")
        yield Rule(id=str(identity), name=str(name), text=value["text"], domain=domain)
    elif isinstance(value, dict):
        own = next((str(value[key]) for key in ("domain", "name", "title") if key in value), domain)
        for key in ("domains", "rules"):
            yield from _rules(value.get(key, []), own)
