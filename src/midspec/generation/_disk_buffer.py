"""Rows on disk, their ids in memory: a corpus may be larger than the memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

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
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER_BYTES)  # noqa: SIM115 - lives as long as the shelf
        self._kind = kind
        self._at: dict[str, int] = {}
        self._end = 0
        # Moving in the file empties its buffer, so it is done only where it is needed.
        self._at_end = True

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: str) -> bool:
        return key in self._at

    def put(self, key: str, row: BaseModel) -> None:
        """Keep a row under a key of its own."""
        line = row.model_dump_json().encode() + b"\n"
        if not self._at_end:
            self._file.seek(self._end)
            self._at_end = True
        self._file.write(line)
        self._at[key] = self._end
        self._end += len(line)

    def drop(self, key: str) -> None:
        """Forget a row."""
        del self._at[key]

    def get(self, key: str) -> RowType:
        """The row under a key."""
        return self._kind.model_validate_json(self._line(key))

    def _line(self, key: str) -> bytes:
        self._at_end = False
        self._file.seek(self._at[key])
        line: bytes = self._file.readline()
        return line

    def lines(self, order: Callable[[str], str]) -> Iterator[str]:
        """The JSON of all rows as `rows` gives them, each with its line feed: they were checked when they came."""
        for key in self.keys(order):
            yield self._line(key).decode()

    def rows(self, order: Callable[[str], str]) -> Iterator[RowType]:
        """All rows, one at a time, by their keys in an order that does not depend on when they came."""
        for key in self.keys(order):
            yield self.get(key)

    def keys(self, order: Callable[[str], str]) -> list[str]:
        """All keys, in that order."""
        return sorted(self._at, key=order)

    def close(self) -> None:
        """Let go of the file, and with it of the rows."""
        self._file.close()
