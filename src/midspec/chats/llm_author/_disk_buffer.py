"""Rows put aside on disk until their order is known, so that memory holds their places alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from pydantic import BaseModel

RowType = TypeVar("RowType", bound=BaseModel)


class DiskBuffer(Generic[RowType]):
    """A nameless file of rows, gone when it is closed; each row is found again by its place.

    Args:
        folder: a folder on the disk to use.
        kind: what the rows are.
    """

    def __init__(self, folder: Path, kind: type[RowType]) -> None:
        self._kind = kind
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the shelf
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def put(self, row: RowType) -> int:
        """Put a row at the end; returns its place."""
        line = row.model_dump_json().encode("utf-8", "surrogatepass") + b"\n"
        place = self._end
        self._file.seek(place)
        self._file.write(line)
        self._end += len(line)
        return place

    def get(self, place: int) -> RowType:
        """The row at that place."""
        self._file.seek(place)
        return self._kind.model_validate_json(self._file.readline())
