"""Prompts are files that a person can read; slots are filled by replacement, so any brace in a text is ordinary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

__all__ = ["prompt_text", "render"]

_SLOT = re.compile(r"\{\{(\w+)\}\}")


@lru_cache(maxsize=8)
def prompt_text(name: str) -> str:
    """The text of one shipped prompt, slots unfilled."""
    return (resources.files("midspec.curate") / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def render(name: str, values: Mapping[str, str]) -> str:
    """A shipped prompt with its slots filled in one pass: a value that itself holds a slot stays as it is."""
    return _SLOT.sub(lambda found: values[found[1]], prompt_text(name))
