"""Rows on disk with their keys in memory: there may be more rows than the memory holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel

_BUFFER_BYTES = 1 << 18

RowType = TypeVar("RowType", bound=BaseModel)


class DiskBuffer(Generic[RowType]):
    """Rows of one kind in a file without a name, which goes when the process goes. About 200 bytes a row in memory.

    Args:
        folder: a folder on the disk to use.
        kind: the type of the rows.
    """

    def __init__(self, folder: Path, kind: type[RowType]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER_BYTES)  # noqa: SIM115 - closed by `close`
        self._kind = kind
        self._offsets: dict[Any, int] = {}
        self._end = 0
        # Seeking empties the file's write buffer, so it is done only where it is needed.
        self._at_end = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: object) -> bool:
        return key in self._offsets

    def append(self, row: RowType) -> int:
        """Keep a row under the number of rows before it; returns that number."""
        key = len(self._offsets)
        self.put(key, row)
        return key

    def put(self, key: object, row: BaseModel) -> None:
        """Keep a row under a key of its own."""
        line = row.model_dump_json().encode("utf-8", "surrogatepass") + b"\n"
        if not self._at_end:
            self._file.seek(self._end)
            self._at_end = True
        self._file.write(line)
        self._offsets[key] = self._end
        self._end += len(line)

    def drop(self, key: object) -> None:
        """Forget a row."""
        del self._offsets[key]

    def get(self, key: object) -> RowType:
        """Return the row under a key."""
        return self._kind.model_validate_json(self._line(key))

    def keys(self, order: Callable[[Any], Any]) -> list[Any]:
        """Return all keys, sorted by `order`, so that the order in which rows came does not show."""
        return sorted(self._offsets, key=order)

    def rows(self, order: Callable[[Any], Any]) -> Iterator[RowType]:
        """Yield all rows, one at a time, in the order of `keys`."""
        for key in self.keys(order):
            yield self.get(key)

    def lines(self, order: Callable[[Any], Any]) -> Iterator[str]:
        """Yield all rows' JSON as `rows` gives them, each with its line feed: they were checked when they came."""
        for key in self.keys(order):
            yield self._line(key).decode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Let go of the file, and with it of the rows."""
        self._file.close()

    def _line(self, key: object) -> bytes:
        self._at_end = False
        self._file.seek(self._offsets[key])
        line: bytes = self._file.readline()
        return line
