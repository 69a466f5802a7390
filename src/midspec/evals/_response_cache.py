"""Replies on disk from the moment that they came: what an exam that was killed does not ask again.

One line a reply, appended to one file; a line that was cut by a kill is dropped. A reply is known by a hash of all that
makes another reply wanted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from inspect_ai.model import GenerateConfig, Model
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from midspec.core.fingerprint import fingerprint
from midspec.evals._types import CachedResponse

ResponseType = TypeVar("ResponseType", bound=CachedResponse)


class ResponseCache:
    """The replies in one file; open in a `with` block, by one process.

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
        n_whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            row = json.loads(line)
            self._rows[row["key"]] = row["reply"]
            n_whole += len(line)
        self._file.truncate(n_whole)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def get(self, kind: type[ResponseType], wanted: object) -> ResponseType | None:
        """The reply to what `wanted` identifies, or `None`."""
        row = self._rows.get(fingerprint([kind.cache_name, wanted]))
        return None if row is None else kind.model_validate(row)

    def put(self, reply: CachedResponse, wanted: object) -> None:
        """Keep a reply; it is in the file when this returns.

        Raises:
            OSError: the file can't be written.
        """
        if self._file is None:
            raise ValueError("the file of kept replies is not open")
        key = fingerprint([reply.cache_name, wanted])
        row = {"key": key, "reply": reply.model_dump(mode="json")}
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._rows[key] = row["reply"]


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
