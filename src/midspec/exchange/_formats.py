"""Rows of one file: JSONL, JSON, parquet, CSV or plain text, packed or not. What can't be read is said.

Text is UTF-8, or UTF-16 or UTF-32 where the file begins as such: PowerShell's `>` writes UTF-16.

A row that can't be read (a line that is no JSON, say) comes with its fault, so that whoever reads can leave it out and
count it. A file that is cut off or damaged is an error: nobody can tell what is missing.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import itertools
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from midspec.core.chat_rows import BadRowError
from midspec.core.errors import DataError
from midspec.core.text import LFS_HINT, LFS_POINTER, LFS_WORDS
from midspec.exchange._row_forms import rows_within, without_nulls

# Endings of packed files, after the ending of what is packed.
PACKED = re.compile(r"\.(?:gz|zst|zstd|bz2|xz)$")
TABLES = (".csv", ".tsv")
_BOM = b"\xef\xbb\xbf"
# How packed files begin. They are told by that: names are often wrong, the `Content-Encoding` of a download unpacks
# some and not others.
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
# Files of other programs by their endings, and what to give in their place.
_OTHERS = {".arrow": "Name the folder that it is in, as `save_to_disk` made it, or write parquet"}
_OTHERS |= dict.fromkeys((".xlsx", ".xls", ".ods"), "Save the sheet as CSV in UTF-8")
_OTHERS |= dict.fromkeys((".pkl", ".pickle", ".pt", ".npy", ".npz", ".feather", ".orc"), "Write JSONL or parquet")
_TAR_AT, _TAR = 257, b"ustar"
# Of UTF-32 first, whose mark begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHUNK_BYTES = 2**16
_MAX_CELL_CHARS = 2**31 - 1
_SHOWN_CHARS = 200


class RawRow(NamedTuple):
    """One row as it was read: `file:line` (or `file:row`, from 1), its keys and values, and why it can't be read."""

    where: str
    row: dict[str, Any]
    fault: str = ""

    def checked(self) -> dict[str, Any]:
        """Return its keys and values.

        Raises:
            BadRowError: it can't be read.
        """
        if self.fault:
            raise BadRowError(self.fault)
        return self.row


def file_rows(file: Path, root: Path) -> Iterator[RawRow]:
    """Read the rows of one file by its name, without the ending that says how it is packed.

    Args:
        file: what is read.
        root: the folder below which it was found, or the file itself; a text's `source` is its path from there.

    Raises:
        DataError: the file is cut off, damaged, an archive, a pointer in its place, or not what its name says.
    """
    name = PACKED.sub("", file.name.lower())
    if (hint := _OTHERS.get(file.suffix.lower())) is not None:
        raise DataError(f"is a {file.suffix} file, which is not read", where=str(file), hint=hint)
    with file.open("rb") as plain:
        if plain.read(len(LFS_POINTER)) == LFS_POINTER.encode():
            raise DataError(f"is {LFS_WORDS}", where=str(file), hint=LFS_HINT)
    if name.endswith(".parquet"):
        yield from _parquet_rows(file)
        return
    with _unpacked(file) as packed:
        opened, encoding = _in_utf8(packed)
        try:
            if name.endswith(".json"):
                yield from _json_rows(opened, file)
            elif name.endswith(TABLES):
                yield from _table_rows(opened, file, "\t" if name.endswith(".tsv") else ",", encoding)
            elif name.endswith(".txt"):
                yield _text_row(opened, file, root, encoding)
            else:
                yield from _lines(opened, file)
        except UnicodeDecodeError as error:
            what = f"begins as {encoding}, and is cut off or damaged: {error.reason}"
            raise DataError(what, where=str(file), hint="Get or write it again") from error


