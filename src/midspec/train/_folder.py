"""Can a result be written where the user wants it? Asked before anything heavy is loaded or counted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from midspec.artifact import locked
from midspec.errors import FolderError, InUseError

__all__ = ["check_folder"]


def check_folder(folder: Path) -> None:
    """Refuse a place that can't be written, or that another process is writing; makes nothing.

    Args:
        folder: where `midspec.artifact.build` is to put a result.

    Raises:
        FolderError: the nearest folder above that exists is none, or can't be written.
        InUseError: another process is making a result there.
    """
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    refusal = errno.ENOTDIR if not above.is_dir() else errno.EACCES if not os.access(above, os.W_OK | os.X_OK) else 0
    if refusal:
        raise FolderError(f"can't be written ({os.strerror(refusal)})", where=str(folder), mend="Choose another --out")
    draft = folder.with_name(f".{folder.name}.part")
    if (draft / ".lock").exists():
        try:
            with locked(draft):
                pass
        except InUseError as error:
            raise InUseError(error.what, where=str(folder), mend=error.mend) from error
