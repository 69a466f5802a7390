"""SIGINT, SIGTERM and SIGHUP: stop sending, drain, record, and then the signal has its way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.loopback import Served, Settings, serve

from midspec.llm import Access, Store, open_client

from .outside import OPENAI, wish

PROGRAM = """
import asyncio, signal, sys
from pathlib import Path
from midspec.generation import Pool
from midspec.llm import Access, ModelConfig, Request, Store, open_client

async def main():
    url, path, *ignored = sys.argv[1:]
    for number in ignored:
        signal.signal(int(number), signal.SIG_IGN)
    pool, done = Pool(4), open(path + ".done", "a", buffering=1)
    with Store(Path(path)) as store:
        model, access = ModelConfig(model="openai/tiny"), Access(base_url=url, concurrency=4)
        async with open_client(model, access, store, role="author") as client:
            async def one(number):
                request = Request(task=f"t{number}", stage="documents", prompt=f"Write {number}.", max_tokens=4000)
                print((await client.ask(request)).kind, file=done)
            for number in range(1000):
                pool.add(lambda number=number: one(number))
            await pool.run()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
    raise SystemExit(130)
"""


def stopped(served: Served, path: Path, *numbers: int, ignores: Sequence[int] = ()) -> tuple[int, str]:
    """Start the program, send it the signals when it is in the middle, and return its exit status and its output."""
    command = [sys.executable, "-c", PROGRAM, served.openai_url, str(path), *map(str, map(int, ignores))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_mind_sigint) as program:
        try:
            while len(served.log) < 6:
                assert program.poll() is None
                time.sleep(0.01)
            for number in numbers:
                program.send_signal(number)
                time.sleep(0.05)
            said, _ = program.communicate(timeout=120)
        finally:
            program.kill()
    return program.returncode, said


def _mind_sigint() -> None:
    # A shell starts its background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("numbers", "ignored", "status"),
    [
        ((signal.SIGINT,), (), 130),
        ((signal.SIGTERM,), (), -signal.SIGTERM),
        # A shell and the system both send it; who starts jobs in the background, or under nohup, has others ignored.
        ((signal.SIGHUP, signal.SIGHUP), (), -signal.SIGHUP),
        ((signal.SIGINT, signal.SIGHUP, signal.SIGTERM), (signal.SIGINT, signal.SIGHUP), -signal.SIGTERM),
    ],
)
def test_a_signal_stops_sending_drains_and_records(
    numbers: Sequence[int], ignored: Sequence[int], status: int, tmp_path: Path
) -> None:
    with serve(Settings(median_document_s=0.25, sigma=0.1)) as served:
        code, said = stopped(served, tmp_path / "s", *numbers, ignores=ignored)
        assert code == status
        assert said == ("interrupted\n" if status == 130 else "")
        assert not any(row["gone"] for row in served.log)
        n_asked = len(served.log)
        assert 6 <= n_asked < 200  # of a thousand
    with Store(tmp_path / "s") as store:
        assert store.ledger()[0].kinds == {"ok": n_asked}
        assert store.unmetered() == []
    # Whoever asked has had the last replies too.
    assert (tmp_path / "s.done").read_text() == "ok\n" * n_asked


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with serve(Settings(median_document_s=0.01, sigma=0.1, fates=("ok",) * 2 + ("hang",) * 9)) as served:
        # The hangs would be waited for ten minutes.
        code, _ = stopped(served, tmp_path / "s", signal.SIGINT, signal.SIGINT)
        assert code == 130
    with Store(tmp_path / "s") as store:
        assert sum(row.n for row in store.unmetered()) == 4


def test_handlers_are_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    async def run() -> None:
        inside = signal.getsignal(signal.SIGINT)
        access = Access(base_url="http://127.0.0.1:9/v1")
        with Store(tmp_path / "s") as store:
            async with (
                open_client(OPENAI, access, store, role="author"),
                open_client(OPENAI, access, store, role="judge"),
            ):
                assert signal.getsignal(signal.SIGINT) != inside
            assert signal.getsignal(signal.SIGINT) == inside

    asyncio.run(run())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_it_works_without_handlers(tmp_path: Path) -> None:
    kinds: list[str] = []

    async def run(url: str) -> None:
        with Store(tmp_path / "s") as store:
            async with open_client(OPENAI, Access(base_url=url), store, role="author") as client:
                kinds.append((await client.ask(wish())).kind)

    with serve() as served:
        thread = threading.Thread(target=lambda: asyncio.run(run(served.openai_url)))
        thread.start()
        thread.join()
    assert kinds == ["ok"]
