"""The file behind the store: its tables, and how it is opened on any file system.

SQLite in WAL mode with `synchronous=NORMAL`: a commit is in the operating system's hands before the call returns, so a
process that is killed at any moment (SIGKILL) loses nothing that was committed; only a power cut or a crash of the
machine can take the last commits, never the file. WAL needs shared memory between the processes that open the file,
which network file systems do not have: there, and wherever SQLite refuses, the rollback journal is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from midspec.core.errors import DataError, FolderError, InUseError, MidspecError
from midspec.llm._types import Request

if TYPE_CHECKING:
    from hashlib import _Hash

_APPLICATION, _VERSION = 0x6D647370, 1  # "mdsp"
_WAIT_MS = 30_000
_WAL_PAGES = 4000
_HELD = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_FOREIGN = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "afs", "9p", "glusterfs", "fuse.sshfs"}

# `totals` sums the attempts that have an outcome, so that what was spent is read without going through the rows. Its
# triggers run inside the statement that records the outcome: the two can't come apart. `unpriced` are
# attempts whose usage is known and whose price is not; `blind` those that may have been billed and have no usage.
_TABLES = """
CREATE TABLE openings (id INTEGER PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, opened_at REAL NOT NULL);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, turn INTEGER NOT NULL, stage TEXT NOT NULL, duty TEXT NOT NULL,
    model TEXT NOT NULL, prompt_sha256 TEXT NOT NULL, sampling TEXT NOT NULL, max_tokens INTEGER NOT NULL,
    n_chars INTEGER NOT NULL, opening INTEGER NOT NULL, batch_id TEXT, sent_at REAL NOT NULL, done_at REAL, kind TEXT,
    stop_reason TEXT, n_input INTEGER, n_cache_read INTEGER, n_cache_write INTEGER, n_output INTEGER, cost_usd REAL,
    answered_by TEXT, note TEXT, text TEXT);
CREATE INDEX by_task ON attempts (task, turn);
CREATE INDEX in_flight ON attempts (opening) WHERE kind IS NULL;
CREATE TABLE totals (
    stage TEXT NOT NULL, duty TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL,
    n_input INTEGER NOT NULL, n_cache_read INTEGER NOT NULL, n_cache_write INTEGER NOT NULL, n_output INTEGER NOT NULL,
    cost_usd REAL NOT NULL, n_unpriced INTEGER NOT NULL, seconds REAL NOT NULL, n_blind INTEGER NOT NULL,
    blind_chars INTEGER NOT NULL, blind_cap INTEGER NOT NULL, PRIMARY KEY (stage, duty, model, kind)) WITHOUT ROWID;
CREATE TABLE batches (
    batch_id TEXT PRIMARY KEY, provider_id TEXT, model TEXT NOT NULL, duty TEXT NOT NULL, made_at REAL NOT NULL,
    closed_at REAL, note TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE batch_items (
    batch_id TEXT NOT NULL, custom_id TEXT NOT NULL, task TEXT NOT NULL, turn INTEGER NOT NULL,
    PRIMARY KEY (batch_id, custom_id)) WITHOUT ROWID;
CREATE INDEX by_batch ON attempts (batch_id) WHERE batch_id IS NOT NULL AND kind IS NULL;
CREATE TABLE kept (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT NOT NULL);
"""
_BILLED = "('ok', 'refused', 'truncated', 'unparsable', 'filtered', 'timed_out')"
_SUMS = (
    *("n", "n_input", "n_cache_read", "n_cache_write", "n_output", "cost_usd", "n_unpriced", "seconds"),
    *("n_blind", "blind_chars", "blind_cap"),
)


def _share(row: str, sign: str) -> str:
    """Write what one attempt adds to its line of `totals` (`sign` +) or takes from it (-); `row` is NEW or OLD."""
    blind = f"({row}.kind IN {_BILLED} AND {row}.n_input IS NULL AND {row}.cost_usd IS NULL)"
    values = [
        "1",
        *(f"ifnull({row}.{name}, 0)" for name in ("n_input", "n_cache_read", "n_cache_write", "n_output", "cost_usd")),
        f"({row}.kind IN {_BILLED} AND {row}.n_input IS NOT NULL AND {row}.cost_usd IS NULL)",
        f"{row}.done_at - {row}.sent_at",
        blind,
        f"{blind} * {row}.n_chars",
        f"{blind} * {row}.max_tokens",
    ]
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    return (
        f"INSERT INTO totals (stage, duty, model, kind, {', '.join(_SUMS)}) "  # noqa: S608 - no value is spliced in
        f"VALUES ({row}.stage, {row}.duty, {row}.model, {row}.kind, {', '.join(f'{sign}({v})' for v in values)}) "
        f"ON CONFLICT (stage, duty, model, kind) DO UPDATE SET {added};"
    )


_CHANGED = "AFTER UPDATE OF kind, cost_usd ON attempts WHEN"
_TRIGGERS = f"""
CREATE TRIGGER outcome_counts {_CHANGED} NEW.kind IS NOT NULL BEGIN {_share("NEW", "+")} END;
CREATE TRIGGER outcome_leaves {_CHANGED} OLD.kind IS NOT NULL BEGIN {_share("OLD", "-")} END;
"""


def connect(path: Path, vfs: str | None = None) -> sqlite3.Connection:
    """Open the store file at `path` in autocommit mode; make it with mode 0600 where there is none.

    Args:
        path: the SQLite file; its folder is made.
        vfs: another of SQLite's ways to the file system (`unix-dotfile`: lock files instead of POSIX locks).

    Raises:
        DataError: the file is something else, or of a newer midspec.
        FolderError: it can't be made or written.
        InUseError: another process has held it for half a minute.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite gives its side files the mode of the file itself. A file that is there is not opened here: to close it
        # again would drop the locks that this process may hold on it (a trap of POSIX).
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise FolderError(
            f"can't be written: {error.strerror}", where=str(path), hint="Choose another --out"
        ) from error
    with plain_errors(path):
        uri = path.absolute().as_uri() + (f"?vfs={vfs}" if vfs else "")
        db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_WAIT_MS / 1000)
        try:
            # SQLite itself does not wait for others that set the journal's mode when they open the file first.
            deadline = time.monotonic() + _WAIT_MS / 1000
            while not _is_prepared(db, path, may_wait=time.monotonic() <= deadline):
                time.sleep(0.01)
        except BaseException:
            db.close()
            raise
    return db


