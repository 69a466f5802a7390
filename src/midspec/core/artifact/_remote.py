"""A folder at an fsspec URL: a bucket of S3 or another object store, SFTP, a disk that is mounted elsewhere.

Names in it are relative, with `/`. Each error of the library underneath becomes one of ours, with the URL as it may be
shown: without a password. What is written is whole once a call has returned; what was being written when a process died
is not: on object stores nothing of it is there, on the others a part may be. So callers write last what says that the
rest is there.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from midspec.core.errors import (
    ConfigError,
    DataError,
    FolderError,
    MidspecError,
    MissingError,
    UnreachableError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRETS = (
    # The user stays, his password goes; what looks like a port is none.
    (re.compile(r"://([^/\s:@]*):(?!\d{1,5}(?:/|$))\S*@"), r"://\1:***@"),
    (re.compile(r"(?i)\b((?:x-amz-)?(?:signature|credential|security-token|sig|token|password)=)[^&\s\"']+"), r"\1***"),
)
_S3 = frozenset({"s3", "s3a"})
_WITH_FOLDERS = frozenset(
    {"file", "local", "sftp", "ssh", "smb", "hdfs", "webhdfs", "arrow_hdfs", "ftp", "webdav", "dav", "dbfs"}
)
_GONE_WITH_THE_PROCESS = frozenset({"memory", "data"})
_LATER = frozenset(
    {errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO), errno.EIO, errno.ENETUNREACH, errno.EHOSTUNREACH}
)
_LATER_NAMES = re.compile(
    r"(ConnectionError|ConnectTimeoutError|ReadTimeoutError|ConnectionClosedError|HTTPClientError|FSTimeoutError"
    r"|ResponseStreamingError|IncompleteRead\w*|ClientPayloadError|ServerDisconnectedError|SSHException|ClientOSError)$"
)
_OURS = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
_MAX_SAID = 200


def is_url(name: str) -> bool:
    """Return whether a name is a URL, and not a path."""
    return _URL.match(name) is not None


def without_secrets(text: str) -> str:
    """Return text without the passwords of URLs in it, and without signatures and tokens."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def check_name(name: str, where: str) -> None:
    """Refuse a name of a file that would lie outside of the folder that it is in.

    Raises:
        DataError: it is absolute, leads upwards, or is empty.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise DataError(f"names a file outside of its folder ({name!r})", where=where, hint="Remove it from the store")


class RemoteFolder:
    """Files under one URL.

    Args:
        fs: the file system of fsspec.
        path: of the folder in it.
        shown: the URL for people, without a password.
    """

    def __init__(self, fs: AbstractFileSystem, path: str, shown: str) -> None:
        self._fs, self._path, self.shown = fs, path.rstrip("/"), shown
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        self._is_s3 = bool(protocols & _S3)
        self._has_folders = bool(protocols & _WITH_FOLDERS)

    @classmethod
    def at(cls, url: str) -> RemoteFolder:
        """Open the folder at a URL; of what needs a connection only this is made, and nothing is written.

        Raises:
            ConfigError: there is no such kind of URL, its package is not installed, or it names no folder.
            UnreachableError: the server does not answer.
            FolderError: it refuses.
        """
        shown = without_secrets(url).rstrip("/")
        protocol, _, rest = url.partition("://")
        if "::" in url or protocol in _GONE_WITH_THE_PROCESS:
            raise ConfigError("can't keep a run", where=shown, hint="Name a URL such as s3://bucket/run")
        if not rest.strip("/"):
            raise ConfigError("names no folder", where=shown, hint="Name a URL such as s3://bucket/run")
        if protocol in _S3 and "@" in rest.partition("/")[0]:
            hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            raise ConfigError("holds credentials, which S3 does not take from a URL", where=shown, hint=hint)
        try:
            import fsspec

            if protocol not in fsspec.available_protocols():
                hint = "There is s3://, gs://, az://, sftp://, file:// and what else fsspec knows"
                raise ConfigError(f"there is no kind of URL {protocol}://", where=shown, hint=hint)
            with _plain_errors(shown):
                fs, path = fsspec.url_to_fs(url)
        except ImportError as error:
            hint = "pip install 'midspec[s3]'" if protocol in _S3 else "Install that package"
            raise ConfigError(f"needs a package that is not here ({error})", where=shown, hint=hint) from error
        return cls(fs, path, shown)

    @property
    def is_conditional(self) -> bool:
        """Return whether the store replaces a file on a condition: what `replace` promises holds against all others."""
        return self._is_s3

    def url(self, name: str) -> str:
        """Return the URL of a file for people."""
        return f"{self.shown}/{name}"

    def list(self, under: str = "") -> dict[str, int]:
        """Return the names and sizes in bytes of all files, or of those in one folder, as they are now."""
        place = self._at(under) if under else self._path
        with _plain_errors(self.shown):
            self._fs.invalidate_cache()
            found = self._fs.find(place, detail=True)
        return {
            path.removeprefix(f"{self._path}/"): int(info.get("size") or 0)
            for path, info in found.items()
            if path.startswith(f"{place}/") and not path.endswith("/")
        }

    def read(self, name: str) -> bytes | None:
        """Return what a file holds now; `None` where there is none."""
        with _plain_errors(self.shown):
            self._fs.invalidate_cache()
            with suppress(FileNotFoundError):
                data: bytes = self._fs.cat_file(self._at(name))
                return data
        return None

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return what several small files hold; those that are gone by now are left out."""
        places = {self._at(name): name for name in names}
        if not places:
            return {}
        with _plain_errors(self.shown):
            # Not `cat`: that takes `[` in a path for the beginning of a pattern.
            found = self._fs.cat_ranges(list(places), None, None, on_error="return")
        for data in found:
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                _raise(data, self.shown)
        return {name: data for name, data in zip(places.values(), found, strict=True) if isinstance(data, bytes)}

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, over another if there is one."""
        with _plain_errors(self.shown):
            self._make_parents([name])
            self._fs.pipe_file(self._at(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless there is one; return whether it was written.

        Of two callers one is told `True`: on S3, GCS and Azure by a conditional request, on file systems with folders
        by an exclusive open. An attempt whose reply was lost and that was sent again is told `False` though it
        succeeded: read what is there.
        """
        with _plain_errors(self.shown):
            self._make_parents([name])
            try:
                if self._has_folders:
                    with self._fs.open(self._at(name), "xb") as file:
                        file.write(data)
                else:
                    self._fs.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # s3fs 2026.6 tells of a condition that did not hold (412, and 409 where two met) as EINVAL and EBUSY.
                if _s3_code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                    return False
                raise
        return True

    def replace(self, name: str, data: bytes, *, expected: bytes) -> bool:
        """Write a small file over one that still holds `expected`; return whether it did.

        On S3 by a conditional request; elsewhere another writer may come between the look and the write.
        """
        with _plain_errors(self.shown):
            self._fs.invalidate_cache()
            try:
                more = {"IfMatch": self._fs.info(self._at(name))["ETag"]} if self._is_s3 else {}
                if self._fs.cat_file(self._at(name)) != expected:
                    return False
                self._fs.pipe_file(self._at(name), data, **more)
            except FileNotFoundError:
                return False
            except OSError as error:
                if _s3_code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                    return False
                raise
        return True

    def put(self, files: Mapping[str, Path]) -> None:
        """Upload files under these names, several at a time where the library can."""
        with _plain_errors(self.shown):
            self._make_parents(files)
            self._fs.put([str(path) for path in files.values()], [self._at(name) for name in files])

    def get(self, files: Mapping[str, Path]) -> None:
        """Download files to these paths, whose folders are made.

        Raises:
            MissingError: one is not there.
        """
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        with _plain_errors(self.shown):
            self._fs.get([self._at(name) for name in files], [str(path) for path in files.values()])

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, and pass over those that are gone."""
        with _plain_errors(self.shown):
            for name in names:
                with suppress(FileNotFoundError):
                    self._fs.rm_file(self._at(name))

    def _at(self, name: str) -> str:
        check_name(name, self.shown)
        return f"{self._path}/{name}"

    def _make_parents(self, names: Mapping[str, Path] | Sequence[str]) -> None:
        # On an object store there are no folders, and s3fs would make a bucket that is not there.
        if self._has_folders:
            for parent in {self._at(name).rpartition("/")[0] for name in names}:
                self._fs.makedirs(parent, exist_ok=True)


@contextmanager
def _plain_errors(shown: str) -> Iterator[None]:
    """Raise whatever the library says as an error of ours; faults of a program pass unchanged.

    Raises:
        UnreachableError: the server does not answer, or asks for patience.
        MissingError: the bucket or file is not there.
        FolderError: all else.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - libraries for stores raise classes of their own, and of each other
        _raise(error, shown)


