from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from midspec.core.artifact import build
from midspec.core.records import Identity
from midspec.train import Progress, TrainJob, train
from midspec.train._recorder import GracefulStop

MakeJob = Callable[..., TrainJob]
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["q_proj", "down_proj"]}}


class StoppedError(BaseException):
    """What the handler outside raises, as the command line's and the worker's do."""


@pytest.fixture(autouse=True)
def _raising_handlers() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise StoppedError

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, old in before.items():
        signal.signal(number, old)


def signal_after(update: int, number: signal.Signals) -> Callable[[Progress], None]:
    def watch(progress: Progress) -> None:
        if progress.update == update:
            os.kill(os.getpid(), number)

    return watch


def contents(folder: Path) -> dict[str, bytes]:
    skipped = {"record.json"}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name not in skipped}


@pytest.mark.parametrize(
    ("number", "stop_at"),
    [(signal.SIGINT, 1), (signal.SIGINT, 6), (signal.SIGTERM, 4), (signal.SIGTERM, 7), (signal.SIGHUP, 4)],
)
def test_a_run_that_is_told_to_stop_goes_on_right_there_and_ends_like_a_straight_one(
    make_job: MakeJob, tmp_path: Path, number: signal.Signals, stop_at: int
) -> None:
    job = make_job(recipe={"micro_batch": 2})
    identity = Identity(step="train", inputs={}, config={"seed": job.seed})
    build(tmp_path / "straight", identity, lambda draft: train(job, draft, device="cpu"), resumable=True)
    halting = signal_after(stop_at, number)
    with pytest.raises(StoppedError):
        build(
            tmp_path / "halting",
            identity,
            lambda draft: train(job, draft, device="cpu", on_progress=halting),
            resumable=True,
        )
    assert not (tmp_path / "halting").exists()
    seen: list[int] = []
    build(
        tmp_path / "halting",
        identity,
        lambda draft: train(job, draft, device="cpu", on_progress=lambda progress: seen.append(progress.update)),
        resumable=True,
    )
    assert seen == list(range(stop_at + 1, 8))
    assert contents(tmp_path / "halting") == contents(tmp_path / "straight")


def test_after_a_signal_no_further_update_begins(make_job: MakeJob, tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(progress: Progress) -> None:
        seen.append(progress.update)
        if progress.update == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        train(make_job(), tmp_path, device="cpu", on_progress=watch)
    assert seen == [1, 2, 3]
    assert list((tmp_path / ".checkpoints").glob("checkpoint-*"))


def test_a_second_signal_has_its_way_at_once() -> None:
    reached: list[str] = []

    def twice() -> None:
        with GracefulStop():
            signal.raise_signal(signal.SIGINT)
            reached.append("after the first")
            signal.raise_signal(signal.SIGINT)
            reached.append("after the second")

    with pytest.raises(StoppedError):
        twice()
    assert reached == ["after the first"]


def test_a_terminal_that_is_closed_and_its_shell_may_both_tell() -> None:
    reached: list[str] = []

    def twice() -> None:
        with GracefulStop():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            reached.append("saved")

    with pytest.raises(StoppedError):
        twice()
    assert reached == ["saved"]


def test_the_own_signal_after_another_process_was_signalled_is_a_first_one() -> None:
    reached: list[str] = []

    def signalled() -> None:
        with GracefulStop() as stopping:
            stopping.requested = int(signal.SIGTERM)  # as the processes tell each other
            signal.raise_signal(signal.SIGTERM)
            reached.append("saved")

    with pytest.raises(StoppedError):
        signalled()
    assert reached == ["saved"]


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with GracefulStop() as stopping:
        signal.raise_signal(signal.SIGINT)
        assert stopping.requested is None
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_what_was_asked_to_stop_does_not_end_as_if_it_had_finished() -> None:
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    with pytest.raises(SystemExit) as caught, GracefulStop():
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGTERM


def test_outside_the_main_thread_no_handler_is_touched() -> None:
    seen: list[Any] = []

    def work() -> None:
        before = signal.getsignal(signal.SIGINT)
        with GracefulStop():
            seen.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
