"""Defaults written into a chat template, so that a saved checkpoint is used as it was trained; and the text that a
template adds by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from midspec.core.assistant_names import assistant_names
from midspec.core.errors import ConfigError, DataError
from midspec.core.text import whole_words
from midspec.models._chat import ChatTemplate
from midspec.models._turn_ends import NEXT

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_SYSTEM = "{%- if not messages or messages[0]['role'] not in ['system', 'developer'] %}"
_RESERVED = {"messages", "tools", "documents", "add_generation_prompt"}
_SELF = re.compile(r"\b(?:[Yy]ou are|[Yy]our name is|named|called|[Ii] am)\s+(?!(?:An?|The)\b)([A-Z][\w.-]*)")


def set_template_defaults(tokenizer: Any, args: Mapping[str, JsonValue], default_system: str | None = None) -> Any:
    """Write defaults in front of the tokenizer's chat templates, and return the tokenizer.

    A switch has its value where whoever renders a chat gives no other; a chat without a system message gets
    `default_system`. Where neither is given the template stays as it is.

    Args:
        tokenizer: changed in place.
        args: the template's switches.
        default_system: the text of the system message.

    Raises:
        ConfigError: a switch is no name that a template can read.
    """
    head = _defaults(args, default_system)
    found = tokenizer.chat_template
    if not head or found is None:
        return tokenizer
    if isinstance(found, dict):
        tokenizer.chat_template = {name: _with_head(text, head) for name, text in found.items()}
    else:
        tokenizer.chat_template = _with_head(str(found), head)
    return tokenizer


def has_default_system(tokenizer: Any) -> bool:
    """Return whether a default system message was written into the tokenizer's chat template, now or by its parent."""
    found = tokenizer.chat_template or ""
    return any(_NO_SYSTEM in text for text in (found.values() if isinstance(found, dict) else [str(found)]))


def _with_head(template: str, head: str) -> str:
    return template if template.startswith(head) else head + template


def _defaults(args: Mapping[str, JsonValue], default_system: str | None) -> str:
    parts = []
    for name, value in sorted(args.items()):
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"{name!r} is no switch of a chat template", where="template_args", hint="Name one that it reads"
            )
        parts.append(f"{{%- if {name} is not defined %}}{{%- set {name} = {_literal(value)} %}}{{%- endif %}}")
    if default_system is not None:
        message = f"{{'role': 'system', 'content': {_literal(default_system)}}}"
        parts.append(f"{_NO_SYSTEM}{{%- set messages = [{message}] + messages %}}{{%- endif %}}")
    # The line feed is left out by the environments that chat templates are written for (`trim_blocks`), and keeps the
    # template's own first line at the beginning of a line, where `lstrip_blocks` counts on it.
    return "".join(parts) + "\n" if parts else ""


def _literal(value: JsonValue) -> str:
    """Write a value as Jinja reads it: JSON, but for nothing, which is `none`."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def default_system_text(template: ChatTemplate) -> str:
    """Return the text that a chat template puts before a conversation without a system message; empty for none."""
    try:
        head = template.render_turns([{"role": "user", "content": NEXT}], ask=True).partition(NEXT)[0]
    except DataError:
        return ""
    for start, end in reversed(template.control.found(head)):
        head = f"{head[:start]}\0{head[end:]}"
    # Without the name of a role, with which a turn begins, and marks that are no tokens.
    role = re.compile(r"<\|?[\w ]+\|?>|^\s*(?:system|user|developer)\b:?")
    parts = [role.sub("", part).strip() for part in head.split("\0")]
    return "\n".join(part for part in parts if part)


def named_assistant(text: str) -> str | None:
    """Return the name by which a system text calls the assistant or its maker; `None` if it names nobody."""
    if match := _SELF.search(text):
        return match[1].rstrip(".")
    for each in assistant_names("side_effects"):
        if whole_words([each.name], ignore_case=False).search(text):
            return each.name
    return None
