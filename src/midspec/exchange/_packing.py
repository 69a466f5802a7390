"""How files are packed and written: gzip, zstd, bzip2 or xz, and UTF-8, UTF-16 or UTF-32, told by how they begin."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from midspec.core.errors import DataError, one_line

# How packed files begin. They are told by that: names are often wrong, the `Content-Encoding` of a download unpacks
# some and not others.
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_ARCHIVES = {b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
_TAR_AT, _TAR = 257, b"ustar"
# Of UTF-32 first, whose mark begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CHUNK_BYTES = 2**16


@contextmanager
def unpacked(file: Path) -> Iterator[IO[bytes]]:
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
            opened = _unpacker(plain, packing)
            head = cast(io.BufferedReader, opened).peek(_TAR_AT + len(_TAR))
            if head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
                raise DataError("is a tar archive of files", where=str(file), hint="Unpack it, and name the folder")
            if inner := next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), ""):
                raise DataError(f"is packed twice, with {inner} and {packing}", where=str(file), hint="Unpack it once")
            yield opened
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None):  # the system's refusal, not the file's content
                raise
            what = f"the {packing} file is cut off or damaged: {one_line(error)}"
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


def in_utf8(opened: IO[bytes]) -> tuple[IO[bytes], str]:
    """Return a file's content in UTF-8, and in which encoding it is there."""
    # All that `unpacked` opens can peek.
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
