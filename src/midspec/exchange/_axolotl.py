"""The settings with which axolotl trains on an exported folder."""

from __future__ import annotations

from collections.abc import Iterable

import yaml
from pydantic import JsonValue

from midspec.exchange._card import Part

__all__ = ["axolotl_settings"]

_HEAD = """\
# The `datasets` block of an axolotl configuration for the rows in this folder. Paths are as seen from this folder.
# Documents are raw text to continue; of chats only assistant turns are trained on, with the token that ends each.
"""
_TWINS_NOTE = """\
# `cot` and `cot_stripped` hold the same chats with and without chain of thought: keep one of the two.
"""


def axolotl_settings(parts: Iterable[Part]) -> str:
    """The `datasets` block for these parts, as YAML."""
    found = list(parts)
    entries: list[JsonValue] = [_entry(part, shard) for part in found for shard in part.shards]
    twins = {"cot", "cot_stripped"} <= {part.name for part in found}
    body = yaml.safe_dump({"datasets": entries}, sort_keys=False, allow_unicode=True)
    return _HEAD + (_TWINS_NOTE if twins else "") + body


def _entry(part: Part, shard: str) -> JsonValue:
    if not part.is_chat:
        return {"path": shard, "ds_type": "json", "type": "completion", "field": "text"}
    return {
        "path": shard,
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