def _is_prepared(db: sqlite3.Connection, path: Path, *, may_wait: bool) -> bool:
    """Set the connection up and make the tables if there are none; `False` while another process holds the file.

    Raises:
        DataError: it is not a store; nothing of it is changed.
    """
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        is_empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not is_empty and not _is_ours(db):
            raise DataError("is not a store of midspec", where=str(path), hint="Choose another --out")
        if version > _VERSION:
            what = f"is a store of version {version}, newer than this midspec reads ({_VERSION})"
            raise DataError(what, where=str(path), hint="Update midspec")
        db.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
        _set_journal_mode(db, path)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
        if not _is_ours(db):
            _make_tables(db)
    except sqlite3.OperationalError as error:
        db.rollback()
        if error.sqlite_errorcode & 0xFF not in _HELD or not may_wait:
            raise
        return False
    return True


def _is_ours(db: sqlite3.Connection) -> bool:
    return int(db.execute("PRAGMA application_id").fetchone()[0]) == _APPLICATION


def _make_tables(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if not _is_ours(db):  # another process may have made them meanwhile
        statement = ""
        for part in (_TABLES + _TRIGGERS).split(";"):  # `executescript` would commit before it begins
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                db.execute(statement)
                statement = ""
        db.execute(f"PRAGMA application_id={_APPLICATION}")
        db.execute(f"PRAGMA user_version={_VERSION}")
    db.execute("COMMIT")


def _set_journal_mode(db: sqlite3.Connection, path: Path) -> None:
    if not is_remote(path):
        try:
            if db.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                raise
    db.execute("PRAGMA journal_mode=TRUNCATE")


def is_remote(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Return whether the file is on a network file system, where WAL's memory would not be shared (Linux only)."""
    if not mounts.exists():
        return False
    real, best, remote = str(path.resolve()), "", False
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        point, kind = line.split()[1:3]
        point = point.replace("\\040", " ")
        if len(point) >= len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
            best, remote = point, kind in _REMOTE
    return remote


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors that the user can act on as ours, in one line; faults of midspec pass unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        if (ours := as_midspec_error(error, path)) is None:
            raise
        raise ours from error


def as_midspec_error(error: sqlite3.Error, path: Path) -> MidspecError | None:
    """Return `error` as what the user can act on, or `None` where it is a fault of midspec."""
    if isinstance(error, sqlite3.ProgrammingError):
        return None  # Of Python's own module: it has no code.
    code = error.sqlite_errorcode & 0xFF  # The low byte is the kind, the rest its detail.
    where, hint = str(path), "Free space, or choose another --out"
    if code in _HELD:
        return InUseError("is held by another process", where=where, hint="Wait for it to end")
    if code in _UNWRITABLE:
        return FolderError(f"can't be written: {error}", where=where, hint=hint)
    if code in _FOREIGN:
        what = f"is damaged, or no store of midspec ({error})"
        return DataError(what, where=where, hint="Move it away, or choose another --out")
    return None


_N_ATTEMPTS = "SELECT count(*), count(kind), ifnull(max(done_at), 0) * 1000 FROM attempts"
_N_OTHERS = "SELECT (SELECT count(*) FROM batches), (SELECT count(closed_at) FROM batches), (SELECT count(*) FROM kept)"


def copy_store(path: Path, target: Path) -> None:
    """Copy a store as it is at one moment, while others may write to it.

    Raises:
        DataError: the file is no store, or damaged.
        FolderError: the copy can't be written.
    """
    with plain_errors(path), closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
        # A copy has one writer and no side files: it is moved about as one file.
        copy.execute("PRAGMA journal_mode=DELETE")


def store_state(path: Path) -> tuple[int, ...]:
    """Return numbers that change with each attempt, reply, batch and kept value of a store.

    Raises:
        DataError: the file is no store, or damaged.
    """
    with plain_errors(path), closing(sqlite3.connect(path)) as db:
        found = (*db.execute(_N_ATTEMPTS).fetchone(), *db.execute(_N_OTHERS).fetchone())
    return tuple(map(int, found))


_MAX_PREFIXES = 8


class PromptHash:
    """SHA-256 of all that is sent as text; the long prefix that a stage shares is hashed once, not once a request."""

    def __init__(self) -> None:
        self._begun: OrderedDict[str, _Hash] = OrderedDict()

    def of(self, request: Request) -> str:
        """Return 64 hexadecimal digits of prefix, prompt, turns and form, each set apart from its neighbours."""
        begun = self._begun.get(request.prefix)
        if begun is None:
            if len(self._begun) >= _MAX_PREFIXES:
                self._begun.popitem(last=False)
            # JSON is a form that no two texts share and that a lone surrogate doesn't break.
            begun = self._begun[request.prefix] = hashlib.sha256(json.dumps(request.prefix).encode())
        digest = begun.copy()
        rest: list[object] = [request.prompt, [(turn.role, turn.content) for turn in request.turns], request.form]
        digest.update(json.dumps(rest, sort_keys=True).encode())
        return digest.hexdigest()
