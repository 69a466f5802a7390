"""Rows written one at a time, where what is to be written to which file is known only row by row."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import BaseModel

from midspec.artifact import writable

__all__ = ["RowFile"]


class RowFile:
    """A JSONL file that exists only if a row was written to it; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.n_rows = 0
        self.n_bytes = 0

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: BaseModel) -> None:
        """Write one row, its keys in the order of its fields."""
        line = row.model_dump_json().encode() + b"\n"
        with writable(self._path.parent):
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(line)
        self.n_rows += 1
        self.n_bytes += len(line)
