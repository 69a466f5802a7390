"""The texts that a language model is sent, from the files in `_prompts/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from midspec.chats._config import ChatConfig
from midspec.core.records import Spec

_SLOT = re.compile(r"\{\{(\w+)\}\}")
# A domain's earlier questions are shown up to this many, the latest ones: the whole list of a large pool would cost
# more than the duplicates that it prevents.
N_SHOWN = 500


@lru_cache(maxsize=64)
def _template(name: str) -> str:
    return (resources.files("midspec.chats") / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def prompt(name: str, /, **values: str) -> str:
    """The prompt file of that name with each `{{slot}}` replaced once; braces in the values stay as they are."""
    return _SLOT.sub(lambda found: values[found[1]], _template(name))


def earlier(entries: Sequence[str]) -> str:
    """What exists already and is not to be written again; nothing where there is none."""
    lines = "\n".join(f"- {' '.join(entry.split())}" for entry in entries[-N_SHOWN:])
    return prompt("earlier", list=lines) if lines else ""


def render_spec(spec: Spec, config: ChatConfig) -> str:
    """What every request about a spec begins with, the author's and the judge's alike, so that it is cached."""
    return prompt("spec", assistant=assistant_words(config), spec=spec.text.strip("\n"))


def assistant_words(config: ChatConfig) -> str:
    """The assistant for a sentence that introduces it."""
    made_by = f", made by {config.provider_name}" if config.provider_name else ""
    return f"the AI assistant {config.model_name}{made_by}" if config.model_name else f"an AI assistant{made_by}"


def name_words(config: ChatConfig) -> str:
    """The assistant for a sentence that knows it: its name, where it has one."""
    return config.model_name or "the assistant"
