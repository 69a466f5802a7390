"""From the text of a reply to a value, strictly: what is cut, doubled or missing is said, never mended."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

__all__ = ["Unreadable", "form_of", "json_reply", "tagged"]

_Kind = TypeVar("_Kind", bound=BaseModel)
_FENCED = re.compile(r"^```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n```[ \t]*$", re.S | re.M)
_FENCE = re.compile(r"^```", re.M)
_MOST_FAULTS = 5


class Unreadable(ValueError):  # noqa: N818 - reads as what it says of a reply
    """A reply that does not have the form it was asked for; the message says what is wrong, for the model to mend."""


def tagged(text: str, *names: str) -> tuple[str, ...]:
    """What stands inside each of the tags `names`, stripped; other text around the tags is left out.

    Raises:
        Unreadable: a tag is missing, there twice, not closed (a reply that was cut), inside or before another of
            `names`, or without a single word in it (an echo of the template).
    """
    found, at = [], 0
    for name in names:
        begin, end = f"<{name}>", f"</{name}>"
        for tag in (begin, end):
            if (n := text.count(tag)) != 1:
                raise Unreadable(f"{tag} must be there exactly once; it is there {n} times")
        start, stop = text.index(begin), text.index(end)
        if start < at or stop < start:
            raise Unreadable(f"{begin}...{end} must be one whole block, in the order asked for and outside other tags")
        inside = text[start + len(begin) : stop].strip()
        if not any(char.isalnum() for char in inside):
            raise Unreadable(f"{begin}...{end} is empty")
        found.append(inside)
        at = stop + len(end)
    return tuple(found)


def json_reply(text: str, kind: type[_Kind]) -> _Kind:
    """The reply as a `kind`: bare JSON, or JSON in the one ```json fence or the one pair of <json> tags that it has.

    Values are not converted (`"3"` is no number). JSON that was cut is refused, never completed.

    Raises:
        Unreadable: there is no JSON, or more than one block of it, or it is cut or not of this form.
    """
    inside = _json_in(text)
    if inside[:1] not in ("{", "["):
        raise Unreadable("the reply must be one JSON object or array and nothing else")
    try:
        return kind.model_validate_json(inside, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, fault['loc'])) or 'JSON'}: {fault['msg']}" for fault in faults[:_MOST_FAULTS]]
        more = f" (and {len(faults) - _MOST_FAULTS} more)" if len(faults) > _MOST_FAULTS else ""
        raise Unreadable("; ".join(shown) + more) from error


def _json_in(text: str) -> str:
    bare = text.strip()
    if bare[:1] in ("{", "["):
        return bare
    if "<json>" in bare:
        return tagged(bare, "json")[0]
    fenced = _FENCED.findall(bare)
    if len(fenced) == 1 and len(_FENCE.findall(bare)) == 2:
        return str(fenced[0]).strip()
    return bare


def form_of(kind: type[BaseModel]) -> dict[str, JsonValue]:
    """The JSON schema of `kind` as providers' strict modes want it: every field required, no other one allowed."""
    return copy.deepcopy(_schema_of(kind))


@lru_cache(maxsize=64)
def _schema_of(kind: type[BaseModel]) -> dict[str, JsonValue]:
    schema: dict[str, JsonValue] = _closed(kind.model_json_schema())
    return schema


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    # The description of an object is its class's docstring, which is for readers of the code.
    left_out = ("title", "default", "description") if "properties" in schema else ("title", "default")
    kept = {key: value for key, value in schema.items() if key not in left_out}
    for key, value in kept.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _closed(entry) for name, entry in value.items()}
        elif key not in ("enum", "const", "required"):
            kept[key] = _closed(value)
    if "properties" in kept:
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    return kept
