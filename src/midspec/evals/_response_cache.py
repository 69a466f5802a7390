"""Responses on disk as they come, so that a run that was killed asks for none of them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from inspect_ai.model import GenerateConfig, Model
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from midspec.core.artifact import ProgressCallback
from midspec.core.fingerprint import fingerprint
from midspec.evals._types import CachedResponse

ResponseType = TypeVar("ResponseType", bound=CachedResponse)

RESPONSES_FILE = "kept.jsonl"
"""The cache's file in a result's folder; a run that continues looks for it under this name."""


class ResponseCache:
    """The responses in one file, a line each; open in a `with` block, by one process.

    A line that was cut by a kill is dropped.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, object] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> ResponseCache:
        self._file = self._path.open("a+b")
        self._file.seek(0)
        n_bytes = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            row = json.loads(line)
            self._rows[row["key"]] = row["reply"]
            n_bytes += len(line)
        self._file.truncate(n_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, kind: type[ResponseType], request: object) -> ResponseType | None:
        """Return the response to a request, which is everything that makes another response wanted; or `None`."""
        row = self._rows.get(fingerprint([kind.cache_name, request]))
        return None if row is None else kind.model_validate(row)

    def put(self, response: CachedResponse, request: object) -> None:
        """Write a response; it is on disk when this returns.

        Raises:
            OSError: the file can't be written.
        """
        if self._file is None:
            raise ValueError("the file of the response cache is not open")
        key = fingerprint([response.cache_name, request])
        row = {"key": key, "reply": response.model_dump(mode="json")}
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._rows[key] = row["reply"]


def count_replies(n_total: int, on_progress: ProgressCallback | None) -> Callable[[], None]:
    """Return what is to be called after each reply, which passes their number on to `on_progress`."""
    if on_progress is None:
        return lambda: None
    numbers = count(1)
    return lambda: on_progress(next(numbers), n_total, "replies")


_REACHING = {
    "max_retries",
    "timeout",
    "attempt_timeout",
    "stream_idle_timeout",
    "max_connections",
    "adaptive_connections",
}
_PLACES = {"base_url", "api_key", "device", "store", "budget_usd", "prices", "concurrency"}


def model_cache_key(model: Model) -> dict[str, JsonValue]:
    """Return what of a model makes another response wanted: name, weights in a folder, own settings; no server."""
    # Names, sizes and times of its files tell a checkpoint folder from what stood there before.
    files = sorted(path for path in Path(model.api.model_name).glob("*") if path.is_file())
    return {
        "model": str(model),
        "weights": [[path.name, path.stat().st_size, str(path.stat().st_mtime_ns)] for path in files],
        "args": answering_args(model.model_args),
        "settings": answering_settings(model.config),
    }


def answering_args(args: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return a provider's own settings without those that say where and how it is reached."""
    plain: dict[str, JsonValue] = to_jsonable_python(
        {name: value for name, value in args.items() if name not in _PLACES}, fallback=lambda _: None
    )
    return plain


def answering_settings(config: GenerateConfig) -> dict[str, JsonValue]:
    """Return Inspect's settings of a model without those that say how it is reached."""
    return config.model_dump(mode="json", exclude_none=True, exclude=_REACHING)