@contextmanager
def _unpacked(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where its first bytes are those of a packed one.

    Raises:
        DataError: it is cut off or damaged, or an archive of files.
    """
    with file.open("rb") as plain:
        head = plain.read(_TAR_AT + len(_TAR))
        plain.seek(0)
        archive = next((kind for magic, kind in _ARCHIVES.items() if head.startswith(magic)), "")
        if archive or head[_TAR_AT:] == _TAR:
            what = f"is a {archive or 'tar'} archive of files"
            raise DataError(what, where=str(file), hint="Unpack it, and name the folder")
        packing = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
        if not packing:
            yield plain
            return
        try:
            yield _unpacker(plain, packing)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None):  # the system's refusal, not the file's content
                raise
            what = f"the {packing} file is cut off or damaged: {_one_line(error)}"
            raise DataError(what, where=str(file), hint="Get or write it again") from error


def _unpacker(plain: IO[bytes], packing: str) -> IO[bytes]:
    if packing == "zstd":
        import pyarrow as pa

        # The package zstandard ends without a word where a stream is cut off; pyarrow raises OSError.
        return io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(plain, "zstd")))
    if packing == "gzip":
        return cast(IO[bytes], gzip.open(plain))
    return bz2.open(plain) if packing == "bzip2" else lzma.open(plain)


class _AsUtf8(io.RawIOBase):
    """Gives in UTF-8 what a file holds in another encoding, a piece at a time.

    Halves of surrogate pairs are handed on: they are a fault of their row, and not of the file.
    """

    def __init__(self, opened: IO[bytes], encoding: str) -> None:
        self._opened = opened
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        is_end = False
        while not self._ready and not is_end:
            chunk = self._opened.read(_CHUNK_BYTES)
            is_end = not chunk
            self._ready = self._decoder.decode(chunk, is_end).encode("utf-8", "surrogatepass")
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n


def _in_utf8(opened: IO[bytes]) -> tuple[IO[bytes], str]:
    """Return a file's content in UTF-8, and in which encoding it is there."""
    # All that `_unpacked` opens can peek.
    head = cast(io.BufferedReader, opened).peek(4)[:4]
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
    if not encoding and len(head) == 4:
        # Without a mark: two characters of ASCII, as JSON begins, have a zero each.
        zeros = "".join(" 0"[not byte] for byte in head)
        encoding = {" 0 0": "utf-16-le", "0 0 ": "utf-16-be"}.get(zeros, "")
    if not encoding:
        return opened, "UTF-8"
    recoded = io.BufferedReader(_AsUtf8(opened, encoding), _CHUNK_BYTES)
    return cast(IO[bytes], recoded), encoding[:6].upper()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN_CHARS].rstrip(".") or type(error).__name__


# JSON ------------------------------------------------------------------------------------------------------------
class _Twice(dict[str, Any]):
    """A JSON object that names a key twice, of which Python keeps the later value without a word."""

    key = ""
    # Looking for one in every row takes as long as half of reading it.
    was_seen = False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = _Twice(found)
    _Twice.was_seen = True
    names = [name for name, _ in pairs]
    twice.key = next(name for name in names if names.count(name) > 1)
    return twice


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_DAMAGED = (ValueError, RecursionError)  # of ValueError: JSONDecodeError and UnicodeDecodeError
# The whole first line of JSON that is written over several lines.
_OPENINGS = (b"{", b"[", b"[{")
_WHITE = " \t\n\r"


def _decoded(content: bytes) -> Any:
    return _DECODER.decode(content.decode("utf-8", "surrogatepass"))


def _lines(opened: Iterable[bytes], file: Path, *, may_be_spread: bool = True) -> Iterator[RawRow]:
    """Read one object a line; where `may_be_spread`, a file whose first line only opens one is read as a whole."""
    # Bytes are split at line feeds only: U+2028 and its like are ordinary text inside a JSON string.
    lines = enumerate(opened, start=1)
    for number, line in lines:
        content = line.removeprefix(_BOM) if number == 1 else line
        if not content.strip():
            continue
        if may_be_spread and content.strip() in _OPENINGS:
            yield from _json_rows(io.BytesIO(content + b"".join(rest for _, rest in lines)), file)
            return
        may_be_spread = False
        try:
            found, fault = _decoded(content), ""
        except _DAMAGED as error:
            found = {"line": content[:_SHOWN_CHARS].decode(errors="replace")}
            fault = f"not JSON: {_one_line(error)}"
        yield _object_row(found, f"{file}:{number}", fault)


