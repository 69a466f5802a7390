"""Rows of one file: JSONL, JSON, parquet, CSV or plain text, packed or not. What can't be read is said.

Text is UTF-8, or UTF-16 or UTF-32 where the file begins as such: PowerShell's `>` writes UTF-16.

A row that can't be read (a line that is no JSON, say) comes with its fault, so that whoever reads can leave it out and
count it. A file that is cut off or damaged is an error: nobody can tell what is missing.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from midspec.core.chat_rows import BadRowError
from midspec.core.errors import DataError, one_line
from midspec.core.text import LFS_HINT, LFS_POINTER, LFS_WORDS
from midspec.exchange._packing import in_utf8, unpacked
from midspec.exchange._row_forms import rows_within, unwrapped, without_nulls

# Endings of packed files, after the ending of what is packed.
PACKED = re.compile(r"\.(?:gz|zst|zstd|bz2|xz)$")
TABLES = (".csv", ".tsv")
_BOM = b"\xef\xbb\xbf"
# Files of other programs by their endings, and what to give in their place.
_OTHERS = {".arrow": "Name the folder that it is in, as `save_to_disk` made it, or write parquet"}
_OTHERS |= dict.fromkeys((".xlsx", ".xls", ".ods"), "Save the sheet as CSV in UTF-8")
_OTHERS |= dict.fromkeys((".pkl", ".pickle", ".pt", ".npy", ".npz", ".feather", ".orc"), "Write JSONL or parquet")
_OTHERS |= dict.fromkeys(
    (".db", ".sqlite", ".sqlite3", ".yaml", ".yml", ".toml", ".ipynb", ".warc"), "Write JSONL or parquet"
)
_OTHERS |= dict.fromkeys((".md", ".rst", ".html", ".htm", ".xml"), "Write its text as .txt, or as `text` of JSONL")
_OTHERS |= dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".pdf"), "Save its text as .txt in UTF-8")
_OTHERS |= dict.fromkeys(
    (".lz4", ".br", ".sz", ".snappy", ".lzo", ".z"), "Unpack it, or pack it with gzip, zstd, bzip2 or xz"
)
_SEPARATOR = re.compile(r"\"?sep=([,;|\t])\"?\s*")
_DELIMITERS = (";", "\t", "|")
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
    ending = Path(name).suffix
    if (hint := _OTHERS.get(ending)) is not None:
        raise DataError(f"is a {ending} file, which is not read", where=str(file), hint=hint)
    with file.open("rb") as plain:
        if plain.read(len(LFS_POINTER)) == LFS_POINTER.encode():
            raise DataError(f"is {LFS_WORDS}", where=str(file), hint=LFS_HINT)
    if name.endswith(".parquet"):
        yield from _parquet_rows(file)
        return
    with unpacked(file) as packed:
        opened, encoding = in_utf8(packed)
        try:
            if name.endswith(".json"):
                yield from _json_rows(opened, file)
            elif name.endswith(TABLES):
                is_quoted = not name.endswith(".tsv") or _is_quoted(file)
                yield from _table_rows(
                    opened, file, "\t" if name.endswith(".tsv") else ",", encoding, is_quoted=is_quoted
                )
            elif name.endswith(".txt"):
                yield _text_row(opened, file, root, encoding)
            else:
                yield from _lines(opened, file)
        except UnicodeDecodeError as error:
            what = f"begins as {encoding}, and is cut off or damaged: {error.reason}"
            raise DataError(what, where=str(file), hint="Get or write it again") from error


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
        if may_be_spread and (content.strip() in _OPENINGS or _opens_list(content)):
            yield from _json_rows(io.BytesIO(content + b"".join(rest for _, rest in lines)), file)
            return
        may_be_spread = False
        try:
            # Lists that were cut into lines keep their commas.
            bare = content.rstrip()
            found, fault = _decoded(bare.removesuffix(b",")), ""
        except _DAMAGED as error:
            found = {"line": content[:_SHOWN_CHARS].decode(errors="replace")}
            fault = f"not JSON: {one_line(error)}"
        of_objects = number == 1 and isinstance(found, list) and all(isinstance(row, dict) for row in found)
        # A JSON list, and no turns of one chat.
        if found and of_objects and not any({"role", "from"} & set(row) for row in found):
            yield from (_object_row(row, f"{file}:{at}") for at, row in enumerate(found, start=1))
        else:
            yield _object_row(found, f"{file}:{number}", fault)


def _opens_list(line: bytes) -> bool:
    """Return whether a line begins a list that goes on in the next ones, each an object of it."""
    if not line.lstrip().startswith(b"[") or not line.rstrip().endswith(b","):
        return False
    try:
        _decoded(line)
    except _DAMAGED:
        return True
    return False


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
        what = f"not JSON: {one_line(error)}"
        raise DataError(what, where=str(file), hint="It may be cut off: get or write it again") from error
    if len(rows) == 1:
        rows = rows[0] if isinstance(rows[0], list) else rows_within(rows[0], str(file))
    for number, row in enumerate(rows, start=1):
        yield _object_row(*unwrapped(row, f"{file}:{number}"))


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
        what = f"not a parquet file, or cut off: {one_line(error)}"
        raise DataError(what, where=str(file), hint="Get or write it again") from error


def _is_quoted(file: Path) -> bool:
    """Return whether the quotation marks of a table are the format's, and not of the texts in it."""
    n_tabs: set[int] = set()

    def counted(line: bytes) -> bytes:
        if line.strip():
            n_tabs.add(line.count(b"\t"))
        return line

    with unpacked(file) as packed:
        lines = map(counted, in_utf8(packed)[0])
        try:
            csv.field_size_limit(_MAX_CELL_CHARS)
            return all(True for _ in csv.reader((line.decode() for line in lines), delimiter="\t", strict=True))
        except UnicodeDecodeError:
            return True
        except csv.Error:
            # Where its lines have not one number of cells, it may be cut off.
            return any(len(n_tabs) > 1 for _ in lines) or len(n_tabs) > 1