def _raise(error: Exception, shown: str) -> NoReturn:
    if isinstance(error, (MidspecError, *_OURS)):
        raise error
    kind, number = type(error).__name__, getattr(error, "errno", None)
    said = " ".join(without_secrets(str(error)).split())[:_MAX_SAID].rstrip(".") or kind
    if isinstance(error, NotImplementedError):
        raise ConfigError("is of a kind that can't be written", where=shown, hint="Name another --out") from error
    if isinstance(error, FileNotFoundError):
        hint = "Make the bucket (or folder) first, or correct its name"
        raise MissingError(f"is not there ({said})", where=shown, hint=hint) from error
    if "Credential" in kind or "Token" in kind or "Profile" in kind:
        hint = "Set the keys of the store, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise FolderError(f"has no valid credentials here ({said})", where=shown, hint=hint) from error
    if isinstance(error, PermissionError) or "Authentication" in kind:
        hint = "Check the credentials, and that they may list, read, write and delete there"
        raise FolderError(f"refuses access ({said})", where=shown, hint=hint) from error
    if number in {errno.ENOSPC, errno.EDQUOT}:
        raise FolderError(f"is full ({said})", where=shown, hint="Free space, or choose another --out") from error
    if isinstance(error, ConnectionError | TimeoutError | EOFError) or number in _LATER or _LATER_NAMES.search(kind):
        hint = "Run the same command again later: what is done is kept"
        raise UnreachableError(f"can't be reached, or not now ({said})", where=shown, hint=hint) from error
    raise FolderError(f"can't be used ({said})", where=shown, hint="Check the URL, or choose another --out") from error


def _s3_code(error: BaseException) -> str:
    """Return the code with which S3 refused a request; empty where it is no such error."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
