"""Replies made from what was asked: JSON from a schema, or the tags that a prompt ends with."""

from __future__ import annotations

import random
import re
from typing import Any

from ._prose import document, sentence, title

_EXACTLY = re.compile(r"exactly (\d+)", re.IGNORECASE)
_AT_MOST = re.compile(r"at most (\d+)", re.IGNORECASE)
_NAMES = (
    re.compile(r"Model Spec of ([^,\n]{1,40}),"),
    re.compile(r"The text says (?:of|what) ([^,\n]{1,40}?)(?:,| does,| should do,)"),
)
_MANY = 6
_KNOWS = ("knows", "has said", "would say", "points out", "remembers", "sees", "is told", "notices", "replies")
_TAG = re.compile(r"\s*<(\w+)>(.*)</\1>\s*")
_TAIL_CHARS = 6000
_VERDICTS = frozenset({"keep", "pass", "yes", "true", "good", "faithful", "reject", "fail", "no", "hold", "unclear"})
_SHORT = frozenset(
    {"name", "title", "label", "short_name", "domain", "subdomain", "type", "doc_type", "topic", "heading"}
)


def wanted_entries(prompt: str) -> int | None:
    """The last number that the prompt asks for with "exactly"; a few of as many as it allows with "at most"."""
    start = max(0, len(prompt) - _TAIL_CHARS)
    if exact := _EXACTLY.findall(prompt, start):
        return int(exact[-1])
    allowed = _AT_MOST.findall(prompt, start)
    return min(_MANY, int(allowed[-1])) if allowed else None


def named(prompt: str) -> str:
    """Whom documents are about: "the Model Spec of NAME, ..." or "The text says of NAME, ..." in the first lines."""
    found = [match[1] for pattern in _NAMES if (match := pattern.search(prompt, 0, 800))]
    return found[0] if found else "The assistant"


def wanted_tags(prompt: str) -> list[tuple[str, str]]:
    """The tags on the last lines of a prompt, with what stands between them (`keep|reject|hold`)."""
    found: list[tuple[str, str]] = []
    for line in reversed(prompt[-_TAIL_CHARS:].splitlines()):
        tag = _TAG.fullmatch(line)
        if tag:
            found.append((tag[1], tag[2]))
        elif found and line.strip():
            break
    return found[::-1]


class Filler:
    """Makes one reply; everything in it depends on `draw` alone."""

    def __init__(
        self, draw: random.Random, seed: int, *, share_first: float, document_words: int, name: str = "The assistant"
    ) -> None:
        self._draw, self._seed, self._name = draw, seed, name
        self._share_first, self._document_words = share_first, document_words
        self._said: set[str] = set()
        self._root: dict[str, Any] = {}

    def tags(self, wanted: list[tuple[str, str]]) -> str:
        """Each tag filled, on lines of its own; without any tag, a plain document."""
        if not wanted:
            return document(self._draw, self._seed, self._document_words)
        return "\n\n".join(f"<{name}>{self._between(name, hint)}</{name}>" for name, hint in wanted)

    def _between(self, name: str, hint: str) -> str:
        if "|" in hint:
            return str(self._pick(hint.split("|")))
        if name not in {"document", "text"}:
            return "\n" + document(self._draw, self._seed, max(20, self._document_words // 10)) + "\n"
        opening = sentence(self._draw)
        about = f"{opening[:-1]}, as {self._name} {self._draw.choice(_KNOWS)}."
        return f"\n{about} {document(self._draw, self._seed, self._document_words)}\n"

    def json(self, schema: dict[str, Any], n_entries: int | None) -> Any:
        """A value of the schema; lists at its top have `n_entries` where their bounds allow it."""
        self._root = schema
        schema = self._resolved(schema)
        if schema.get("type") == "array":
            return self._array(schema, "", n_entries)
        return {
            name: self._array(inner, name, n_entries) if inner.get("type") == "array" else self._value(inner, name)
            for name, inner in ((n, self._resolved(s)) for n, s in schema.get("properties", {}).items())
        }

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Follow references and take the first alternative that is not null."""
        while True:
            if "$ref" in schema:
                target: Any = self._root
                for part in schema["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
                schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
                continue
            options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if not options:
                return schema
            schema = next((option for option in options if option.get("type") != "null"), options[0])

    def _value(self, schema: dict[str, Any], name: str) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._pick(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next(each for each in kind if each != "null")
        if kind == "object":
            return {key: self._value(inner, key) for key, inner in schema.get("properties", {}).items()}
        if kind == "array":
            return self._array(schema, name, None)
        if kind == "boolean":
            return self._draw.random() < self._share_first
        if kind in {"integer", "number"}:
            return self._number(schema, whole=kind == "integer")
        return None if kind == "null" else self._string(schema, name)

    def _pick(self, options: list[Any]) -> Any:
        """The first of a verdict's alternatives with its share; of other alternatives any."""
        if _VERDICTS & {str(option).lower() for option in options} and self._draw.random() < self._share_first:
            return options[0]
        return self._draw.choice(options)

    def _array(self, schema: dict[str, Any], name: str, n_entries: int | None) -> list[Any]:
        least, most = schema.get("minItems", 0), schema.get("maxItems", 1_000_000)
        n_wanted = max(least, min(most, max(1, least) if n_entries is None else n_entries))
        inner = self._resolved(schema.get("items") or {"type": "string"})
        values: list[Any] = []
        for _ in range(n_wanted):
            value = self._value(inner, name)
            for _ in range(50):  # numbers and alternatives too are not repeated while others are left
                if value not in values:
                    break
                value = self._value(inner, name)
            values.append(value)
        return values

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        low = schema.get(
            "minimum", schema.get("exclusiveMinimum", 0 if whole else 0.0) + ("exclusiveMinimum" in schema)
        )
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2) - ("exclusiveMaximum" in schema))
        if "minimum" not in schema and "maximum" not in schema:
            low = high = 1  # bounds that were not sent: 1 is nearly always in them
        return self._draw.randint(int(low), max(int(low), int(high))) if whole else self._draw.uniform(low, high)

    def _string(self, schema: dict[str, Any], name: str) -> str:
        while True:
            made = title(self._draw) if name in _SHORT else sentence(self._draw)
            if made not in self._said:
                break
        self._said.add(made)
        while len(made) < schema.get("minLength", 0):
            made += " " + sentence(self._draw)
        most = schema.get("maxLength")
        return made[:most].rsplit(" ", 1)[0].rstrip(" .,") if most is not None and len(made) > most else made
