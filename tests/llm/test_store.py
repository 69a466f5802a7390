"""The store: nothing that was recorded is lost, by any way in which a process can end."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.errors import DataError, FolderError, InUseError
from midspec.llm import Outcome, Request, ScriptedClient, Store, Stored, Usage
from midspec.llm._store_schema import is_remote

OK = Outcome(
    kind="ok",
    text="a reply",
    stop_reason="stop",
    usage=Usage(n_input=10, n_cache_read=20, n_cache_write=30, n_output=40),
    cost_usd=0.5,
    model="m-2026",
)


def asked(task: str = "t", turn: int = 0, stage: str = "documents", **changed: object) -> Request:
    return Request(task=task, stage=stage, prompt="write", max_tokens=100, turn=turn).model_copy(update=changed)


def recorded(store: Store, request: Request, outcome: Outcome = OK) -> None:
    store.close(store.open(request, "openai/m", "author", "{}"), outcome)


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


def test_an_outcome_comes_back_as_it_was_recorded(store: Store) -> None:
    recorded(store, asked())
    assert store.answer("t", 0) == OK
    assert store.final("t") == OK
    assert store.answer("t", 1) is None
    assert store.answer("u", 0) is None


def test_any_text_comes_back_and_halves_of_surrogate_pairs_lose_no_reply(store: Store) -> None:
    @given(text=st.text(), note=st.text())
    def holds(text: str, note: str) -> None:
        recorded(store, asked(), OK.model_copy(update={"text": text + "\ud83d", "note": note}))
        found = store.answer("t", 0)
        assert found is not None
        assert (found.text, found.note) == (text + "?", note)

    holds()


@pytest.mark.parametrize("kind", ["ok", "refused", "truncated", "filtered", "failed", "unparsable"])
def test_what_is_settled_is_an_answer(store: Store, kind: str) -> None:
    recorded(store, asked(), OK.model_copy(update={"kind": kind}))
    assert store.answer("t", 0) is not None


@pytest.mark.parametrize("kind", ["timed_out", "over_budget"])
def test_what_may_be_asked_again_is_no_answer(store: Store, kind: str) -> None:
    recorded(store, asked(), Outcome(kind=kind, note="why"))
    store.open(asked(), "openai/m", "author", "{}")
    store.again(store.open(asked(), "openai/m", "author", "{}"), "429")
    assert store.answer("t", 0) is None


def test_a_failure_is_settled_for_the_same_words_and_cap_alone(store: Store) -> None:
    failed = Outcome(kind="failed", note="400: max_tokens is too large")
    recorded(store, asked(), failed)
    assert store.settled(asked()) == failed
    assert store.settled(asked(max_tokens=50)) is None
    assert store.settled(asked(prompt="write less")) is None
    recorded(store, asked(max_tokens=50))
    assert store.settled(asked(max_tokens=50)) == OK


def test_a_cut_reply_is_settled_for_no_higher_cap_than_it_had(store: Store) -> None:
    cut = Outcome(kind="truncated", text="Tea is")
    recorded(store, asked(max_tokens=100), cut)
    assert store.settled(asked(max_tokens=100)) == cut
    assert store.settled(asked(max_tokens=50)) == cut
    assert store.settled(asked(max_tokens=200)) is None


def test_two_draws_of_one_prompt_are_two_rows(store: Store) -> None:
    recorded(store, asked("draw 1"))
    recorded(store, asked("draw 2"), OK.model_copy(update={"text": "another"}))
    assert [store.answer(task, 0).text for task in ("draw 1", "draw 2")] == ["a reply", "another"]


def test_the_final_reply_is_the_good_one_of_the_last_turn(store: Store) -> None:
    recorded(store, asked(turn=0), OK.model_copy(update={"text": "first"}))
    recorded(store, asked(turn=1), OK.model_copy(update={"text": "second"}))
    recorded(store, asked(turn=2), OK.model_copy(update={"kind": "refused"}))
    assert store.final("t").text == "second"
    store.mark("t", 1, "unparsable", "half a form")
    assert store.final("t").text == "first"
    assert store.answer("t", 1).note == "half a form"


def test_the_prompt_is_recorded_as_a_hash_that_every_part_changes(store: Store) -> None:
    other = (
        {},
        {"prompt": "written"},
        {"prefix": "spec"},
        {"prefix": "specw", "prompt": "rite"},
        {"form": {"type": "object"}},
    )
    for changed in other:
        store.open(asked(**changed), "openai/m", "author", "{}")
    rows = store._db.execute("SELECT prompt_sha256 FROM attempts").fetchall()
    assert len({row[0] for row in rows}) == len(other)
    store.open(asked("another task"), "openai/m", "author", "{}")
    assert store._db.execute("SELECT count(DISTINCT prompt_sha256) FROM attempts").fetchone()[0] == len(other)


# The file --------------------------------------------------------------------------------------------------------


def test_the_file_and_those_beside_it_are_for_their_owner_alone(store: Store) -> None:
    recorded(store, asked())
    files = list(store.path.parent.iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_is_a_write_ahead_log_where_that_can_be_had(store: Store) -> None:
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_where_there_is_no_shared_memory_it_falls_back_to_the_rollback_journal(tmp_path: Path) -> None:
    # SQLite's dot-file locking has no shared memory, as a network file system has none.
    for _ in range(2):
        with Store(tmp_path / "calls.sqlite", vfs="unix-dotfile") as store:
            assert store._db.execute("PRAGMA journal_mode").fetchone()[0] in ("truncate", "delete")
            recorded(store, asked())
            assert store.answer("t", 0) == OK


def _text_file(path: Path) -> None:
    path.write_text("documents " * 500)


def _other_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE attempts (id)")
    db.close()


def _newer_store(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()


@pytest.mark.parametrize("make", [_text_file, _other_database, _newer_store])
def test_a_file_that_is_no_store_of_ours_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, make) -> None:
    path = tmp_path / "calls.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(DataError) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "calls.sqlite"):
        with pytest.raises(FolderError):
            Store(path)


def test_a_full_disk_is_said_and_what_was_recorded_stays(store: Store) -> None:
    recorded(store, asked())
    store._db.execute("PRAGMA max_page_count=1")
    with pytest.raises(FolderError, match="full"):
        recorded(store, asked("u"), OK.model_copy(update={"text": "long " * 10_000}))
    assert store.answer("t", 0) == OK


def test_opening_it_a_second_time_leaves_the_locks_of_the_first(store: Store) -> None:
    """POSIX drops a process's locks on a file when any handle of it is closed; then others believe they are alone."""
    recorded(store, asked())
    Store(store.path).close()
    read = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM attempts'); db.close()"
    subprocess.run([sys.executable, "-c", read, str(store.path)], check=True)
    # Whoever believes to be the last one to close takes the log away.
    assert store.path.with_name("calls.sqlite-wal").exists()


