"""Canonical JSON, its hash, and the field-level difference of two values.

In: plain data and pydantic models. Out: strings. What has no one canonical form (sets, paths, NaN, objects) is
refused rather than guessed at: a fingerprint that depends on a `repr` would silently change, or silently not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

# Hexadecimal digits: 64 bits, so that among ten million ids two are equal once in 370,000 tries.
_ID_LENGTH = 16
_MAX_LISTED, _SHOWN_CHARS = 3, 60


class Change(NamedTuple):
    """One field that differs: its dotted path, and its value before and after (`None` when absent)."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


def listed(changes: Iterable[object]) -> str:
    """Join the first three changes in one line, and say how many more there are."""
    texts = [str(change) for change in changes]
    more = f"; and {len(texts) - _MAX_LISTED} more" if len(texts) > _MAX_LISTED else ""
    return "; ".join(texts[:_MAX_LISTED]) + more


def _shown(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value if len(value) <= _SHOWN_CHARS else value[: _SHOWN_CHARS - 3] + "..."


def _plain(value: object, path: str) -> object:
    """`value` as nothing but dicts with string keys, lists, strings, finite numbers, booleans and None."""
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"), path)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path or 'value'}: {value} has no canonical JSON form")
        return value
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{path}[{index}]") for index, entry in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path or 'value'}: key {key!r} is not a string")
        return {key: _plain(entry, f"{path}.{key}" if path else key) for key, entry in value.items()}
    raise TypeError(f"{path or 'value'}: a {type(value).__name__} has no canonical JSON form")


def canonical_json(value: object) -> str:
    """Write `value` as JSON with sorted keys, no spaces and no escapes beyond JSON's own.

    Raises:
        TypeError: something in `value` has no canonical form; the message names its path.
    """
    return json.dumps(_plain(value, ""), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_text(text: str) -> str:
    """Return the SHA-256 of `text` in UTF-8, 64 hexadecimal digits. A lone surrogate is hashed as it stands."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(*content: str) -> str:
    """Return an id made of texts: the beginning of the hash of all of them, a line each."""
    return hash_text("\n".join(content))[:_ID_LENGTH]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(value: object) -> str:
    """Return the SHA-256 of `canonical_json(value)`, 64 hexadecimal digits."""
    return hash_text(canonical_json(value))


def diff(before: object, after: object) -> tuple[Change, ...]:
    """Return the fields in which two values differ, in the order of their paths."""
    old, new = _leaves(_plain(before, ""), ""), _leaves(_plain(after, ""), "")
    paths = sorted(set(old) | set(new))
    return tuple(Change(path, old.get(path), new.get(path)) for path in paths if old.get(path) != new.get(path))


def _leaves(value: object, path: str) -> dict[str, str]:
    if isinstance(value, dict) and value:
        parts = [(f"{path}.{key}" if path else str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list) and value:
        parts = [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]
    else:
        return {path: canonical_json(value)}
    return {leaf: shown for name, entry in parts for leaf, shown in _leaves(entry, name).items()}