def _table_rows(
    opened: IO[bytes], file: Path, delimiter: str, encoding: str, *, is_quoted: bool = True
) -> Iterator[RawRow]:
    """Read the rows of a CSV file with a header; an empty cell is as good as a key that is not there."""
    csv.field_size_limit(_MAX_CELL_CHARS)  # 131,072 characters by default, and documents are longer
    lines = (line.decode() for line in opened)
    try:
        header = next(lines, "").removeprefix("\ufeff")
        if told := _SEPARATOR.fullmatch(header):  # Excel's own first line
            delimiter, header = told[1], next(lines, "")
        if delimiter not in header:
            # Spreadsheets write a semicolon where a comma is the decimal sign.
            delimiter = next((sign for sign in _DELIMITERS if sign in header), delimiter)
        form: dict[str, Any] = {"strict": True, "quoting": csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE}
        rows = csv.reader(itertools.chain([header], lines), delimiter=delimiter, **form)
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
        what = f"not CSV in {encoding}, or cut off: {one_line(error)}"
        raise DataError(what, where=str(file), hint="Mend or write it again") from error


def _text_row(opened: IO[bytes], file: Path, root: Path, encoding: str) -> RawRow:
    """Return a whole text file as a row, with its path as `source`."""
    source = file.name if file == root else file.relative_to(root).as_posix()
    try:
        text = opened.read().decode("utf-8-sig").strip()
        lines = [line.encode("utf-8", "surrogatepass") for line in text.split("\n", 2)[:2]]
        is_json = len(lines) > 1 and all(map(_is_object, lines))
        fault = "is JSON, an object a line, under the name of a text: name it .jsonl" if is_json else ""
        return RawRow(str(file), {"text": text, "source": source}, fault)
    except UnicodeDecodeError as error:
        return RawRow(str(file), {"source": source}, f"not {encoding}: {one_line(error)}")