def _json_rows(opened: IO[bytes], file: Path) -> Iterator[RawRow]:
    """Read the rows of JSON: a list, one object, several after another, or an object that holds a list of rows.

    A file of one object a line that is called .json is common too; there a line that is no JSON is a fault of its own.
    """
    content = opened.read().removeprefix(_BOM)
    head, _, rest = content.strip().partition(b"\n")
    if not head.startswith((b"[", b"{")) or (rest and _is_object(head)):
        yield from _lines(io.BytesIO(content), file, may_be_spread=False)
        return
    try:
        rows = list(_values(content.decode("utf-8", "surrogatepass")))
    except _DAMAGED as error:
        if not head.startswith(b"[") and any(map(_is_object, rest.splitlines())):
            yield from _lines(io.BytesIO(content), file, may_be_spread=False)
            return
        what = f"not JSON: {_one_line(error)}"
        raise DataError(what, where=str(file), hint="It may be cut off: get or write it again") from error
    if len(rows) == 1:
        rows = rows[0] if isinstance(rows[0], list) else rows_within(rows[0], str(file))
    for number, row in enumerate(rows, start=1):
        yield _object_row(row, f"{file}:{number}")


def _values(text: str) -> Iterator[Any]:
    """Yield JSON values that stand one after another."""
    at = len(text) - len(text.lstrip(_WHITE))
    while at < len(text):
        value, at = _DECODER.raw_decode(text, at)
        yield value
        while at < len(text) and text[at] in _WHITE:
            at += 1


def _is_object(line: bytes) -> bool:
    try:
        return line.startswith(b"{") and isinstance(_decoded(line), dict)
    except _DAMAGED:
        return False


def _object_row(found: Any, where: str, fault: str = "") -> RawRow:
    if not isinstance(found, dict):
        return RawRow(where, {"row": found}, f"a row is a JSON object, not a {type(found).__name__}")
    waiting: list[Any] = [found] if _Twice.was_seen else []
    while waiting and not fault:
        one = waiting.pop()
        if isinstance(one, _Twice):
            fault = f"has the key {one.key!a} twice in one object"
        waiting += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return RawRow(where, found, fault)


# Tables and texts ------------------------------------------------------------------------------------------------
def _parquet_rows(file: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{file}:{number}", without_nulls(row))
    except (pa.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None):
            raise
        what = f"not a parquet file, or cut off: {_one_line(error)}"
        raise DataError(what, where=str(file), hint="Get or write it again") from error


def _table_rows(opened: IO[bytes], file: Path, delimiter: str, encoding: str) -> Iterator[RawRow]:
    """Read the rows of a CSV file with a header; an empty cell is as good as a key that is not there."""
    csv.field_size_limit(_MAX_CELL_CHARS)  # 131,072 characters by default, and documents are longer
    lines = (line.decode() for line in opened)
    try:
        header = next(lines, "").removeprefix("\ufeff")
        if delimiter not in header and ";" in header:
            delimiter = ";"  # as spreadsheets write where a comma is the decimal sign
        rows = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
        names = next(rows, [])
        if twice := [name for name, n in Counter(names).items() if name and n > 1]:
            what = f"its header names {', '.join(map(ascii, twice))} more than once"
            raise DataError(what, where=str(file), hint="Rename or remove all but one of these columns")
        for cells in rows:
            if not cells:
                continue
            fault = f"has {len(cells)} cells, and the header {len(names)}" if len(cells) != len(names) else ""
            given = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
            yield RawRow(f"{file}:{rows.line_num}", given, fault)
    except (csv.Error, UnicodeDecodeError) as error:
        # The reader can't go on behind such a place: where a quoted cell has no end, all that follows is in it.
        what = f"not CSV in {encoding}, or cut off: {_one_line(error)}"
        raise DataError(what, where=str(file), hint="Mend or write it again") from error


def _text_row(opened: IO[bytes], file: Path, root: Path, encoding: str) -> RawRow:
    """Return a whole text file as a row, with its path as `source`."""
    source = file.name if file == root else file.relative_to(root).as_posix()
    try:
        return RawRow(str(file), {"text": opened.read().decode("utf-8-sig").strip(), "source": source})
    except UnicodeDecodeError as error:
        return RawRow(str(file), {"source": source}, f"not {encoding}: {_one_line(error)}")
