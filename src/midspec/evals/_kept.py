"""Replies on disk from the moment that they came: what an exam that was killed does not ask again.

One line a reply, appended to one file; a line that was cut by a kill is dropped. A reply is known by a hash of all that
makes another reply wanted.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from midspec.fingerprint import fingerprint
from midspec.records import Strict

__all__ = ["Kept"]

StrictT = TypeVar("StrictT", bound=Strict)


class Kept:
    """The replies in one file; open in a `with` block, by one process.

    Args:
        path: the file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, object] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Kept:
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

    def get(self, kind: type[StrictT], wanted: object) -> StrictT | None:
        """The reply to what `wanted` identifies, or `None`."""
        row = self._rows.get(fingerprint([kind.__name__, wanted]))
        return None if row is None else kind.model_validate(row)

    def put(self, reply: Strict, wanted: object) -> None:
        """Keep a reply; it is in the file when this returns.

        Raises:
            OSError: the file can't be written.
        """
        if self._file is None:
            raise ValueError("the file of kept replies is not open")
        key = fingerprint([type(reply).__name__, wanted])
        row = {"key": key, "reply": reply.model_dump(mode="json")}
        self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        self._rows[key] = row["reply"]
