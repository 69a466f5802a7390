"""One SQLite file a run: a row for every attempt, written before anything is done with the reply."""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, overload

from midspec.core.records import Strict
from midspec.llm._ledger import (
    BudgetReservations,
    LedgerRow,
    UnmeteredAttempts,
    price_rows,
    read_ledger,
    read_unmetered,
    unfinished,
)
from midspec.llm._server_words import is_doubtful_refusal
from midspec.llm._store_schema import PromptHash, as_midspec_error, connect, plain_errors
from midspec.llm._types import ModelRole, Outcome, OutcomeKind, Request, Usage

_LOG = logging.getLogger(__name__)
_REOPENED = "reopened/"
_REOPEN = "INSERT INTO kept (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_LAST_CHAR = "\U0010ffff"
_FINAL = "('ok', 'refused', 'truncated', 'filtered', 'failed', 'unparsable')"
_OUTCOME = "kind, text, stop_reason, n_input, n_cache_read, n_cache_write, n_output, cost_usd, answered_by, note"
_ANSWER = (
    f"SELECT {_OUTCOME} FROM attempts WHERE task = ? AND turn = ? AND id > ? AND kind IN {_FINAL}"  # noqa: S608
    " ORDER BY id DESC LIMIT 1"
)
_OPEN = (
    "INSERT INTO attempts (task, turn, stage, duty, model, prompt_sha256, sampling, max_tokens, n_chars, opening,"
    " batch_id, sent_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_CLOSE = (
    "UPDATE attempts SET done_at = ?, kind = ?, text = ?, stop_reason = ?, n_input = ?, n_cache_read = ?,"
    " n_cache_write = ?, n_output = ?, cost_usd = ?, answered_by = ?, note = ? WHERE id = ?"
)
_AGAIN = "UPDATE attempts SET done_at = ?, kind = 'again', note = ? WHERE id = ?"
_LATEST = f"(SELECT id FROM attempts WHERE task = ? AND turn = ? AND kind IN {_FINAL} ORDER BY id DESC LIMIT 1)"  # noqa: S608
_ASKED_AS = f"SELECT prompt_sha256, max_tokens, opening, model FROM attempts WHERE id = {_LATEST}"  # noqa: S608
_N_REFUSED = (
    "SELECT count(*) FROM attempts WHERE task = ? AND turn = ? AND id > ? AND kind = 'failed' AND stop_reason = '400'"
    " AND prompt_sha256 = ? AND max_tokens = ?"
)
_NO_REPLY = "('again', 'failed', 'timed_out', 'over_budget')"
_ANSWERED = f"SELECT 1 FROM totals WHERE model = ? AND n > 0 AND kind NOT IN {_NO_REPLY} LIMIT 1"  # noqa: S608
_SAMPLING = f"SELECT DISTINCT model, sampling FROM attempts WHERE kind IN {_FINAL}"  # noqa: S608
_LAST_OK = "(SELECT id FROM attempts WHERE task = ? AND id > ? AND kind = 'ok' ORDER BY turn DESC, id DESC LIMIT 1)"


class BatchRow(Strict):
    """A batch: ours from before it is submitted, and the provider's own id once it has given one.

    Attributes:
        batch_id: our handle.
        provider_id: the provider's id; `None` where a process ended between the two.
        model: as configured.
        role: author or judge.
        made_at: when the handle was made, in seconds of Unix time.
        items: which request each custom id stands for, as task and turn.
    """

    batch_id: str
    provider_id: str | None
    model: str
    role: ModelRole
    made_at: float
    items: dict[str, tuple[str, int]]