def test_a_store_that_another_process_holds_for_long_is_said(store: Store) -> None:
    store._db.execute("PRAGMA busy_timeout=10")
    with sqlite3.connect(store.path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InUseError):
            recorded(store, asked())
    other.close()
    recorded(store, asked())


def test_reading_leaves_no_trace(store: Store) -> None:
    recorded(store, asked())
    before = store.path.read_bytes()
    with Store(store.path) as reader:
        assert reader.ledger()[0].n_asked == 1
        assert reader.final("t") == OK
    assert store.path.read_bytes() == before


def test_asking_a_closed_store_is_an_error_of_ours(tmp_path: Path) -> None:
    store = Store(tmp_path / "calls.sqlite")
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.answer("t", 0)


@pytest.mark.parametrize(
    ("place", "remote"),
    [("/home/u/run", True), ("/home", True), ("/homes/run", False), ("/home/u/local disk/run", False), ("/", False)],
)
def test_a_network_file_system_is_known_by_its_mount(tmp_path: Path, place: str, remote: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/vda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/vdb /home/u/local\\040disk ext4 rw 0 0\n"
    )
    assert is_remote(Path(place), mounts) is remote


def test_several_processes_may_have_it_open(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    running = [_child(path, n_tasks=100, name=name) for name in "abc"]
    assert [child.wait(timeout=60) for child in running] == [0, 0, 0]
    with Store(path) as store:
        assert store.ledger()[0].kinds == {"ok": 300}
        assert all(store.answer(f"{name}{i}", 0) is not None for name in "abc" for i in range(100))


# A kill ----------------------------------------------------------------------------------------------------------

CHILD = """
import asyncio, os, sys
from pathlib import Path
from midspec.generation import Pool
from midspec.llm import Outcome, Request, ScriptedClient, Store, Stored, Usage

path, n_tasks, name = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
said = os.open(path.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

async def main():
    store = Store(path)
    def script(request):
        return Outcome(kind="ok", text=request.task * 2000, usage=Usage(n_input=1, n_output=1), cost_usd=0.001)
    client = Stored(ScriptedClient(script, store=store), store)
    pool = Pool(10)
    async def one(i):
        await client.ask(Request(task=f"{name}{i}", stage="documents", prompt="write", max_tokens=100))
        os.write(said, f"{name}{i}\\n".encode())
    for i in range(n_tasks):
        pool.add(lambda i=i: one(i))
    await pool.run()

asyncio.run(main())
"""


def _child(path: Path, n_tasks: int, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(n_tasks), name])


