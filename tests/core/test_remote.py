"""A folder at a URL and its lock: on a real S3 server, and on a disk by the same calls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.s3_server import READER, Fault, FaultProxy, S3Server, use_s3

from midspec.core.artifact import REMOTE_LOCK, LockTiming, RemoteFolder, RemoteLock, check_name, without_secrets
from midspec.core.errors import ConfigError, DataError, FolderError, InUseError, MissingError, UnreachableError

QUICK = LockTiming(beat_s=0.05, stale_s=0.5, watch_s=0.5, settle_s=0.05)


@pytest.fixture(params=["s3", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFolder:
    """An empty folder in both kinds of store."""
    url = request.getfixturevalue("s3") if request.param == "s3" else f"file://{tmp_path}/store"
    return RemoteFolder.at(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://run", "memory://run: can't keep a run. Name a URL such as s3://bucket/run"),
        ("simplecache::s3://bucket/run", "simplecache::s3://bucket/run: can't keep a run"),
        ("s3://", "names no folder"),
        ("s4://bucket/run", r"s4://bucket/run: there is no kind of URL s4://\. There is s3://"),
        ("s3://key:secret@bucket/run", r"s3://key:\*\*\*@bucket/run: holds credentials, which S3 does not take"),
    ],
)
def test_a_url_that_cant_keep_a_run_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        RemoteFolder.at(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    user=st.text("abc-_.", min_size=1),
    password=st.text("pqrs@/:?#%!$&'()*+,;=5", min_size=1).filter(lambda text: not text.split("/")[0].isdigit()),
)
def test_a_password_is_never_shown(user: str, password: str) -> None:
    shown = without_secrets(f"can't reach sftp://{user}:{password}@host.example/run today")
    assert shown == f"can't reach sftp://{user}:***@host.example/run today"


def test_signatures_and_tokens_are_not_shown_and_ports_are() -> None:
    said = "GET http://127.0.0.1:9000/b/x?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=abc&list-type=2 failed"
    assert without_secrets(said) == (
        "GET http://127.0.0.1:9000/b/x?X-Amz-Credential=***&X-Amz-Signature=***&list-type=2 failed"
    )


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../other/run.json", "steps/../../x", "a\\..\\b", "a\0b"])
def test_a_name_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names a file outside of its folder"):
        check_name(name, "s3://bucket/run")
    with pytest.raises(DataError):
        RemoteFolder.at(f"file://{tmp_path}/store").write(name, b"")


def test_files_come_back_as_they_were_sent(folder: RemoteFolder, tmp_path: Path) -> None:
    assert folder.list() == {}
    assert folder.read("none.json") is None
    contents = {"a.json": b"{}", "steps/corpus/america-s1/rows.jsonl": b"\x00\xff" * 1000, "steps/x+y/empty": b""}
    for name, data in contents.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(data)
    folder.put({name: tmp_path / "out" / name for name in contents})
    assert folder.list() == {name: len(data) for name, data in contents.items()}
    assert folder.read_all([*contents, "gone"]) == contents
    folder.get({name: tmp_path / "in" / name for name in contents})
    assert {name: (tmp_path / "in" / name).read_bytes() for name in contents} == contents
    folder.remove(["a.json", "gone"])
    assert "a.json" not in folder.list()
    with pytest.raises(MissingError, match="is not there"):
        folder.get({"a.json": tmp_path / "again"})


@pytest.mark.parametrize("name", ["a[1]", "b c", "c*d", "d?e", "f#g", "h%20i"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    folder = RemoteFolder.at(f"file://{tmp_path}/{name}/run")
    folder.write("x/y.json", b"1")
    assert folder.list() == {"x/y.json": 1}
    assert folder.read_all(["x/y.json"]) == {"x/y.json": b"1"}
    assert (tmp_path / name / "run" / "x" / "y.json").read_bytes() == b"1"


def test_of_many_that_create_a_file_at_once_one_is_told_that_it_did(folder: RemoteFolder) -> None:
    for name in ("first", "second", "third"):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda n, name=name: folder.create(name, str(n).encode()), range(8)))
        assert sum(made) == 1
        assert folder.read(name) == str(made.index(True)).encode()


def test_a_file_is_replaced_only_if_it_is_what_was_expected(folder: RemoteFolder) -> None:
    assert not folder.replace("lock", b"new", expected=b"old")
    folder.write("lock", b"old")
    assert not folder.replace("lock", b"new", expected=b"other")
    assert folder.replace("lock", b"new", expected=b"old")
    assert folder.read("lock") == b"new"


def test_on_s3_one_of_many_replaces_a_file(s3: str) -> None:
    folder = RemoteFolder.at(s3)
    folder.write("lock", b"old")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: folder.replace("lock", f"{n}".encode(), expected=b"old"), range(8)))
    assert sum(made) == 1
    assert folder.read("lock") == str(made.index(True)).encode()


# The lock -----------------------------------------------------------------------------------------------------------


def test_a_second_holder_is_told_who_is_the_first(folder: RemoteFolder) -> None:
    says = r"another run is writing it \(process \d+ on .+, since 20\d\d-"
    with RemoteLock(folder, "here", QUICK).held(), pytest.raises(InUseError, match=says):
        RemoteLock(folder, "there", QUICK).held().__enter__()
    assert folder.list() == {}, "a lock that was given back leaves nothing"
    with RemoteLock(folder, "there", QUICK).held():
        pass


def test_of_many_that_begin_at_once_one_holds_the_folder(folder: RemoteFolder) -> None:
    barrier, ends = threading.Barrier(4), threading.Event()

    def begin(place: int) -> bool:
        barrier.wait()
        try:
            with RemoteLock(folder, str(place), LockTiming()).held():
                return ends.wait(20)
        except InUseError:
            return False

    with ThreadPoolExecutor(4) as pool:
        begun = [pool.submit(begin, place) for place in range(4)]
        while sum(one.done() for one in begun) < 3:
            time.sleep(0.01)
        ends.set()
    assert sorted(one.result() for one in begun) == [False, False, False, True]


def _die_with_the_lock(folder: RemoteFolder, place: str) -> None:
    """Leave the lock of a process that was killed: nobody renews it."""
    RemoteLock(folder, place, QUICK)._acquire()


def test_the_same_place_takes_its_dead_runs_lock_back_at_once(folder: RemoteFolder) -> None:
    _die_with_the_lock(folder, "here")
    with RemoteLock(folder, "here", LockTiming(settle_s=0.05)).held(), pytest.raises(InUseError):
        RemoteLock(folder, "there", LockTiming()).held().__enter__()


def test_another_place_takes_a_dead_runs_lock_when_it_has_not_changed_for_a_while(folder: RemoteFolder) -> None:
    _die_with_the_lock(folder, "here")
    with pytest.raises(InUseError):
        RemoteLock(folder, "there", LockTiming()).held().__enter__()
    dead = json.loads(folder.read(REMOTE_LOCK) or b"")
    folder.write(REMOTE_LOCK, json.dumps({**dead, "beat_at": dead["beat_at"] - 100}).encode())
    with RemoteLock(folder, "there", QUICK).held():
        assert b'"place":"there"' in (folder.read(REMOTE_LOCK) or b"")


@pytest.mark.parametrize("behind_s", [3600.0, -3600.0])
def test_a_living_holder_whose_clock_is_wrong_keeps_its_lock(
    folder: RemoteFolder, behind_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    with RemoteLock(folder, "here", QUICK).held():
        monkeypatch.setattr(time, "time", lambda: now() + behind_s)
        with pytest.raises(InUseError):
            RemoteLock(folder, "there", QUICK).held().__enter__()


def test_a_lock_that_cant_be_read_is_watched_like_any_other(folder: RemoteFolder) -> None:
    folder.write(REMOTE_LOCK, b"")
    with RemoteLock(folder, "here", QUICK).held():
        pass


@pytest.mark.parametrize("look", ["by the heartbeat", "before an upload"])
def test_a_run_whose_lock_was_taken_is_told_by_whom(folder: RemoteFolder, look: str) -> None:
    timing = QUICK if look == "by the heartbeat" else LockTiming()
    lock = RemoteLock(folder, "here", timing)
    with lock.held():
        lock.confirm()
        other = RemoteLock(folder, "there", QUICK)
        folder.write(REMOTE_LOCK, other._written)
        deadline = time.monotonic() + 20
        while look == "by the heartbeat" and not lock._lost_to and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(InUseError, match="another run took it over"):
            lock.check() if look == "by the heartbeat" else lock.confirm()
    assert folder.read(REMOTE_LOCK) == other._written, "the lock of another is not removed"


# Faults of a store --------------------------------------------------------------------------------------------------


def _refused(act: Callable[[], object], kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match) as caught:
        act()
    said = str(caught.value)
    assert "\n" not in said
    assert "test-secret" not in said
    assert READER[1] not in said


def test_a_bucket_that_is_not_there_is_told_and_not_made(s3: str) -> None:
    del s3
    folder = RemoteFolder.at("s3://no-such-bucket/run")
    said = r"s3://no-such-bucket/run: is not there \(The specified bucket does not exist\)\. Make the bucket"
    _refused(folder.list, MissingError, said)
    _refused(lambda: folder.create("lock", b""), MissingError, said)


def test_missing_rights_and_wrong_keys_are_told(s3: str, s3_process: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, secret in (READER, ("test-key", "wrong"), ("nobody", "wrong")):
        use_s3(monkeypatch, s3_process.port, key=key, secret=secret)
        _refused(lambda: RemoteFolder.at(s3).write("x", b"1"), FolderError, r"refuses access \(.+\)\. Check the cred")


def test_a_server_that_is_not_there_can_be_tried_again(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, 1)
    _refused(RemoteFolder.at(s3).list, UnreachableError, r"can't be reached, or not now \(Could not connect")


@pytest.mark.parametrize("fault", ["reset", "slow down"])
def test_a_fault_that_passes_is_not_noticed_and_one_that_stays_is_told(
    s3: str, s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    with FaultProxy(s3_process.port) as proxy:
        use_s3(monkeypatch, proxy.port, attempts=3)
        left = [fault]
        proxy.fault = lambda method, _path: left.pop() if method == "PUT" and left else None
        RemoteFolder.at(s3).write("x", b"1" * 10_000)
        assert (left, RemoteFolder.at(s3).read("x")) == ([], b"1" * 10_000)
        use_s3(monkeypatch, proxy.port)
        proxy.fault = lambda method, _path: fault if method == "PUT" else None
        says = r"can't be reached, or not now \(.+\)\. Run the same"
        _refused(lambda: RemoteFolder.at(s3).write("y", b"1" * 10_000), UnreachableError, says)
        assert RemoteFolder.at(s3).list() == {"x": 10_000}