class Store:
    """The record of everything that was asked of language models in one run: no reply is lost, none is paid twice.

    Each method is one statement that is committed when it returns, in some ten microseconds. It is a record and not a
    cache: rows are found by `Request.task` and `turn`, so two draws of one prompt are two tasks and two rows. Nothing
    of it is kept in memory. Several processes may have the file open.

    Args:
        path: the file; made, for its owner alone to read, where there is none.
        vfs: the SQLite VFS, for a file system without POSIX locks (`unix-dotfile`).

    Raises:
        DataError: the file is no store, or one of a newer midspec.
        FolderError: the file can't be made or written, or the disk is full.
        InUseError: another process has held it for half a minute.
    """

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self.path = path
        self._db = connect(path, vfs)
        self._hash = PromptHash()
        self.reservations = BudgetReservations()
        self._elsewhere: tuple[int, list[tuple[Any, ...]]] | None = None
        self._opening = 0
        self._reopened: dict[str, int] | None = None
        self._has_told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        # Not `plain_errors`: a generator would cost as much as a short statement.
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            if (ours := as_midspec_error(error, self.path)) is None:
                raise
            raise ours from error

    # One request ---------------------------------------------------------------------------------------------------

    def answer(self, task: str, turn: int) -> Outcome | None:
        """Return the outcome of this request, if that is settled: never an attempt that may be made again."""
        row = self._run(_ANSWER, (task, turn, self._floors().get(task, 0))).fetchone()
        return None if row is None else _outcome(row)

    def settled(self, request: Request) -> Outcome | None:
        """Return the outcome of this request, unless it is now asked in a way that may change that.

        A reply that was cut may be whole with a higher cap; a server that refused a cap or a prompt as wrong may take
        another one. A plain 400 may have been of the server's state, in words that nobody knows here: what ended so in
        an earlier run is asked once more, and stays so if it ends so again.
        """
        found = self.answer(request.task, request.turn)
        if found is None or found.kind not in ("truncated", "failed"):
            return found
        sha256, cap, opening, model = self._run(_ASKED_AS, (request.task, request.turn)).fetchone()
        if found.kind == "truncated":
            return found if request.max_tokens <= cap else None
        if (self._hash.of(request), request.max_tokens) != (sha256, cap):
            return None
        if opening == self._opening or not is_doubtful_refusal(found.stop_reason, found.note):
            return found
        floor = self._floors().get(request.task, 0)
        if self._run(_N_REFUSED, (request.task, request.turn, floor, sha256, cap)).fetchone()[0] != 1:
            return found
        if not self._has_told:
            self._has_told = True
            what = "%s: what the server refused in an earlier run for no known reason is asked once more (%s)"
            _LOG.warning(what, model, found.note)
        return None

    def pending(self, task: str, turn: int) -> int | None:
        """Return the id of this request's newest attempt that has no outcome."""
        statement = "SELECT max(id) FROM attempts WHERE task = ? AND turn = ? AND kind IS NULL"
        found: int | None = self._run(statement, (task, turn)).fetchone()[0]
        return found

    def open(
        self,
        request: Request,
        model: str,
        role: ModelRole,
        sampling: str,
        batch_id: str | None = None,
    ) -> int:
        """Record that an attempt is about to be sent, and return its id.

        Args:
            request: what is asked.
            model: `provider/name`, as configured.
            role: author or judge.
            sampling: temperature and the provider's own fields, as JSON.
            batch_id: the batch that the attempt goes with.
        """
        if not self._opening:  # whoever only reads leaves no row
            opened = (socket.gethostname(), os.getpid(), time.time())
            row = self._run("INSERT INTO openings (host, pid, opened_at) VALUES (?, ?, ?)", opened)
            self._opening = int(row.lastrowid)
        n_chars = len(request.prefix) + len(request.prompt) + sum(len(turn.content) for turn in request.turns)
        values = (
            request.task,
            request.turn,
            request.stage,
            role,
            model,
            self._hash.of(request),
            sampling,
            request.max_tokens,
            n_chars,
            self._opening,
            batch_id,
            time.time(),
        )
        return int(self._run(_OPEN, values).lastrowid)

    @overload
    def close(self) -> None: ...
    @overload
    def close(self, attempt: int, outcome: Outcome) -> None: ...
    def close(self, attempt: int | None = None, outcome: Outcome | None = None) -> None:
        """Record what came of an attempt; without arguments, let go of the file (asking afterwards is an error)."""
        if attempt is None or outcome is None:
            self._db.close()
            return
        usage = outcome.usage
        tokens = (
            (None, None, None, None)
            if usage is None
            else (usage.n_input, usage.n_cache_read, usage.n_cache_write, usage.n_output)
        )
        said = (time.time(), outcome.kind, _whole(outcome.text), _whole(outcome.stop_reason))
        self._run(_CLOSE, (*said, *tokens, outcome.cost_usd, _whole(outcome.model), _whole(outcome.note), attempt))

    def set_sampling(self, attempt: int, sampling: str) -> None:
        """Record how an attempt was really sampled, where that was learnt only from the server's refusal."""
        self._run("UPDATE attempts SET sampling = ? WHERE id = ?", (sampling, attempt))

    def sampling(self) -> dict[str, list[dict[str, Any]]]:
        """Return how each model was really asked to sample, whatever was configured."""
        found: dict[str, list[dict[str, Any]]] = {}
        for model, sampling in self._run(f"{_SAMPLING} ORDER BY model, sampling"):
            found.setdefault(model, []).append(json.loads(sampling))
        return found

    def sent_at(self, attempt: int) -> float:
        """Return when an attempt was sent, in seconds of Unix time."""
        return float(self._run("SELECT sent_at FROM attempts WHERE id = ?", (attempt,)).fetchone()[0])

    def has_answers(self, model: str) -> bool:
        """Return whether this model has ever replied."""
        return self._run(_ANSWERED, (model,)).fetchone() is not None

    def again(self, attempt: int, note: str) -> None:
        """Record that an attempt came to nothing (429, 5xx, a reset) and is made again; nothing was billed for it."""
        self._run(_AGAIN, (time.time(), _whole(note), attempt))

    def mark(self, task: str, turn: int, kind: OutcomeKind, note: str) -> None:
        """Change the verdict on a settled reply: its text could not be read (`unparsable`), or now can (`ok`)."""
        self._run(f"UPDATE attempts SET kind = ?, note = ? WHERE id = {_LATEST}", (kind, _whole(note), task, turn))  # noqa: S608

    def reopen(self, task: str) -> None:
        """Have what was answered of a task so far asked again; its rows stay as they are, and what they cost."""
        newest = self._run("SELECT ifnull(max(id), 0) FROM attempts WHERE task = ?", (task,)).fetchone()[0]
        self._run(_REOPEN, (_REOPENED + task, str(newest)))
        self._floors()[task] = int(newest)

    def _floors(self) -> dict[str, int]:
        """Return the newest attempt of each task that was opened again: only those after it are answers."""
        if self._reopened is None:
            self._reopened = {key.removeprefix(_REOPENED): int(newest) for key, newest in self.kept(_REOPENED)}
        return self._reopened

    def final(self, task: str) -> Outcome | None:
        """Return the good reply of this task's last turn; to read texts back one at a time."""
        last = (task, self._floors().get(task, 0))
        row = self._run(f"SELECT {_OUTCOME} FROM attempts WHERE id = {_LAST_OK}", last).fetchone()  # noqa: S608
        return None if row is None else _outcome(row)

    # Money ---------------------------------------------------------------------------------------------------------

    def spent_usd(self) -> float:
        """Return what all priced attempts cost together; see `unpriced` and `unmetered` for the rest."""
        return float(self._run("SELECT total(cost_usd) FROM totals").fetchone()[0])

    def unpriced(self) -> int:
        """Return how many attempts have a usage that nobody could price."""
        return int(self._run("SELECT ifnull(sum(n_unpriced), 0) FROM totals").fetchone()[0])

    def price(self, cost: Callable[[str, Usage, bool, float], float | None]) -> None:
        """Price what was asked while nobody knew a price: `cost(model, usage, batch, sent_at)` gives USD or `None`."""
        if self.unpriced():
            price_rows(self._run, cost)

    def unmetered(self) -> list[UnmeteredAttempts]:
        """Return attempts that may have been billed without a known usage, by stage, with an estimate of it.

        In flight when their process was killed (or now, in another process), timed out, or answered by a server that
        counts no tokens. What this very store has in flight is not among them, nor what waits in an open batch.
        """
        # The number changes when another connection has written: until then nothing can have changed elsewhere.
        now = int(self._run("PRAGMA data_version").fetchone()[0])
        if self._elsewhere is None or self._elsewhere[0] != now:
            self._elsewhere = (now, unfinished(self._run, self._opening))
        return read_unmetered(self._run, self._elsewhere[1])

    def ledger(self) -> list[LedgerRow]:
        """Return what was asked and spent so far, in the order of stage, role and model."""
        return read_ledger(self._run)

    # Batches -------------------------------------------------------------------------------------------------------

    def save_batch(
        self, batch_id: str, items: Mapping[str, tuple[str, int]], *, model: str = "", role: ModelRole = "author"
    ) -> None:
        """Record a batch and what its custom ids stand for, all at once, before its attempts and its submission."""
        with plain_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                values = (batch_id, model, role, time.time())
                self._db.execute("INSERT INTO batches (batch_id, model, duty, made_at) VALUES (?, ?, ?, ?)", values)
                self._db.executemany(
                    "INSERT INTO batch_items VALUES (?, ?, ?, ?)",
                    ((batch_id, custom_id, task, turn) for custom_id, (task, turn) in items.items()),
                )
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def submitted(self, batch_id: str, provider_id: str) -> None:
        """Record the provider's id of a batch."""
        self._run("UPDATE batches SET provider_id = ? WHERE batch_id = ?", (provider_id, batch_id))

    def open_batches(self) -> list[BatchRow]:
        """Return batches whose replies have not all been recorded, the oldest first."""
        statement = (
            "SELECT batch_id, provider_id, model, duty, made_at FROM batches WHERE closed_at IS NULL"
            " ORDER BY made_at, batch_id"
        )
        names = ("batch_id", "provider_id", "model", "role", "made_at")
        rows = [dict(zip(names, row, strict=True)) for row in self._run(statement).fetchall()]
        items = "SELECT custom_id, task, turn FROM batch_items WHERE batch_id = ?"
        return [
            BatchRow(
                **row,
                items={custom_id: (task, turn) for custom_id, task, turn in self._run(items, (row["batch_id"],))},
            )
            for row in rows
        ]

    def close_batch(self, batch_id: str, note: str = "") -> None:
        """Record that nothing more comes of a batch (`note` says why, where it did not end well)."""
        values = (time.time(), note, batch_id)
        self._run("UPDATE batches SET closed_at = ?, note = ? WHERE batch_id = ?", values)

    # Decisions -----------------------------------------------------------------------------------------------------

    def keep(self, key: str, value: str) -> None:
        """Record a decision that depends on the order in which replies came, once and for all: the first one stays."""
        self._run("INSERT OR IGNORE INTO kept (key, value) VALUES (?, ?)", (_whole(key), _whole(value)))

    def kept(self, prefix: str) -> list[tuple[str, str]]:
        """Return decisions whose key begins with `prefix`, as key and value, in the order in which they were made."""
        statement = "SELECT key, value FROM kept WHERE key >= ? AND key < ? ORDER BY id"
        return list(self._run(statement, (prefix, prefix + _LAST_CHAR)))


def _whole(text: str) -> str:
    """Return `text` without halves of surrogate pairs, which a server's JSON can hold and UTF-8 can't."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def as_recorded(outcome: Outcome) -> Outcome:
    """Return `outcome` as the store gives it back: what is done with a reply is the same at every replay."""
    said = {name: getattr(outcome, name) for name in ("text", "stop_reason", "model", "note")}
    changed = {name: whole for name, text in said.items() if (whole := _whole(text)) != text}
    return outcome.model_copy(update=changed) if changed else outcome


def _outcome(row: tuple[Any, ...]) -> Outcome:
    kind, text, stop_reason, n_input, n_cache_read, n_cache_write, n_output, cost_usd, model, note = row
    # The row was written from a validated outcome; validating it again would cost more than reading it.
    usage = None
    if n_input is not None:
        usage = Usage.model_construct(
            n_input=n_input, n_cache_read=n_cache_read, n_cache_write=n_cache_write, n_output=n_output
        )
    return Outcome.model_construct(
        kind=kind, text=text, stop_reason=stop_reason, usage=usage, cost_usd=cost_usd, model=model, note=note
    )