@pytest.mark.slow
def test_a_process_killed_at_any_moment_loses_no_reply_that_it_used(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    for round_ in range(6):
        child = _child(path, n_tasks=100_000, name=f"{round_}-")
        used = path.with_suffix(".said")
        deadline = time.monotonic() + 120
        while not (used.exists() and f"{round_}-{37 * round_}\n" in used.read_text()) and time.monotonic() < deadline:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
        with Store(path) as store:
            tasks = used.read_text().split("\n")[:-1]
            assert any(task.startswith(f"{round_}-") for task in tasks)
            assert all(store.answer(task, 0).text == task * 2000 for task in tasks)
            _assert_totals_add_up(store)
            n_without_outcome = store._db.execute("SELECT count(*) FROM attempts WHERE kind IS NULL").fetchone()[0]
            assert n_without_outcome == store.ledger()[0].n_in_flight
            assert n_without_outcome <= 20 * (round_ + 1)
            assert n_without_outcome == sum(row.n for row in store.unmetered())


def test_requests_in_flight_at_a_kill_are_counted_with_an_estimate(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with Store(path) as store:
        recorded(store, asked("known"))
        store.open(asked("a", prefix="x" * 392), "openai/m", "author", "{}")
        store.open(asked("b", stage="ideas"), "openai/m", "author", "{}")
        assert store.unmetered() == []  # This process may still get its answers.
    with Store(path) as store:
        by_stage = {row.stage: (row.n, row.n_input, row.n_output) for row in store.unmetered()}
        # Four characters a token; as long as the stage's mean where there is one, else as the cap.
        assert by_stage == {"documents": (1, 99, 40), "ideas": (1, 1, 100)}
        assert {row.stage: row.n_in_flight for row in store.ledger()} == {"documents": 1, "ideas": 1}


def test_an_attempt_that_timed_out_may_have_been_billed_and_is_estimated(store: Store) -> None:
    recorded(store, asked(), Outcome(kind="timed_out"))
    recorded(store, asked(), Outcome(kind="failed"))
    store.again(store.open(asked(), "openai/m", "author", "{}"), "503")
    assert [(row.n, row.n_output) for row in store.unmetered()] == [(1, 100)]
    assert store.ledger()[0].kinds == {"timed_out": 1, "failed": 1, "again": 1}
    assert store.ledger()[0].cost_usd is None


def test_what_another_process_has_meanwhile_in_flight_is_seen(store: Store) -> None:
    assert store.unmetered() == []
    with Store(store.path) as other:
        attempt = other.open(asked(), "openai/m", "author", "{}")
        assert [row.n for row in store.unmetered()] == [1]
        other.close(attempt, OK)
        assert store.unmetered() == []
        assert store.spent_usd() == 0.5


# Money -----------------------------------------------------------------------------------------------------------

USAGE = st.none() | st.builds(Usage, n_input=st.integers(0, 9), n_output=st.integers(0, 9))
KINDS = st.sampled_from(["ok", "refused", "truncated", "unparsable", "filtered", "timed_out", "failed", "over_budget"])
OUTCOME = st.builds(Outcome, kind=KINDS, usage=USAGE, cost_usd=st.none() | st.sampled_from([0.25, 0.5, 2.0]))
STEP = st.one_of(
    st.tuples(st.just("close"), st.sampled_from("abc"), st.integers(0, 1), OUTCOME),
    st.tuples(st.just("open"), st.sampled_from("abc"), st.integers(0, 1), st.none()),
    st.tuples(st.just("again"), st.sampled_from("abc"), st.integers(0, 1), st.none()),
    st.tuples(st.just("mark"), st.sampled_from("abc"), st.integers(0, 1), st.sampled_from(["ok", "unparsable"])),
    st.tuples(st.just("price"), st.just("a"), st.just(0), st.sampled_from([None, 1.0])),
)


def _assert_totals_add_up(store: Store) -> None:
    """What the triggers summed is what the rows say."""
    rows = store._db.execute(
        "SELECT stage, kind, count(*), total(n_input), total(n_output), total(cost_usd) FROM attempts"
        " WHERE kind IS NOT NULL GROUP BY stage, kind ORDER BY stage, kind"
    ).fetchall()
    sums = store._db.execute(
        "SELECT stage, kind, n, n_input, n_output, cost_usd FROM totals WHERE n > 0 ORDER BY stage, kind"
    ).fetchall()
    assert [row[:5] for row in rows] == [row[:5] for row in sums]
    assert [row[5] for row in rows] == pytest.approx([row[5] for row in sums])


@settings(max_examples=30)
@given(steps=st.lists(STEP, max_size=20))
def test_the_sums_are_those_of_the_rows_whatever_happens(tmp_path_factory, steps) -> None:
    with Store(tmp_path_factory.mktemp("s") / "calls.sqlite") as store:
        for what, task, turn, value in steps:
            request = asked(task, turn, stage="documents" if task == "a" else "ideas")
            if what == "mark":
                store.mark(task, turn, value, "note")
            elif what == "price":
                store.price(lambda *_, usd=value: usd)
            else:
                attempt = store.open(request, "openai/m", "author", "{}")
                if what == "close":
                    store.close(attempt, value)
                elif what == "again":
                    store.again(attempt, "429")
        _assert_totals_add_up(store)
        billed = "kind IN ('ok', 'refused', 'truncated', 'unparsable', 'filtered', 'timed_out') AND cost_usd IS NULL"
        count = "SELECT count(*) FROM attempts WHERE n_input IS {} NULL AND " + billed
        assert store.unpriced() == store._db.execute(count.format("NOT")).fetchone()[0]
        assert sum(row.n for row in store.unmetered()) == store._db.execute(count.format("")).fetchone()[0]


def test_an_unknown_price_is_never_zero_and_is_filled_in_when_it_is_known(store: Store) -> None:
    recorded(store, asked("a"), OK.model_copy(update={"cost_usd": None}))
    assert store.unpriced() == 1
    assert store.ledger()[0].cost_usd is None
    recorded(store, asked("b"))
    assert store.ledger()[0].cost_usd == 0.5
    assert store.ledger()[0].n_unpriced == 1
    store.price(
        lambda model, usage, batch, _sent_at: 0.01 * usage.n_output if model == "openai/m" and not batch else None
    )
    assert store.unpriced() == 0
    assert store.spent_usd() == pytest.approx(0.9)


def test_the_ledger_is_by_stage_role_and_model(store: Store) -> None:
    recorded(store, asked("a"))
    recorded(store, asked("b"), OK.model_copy(update={"kind": "refused"}))
    store.close(store.open(asked("c"), "anthropic/j", "judge", "{}"), OK)
    judge, author = store.ledger()[1], store.ledger()[0]
    assert (author.model, author.role, author.n_asked, author.kinds) == (
        "openai/m",
        "author",
        2,
        {"ok": 1, "refused": 1},
    )
    assert (judge.model, judge.role, judge.n_asked, judge.kinds) == ("anthropic/j", "judge", 1, {"ok": 1})
    assert author.usage == Usage(n_input=20, n_cache_read=40, n_cache_write=60, n_output=80)
    assert author.cost_usd == 1.0
    assert author.seconds >= 0


# Batches and decisions -------------------------------------------------------------------------------------------


def test_a_batch_is_found_again_after_a_kill_and_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with Store(path) as store:
        store.save_batch("ours", {"1": ("a", 0), "2": ("b", 0)}, model="openai/m")
        attempts = [store.open(asked(task), "openai/m", "author", "{}", "ours") for task in "ab"]
        assert store.open_batches()[0].provider_id is None
        store.submitted("ours", "batch_123")
    with Store(path) as store:
        (batch,) = store.open_batches()
        assert (batch.batch_id, batch.provider_id, batch.items) == ("ours", "batch_123", {"1": ("a", 0), "2": ("b", 0)})
        assert store.unmetered() == []
        store.close(attempts[0], OK)
        store.close_batch("ours", "expired")
        assert store.open_batches() == []
        assert store.answer("a", 0) == OK
    with Store(path) as store:
        assert [row.n for row in store.unmetered()] == [1]


def test_a_batch_is_saved_whole_or_not_at_all(store: Store) -> None:
    store.save_batch("ours", {"1": ("a", 0)})
    with pytest.raises(sqlite3.IntegrityError):
        store.save_batch("ours", {"2": ("b", 0)})
    assert store.open_batches()[0].items == {"1": ("a", 0)}
    recorded(store, asked())


def test_the_first_decision_stays_and_they_come_back_in_the_order_they_were_made(store: Store) -> None:
    store.keep("questions/z", "1")
    store.keep("questions/a", "2")
    store.keep("names/a", "3")
    store.keep("questions/z", "4")
    assert store.kept("questions/") == [("questions/z", "1"), ("questions/a", "2")]
    store.keep("cut/\ud83d", "\ud83d")
    assert store.kept("cut/") == [("cut/?", "?")]
    assert store.kept("")[:3] == [("questions/z", "1"), ("questions/a", "2"), ("names/a", "3")]


def test_a_stored_client_asks_only_what_is_not_settled(store: Store) -> None:
    recorded(store, asked("known"))
    client = ScriptedClient(lambda request: f"new for {request.task}")
    stored = Stored(client, store)
    assert asyncio.run(stored.ask(asked("known"))) == OK
    assert asyncio.run(stored.ask(asked("new"))).text == "new for new"
    assert [request.task for request in client.asked] == ["new"]
    asyncio.run(stored.close())


def test_a_reply_is_the_same_when_it_comes_and_when_it_is_replayed(store: Store) -> None:
    for task, text in (("plain", "tea"), ("german", "Grüße 🍵"), ("cut", "half a cup \ud83d")):
        stored = Stored(ScriptedClient(lambda request, text=text: text, store=store), store)
        first, again = (asyncio.run(stored.ask(asked(task))) for _ in range(2))
        assert first == again
        first.model_dump_json()  # What reaches a file must be writable.


@pytest.mark.slow
def test_a_request_costs_as_little_at_twenty_thousand_rows_as_at_a_thousand(store: Store) -> None:
    def cpu_s(first: int) -> float:
        began = time.process_time()
        for index in range(first, first + 1000):
            store.answer(f"{index}", 0)
            recorded(store, asked(f"{index}"))
            store.spent_usd()
        return time.process_time() - began

    early = min(cpu_s(0), cpu_s(1000), cpu_s(2000))
    for index in range(3000, 20_000):
        recorded(store, asked(f"{index}"))
    late = min(cpu_s(20_000), cpu_s(21_000), cpu_s(22_000))
    assert late / early < 3  # more than ten, where it grows with the rows


FIRST = """
import sys, time
from pathlib import Path
from midspec.llm import Outcome, Request, Store

go = Path(sys.argv[1]).with_suffix(".go")
go.with_suffix(f".{sys.argv[2]}").touch()
while not go.exists():
    pass
with Store(Path(sys.argv[1])) as store:
    request = Request(task=sys.argv[2], stage="documents", prompt="write", max_tokens=100)
    store.close(store.open(request, "openai/m", "author", "{}"), Outcome(kind="ok"))
"""


def test_processes_that_make_the_file_at_the_same_moment_all_have_it(tmp_path: Path) -> None:
    path, names = tmp_path / "calls.sqlite", "abcd"
    running = [subprocess.Popen([sys.executable, "-c", FIRST, str(path), name]) for name in names]
    while not all(path.with_suffix(f".{name}").exists() for name in names):
        assert [child.poll() for child in running] == [None] * len(names)
        time.sleep(0.001)
    path.with_suffix(".go").touch()
    assert [child.wait(timeout=60) for child in running] == [0] * len(names)
    with Store(path) as store:
        assert store.ledger()[0].kinds == {"ok": len(names)}


def test_a_file_that_is_being_made_is_waited_for(tmp_path: Path) -> None:
    """Many first openings at the same moment, by as many connections."""
    for round_ in range(20):
        path, together = tmp_path / f"{round_}.sqlite", threading.Barrier(6)

        def make(index: int, path: Path = path, together: threading.Barrier = together) -> None:
            together.wait()
            with Store(path) as store:
                recorded(store, asked(str(index)))

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(make, range(6)))
        with Store(path) as store:
            assert store.ledger()[0].kinds == {"ok": 6}
            assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Two processes, and copies -------------------------------------------------------------------------------------------
BATCHES = """
import sys
from pathlib import Path
from midspec.llm import Outcome, Request, Store

path, name = Path(sys.argv[1]), sys.argv[2]
with Store(path) as store:
    for number in range(60):
        # What is read first and written then, in one breath, would end in "database is locked" in a deferred
        # transaction as soon as the other process has written in between.
        store.open_batches(), store.ledger(), store.spent_usd()
        keys = {f"{name}-{number}-{at}": (f"{name}{number}", at) for at in range(5)}
        store.save_batch(f"{name}-{number}", keys, model="openai/m")
        asked = Request(task=f"{name}{number}", stage="s", prompt="p", max_tokens=5)
        attempt = store.open(asked, "openai/m", "author", "{}")
        store.close(attempt, Outcome(kind="ok", text="x"))
        store.mark(f"{name}{number}", 0, "unparsable", "no")
        store.close_batch(f"{name}-{number}")
"""


def test_two_processes_that_read_and_write_batches_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    running = [subprocess.Popen([sys.executable, "-c", BATCHES, str(path), name]) for name in "ab"]
    assert [child.wait(timeout=60) for child in running] == [0, 0]
    with Store(path) as store:
        assert store.ledger()[0].kinds == {"unparsable": 120}
        assert store.open_batches() == []


def test_a_copy_of_an_open_store_is_whole_when_sqlite_makes_it(store: Store, tmp_path: Path) -> None:
    for number in range(50):
        asked = Request(task=f"t{number}", stage="s", prompt="p", max_tokens=5)
        store.close(store.open(asked, "openai/m", "author", "{}"), Outcome(kind="ok", text="x"))
    with closing(sqlite3.connect(store.path)) as source, closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        source.backup(copy)
    with Store(tmp_path / "copy.sqlite") as copied:
        assert copied.ledger() == store.ledger()
        assert copied.answer("t49", 0) is not None
