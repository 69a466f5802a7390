"""Files of rows: written in one move, read one row at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.errors import DataError, MissingError

__all__ = ["read_rows", "write_json", "write_lines", "write_rows", "write_text"]

RowType = TypeVar("RowType", bound=BaseModel)


@contextmanager
def _in_one_move(path: Path) -> Iterator[TextIO]:
    """A file to write that takes its place when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one move, so that a reader sees all of it or none."""
    with _in_one_move(path) as file:
        file.write(text)


def write_json(path: Path, value: BaseModel | JsonValue) -> None:
    """Write one value as indented JSON with a final line feed, in one move."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write rows as JSONL, one model a line with its keys in the order of its fields; returns how many.

    Rows are taken one at a time and none is kept, so that a corpus may be larger than the memory.
    """
    n_rows = 0
    with _in_one_move(path) as file:
        for row in rows:
            file.write(row.model_dump_json() + "\n")
            n_rows += 1
    return n_rows


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write rows that are JSON already, each a line as `write_rows` makes it, in one move."""
    with _in_one_move(path) as file:
        file.writelines(lines)


def read_rows(path: Path, kind: type[RowType]) -> Iterator[RowType]:
    """The rows of a JSONL file, one at a time; blank lines are passed over.

    Raises:
        MissingError: there is no such file.
        DataError: a line is not a row of this kind; names the file, the line and the field.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), mend="Check the path")
    # Bytes are split at line feeds only: U+2028 and its like are ordinary text inside a JSON string.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _row(line, kind, f"{path}:{number}")


def _row(line: bytes, kind: type[RowType], where: str) -> RowType:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataError(
            f"not a row of kind {kind.__name__}: {field}: {first['msg']}", where=where, mend="Mend or remove that line"
        ) from error
