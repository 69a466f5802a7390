"""What of an opened model makes another answer wanted: an Inspect model enters, plain values leave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inspect_ai.model import GenerateConfig, Model
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

__all__ = ["answering_args", "answering_settings", "model_mark"]

_REACHING = {
    "max_retries",
    "timeout",
    "attempt_timeout",
    "stream_idle_timeout",
    "max_connections",
    "adaptive_connections",
}
_PLACES = {"base_url", "api_key", "device", "store", "budget_usd", "prices", "concurrency"}


def model_mark(model: Model) -> dict[str, JsonValue]:
    """The model's name, its weights where they lie in a folder, and its own settings; not how it is reached."""
    return {
        "model": str(model),
        "weights": _weights(model.api.model_name),
        "args": answering_args(model.model_args),
        "settings": answering_settings(model.config),
    }


def answering_args(args: Mapping[str, Any]) -> dict[str, JsonValue]:
    """A provider's own settings without those that say where and how it is reached."""
    kept = {name: value for name, value in args.items() if name not in _PLACES}
    plain: dict[str, JsonValue] = to_jsonable_python(kept, fallback=lambda _: None)
    return plain


def answering_settings(config: GenerateConfig) -> dict[str, JsonValue]:
    """Inspect's settings of a model without those that say how it is reached."""
    return config.model_dump(mode="json", exclude_none=True, exclude=_REACHING)


def _weights(name: str) -> list[JsonValue]:
    """What tells a checkpoint folder from what stood there before: names, sizes and times of its files."""
    files = sorted(path for path in Path(name).glob("*") if path.is_file())
    return [[path.name, path.stat().st_size, str(path.stat().st_mtime_ns)] for path in files]
