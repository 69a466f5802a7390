"""From a file to a `Spec`; what can't be read is one line for the user."""

from __future__ import annotations

from pathlib import Path

from midspec.errors import MissingError, SpecError
from midspec.records import Spec
from midspec.spec._parse import parse_spec

__all__ = ["read_spec"]


def read_spec(path: Path) -> Spec:
    """Read a Model Spec from a UTF-8 file (a byte order mark and any line ends are fine).

    Raises:
        MissingError: there is no such file.
        SpecError: it is empty, binary, not UTF-8, or holds no sentence.
    """
    if not path.is_file():
        what = "is a folder, not a spec file" if path.is_dir() else "there is no such spec file"
        raise MissingError(what, where=str(path), mend="Check the path")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"is not UTF-8 text (byte {error.start})", where=str(path), mend="Save the spec as UTF-8 text"
        ) from error
    except OSError as error:
        raise SpecError(
            f"can't be read ({error.strerror})", where=str(path), mend="Check the file's permissions"
        ) from error
    try:
        return parse_spec(text, name=path.stem)
    except SpecError as error:
        raise SpecError(error.what, where=str(path), mend=error.mend) from error
