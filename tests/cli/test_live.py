"""On a terminal a run is watched live; elsewhere it is told line by line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from midspec.cli._cluster import status_lines
from midspec.cli._output import RunView
from midspec.study import Event, RunStatus, StepNow
from midspec.study.execution._status import State


def _on_a_terminal(args: list[str]) -> tuple[int, str]:
    """Run a command whose standard error is a terminal; gives its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "midspec", *args], stderr=theirs, stdout=subprocess.DEVNULL) as run:
        os.close(theirs)
        got = b""
        while chunk := _read(ours):
            got += chunk
    os.close(ours)
    return run.returncode, got.decode("utf-8", errors="replace")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side is closed.
        return b""


def test_a_terminal_shows_steps_done_of_all(tiny_file: Path, tmp_path: Path) -> None:
    code, shown = _on_a_terminal(["run", str(tiny_file), "--out", str(tmp_path / "run"), "--only", "corpus"])
    assert code == 0
    assert "all steps" in shown
    assert "6/6" in shown
    assert "\x1b[?25h" in shown, "the cursor is given back"


def test_elsewhere_each_step_is_one_line(tiny_file: Path, tmp_path: Path) -> None:
    settings = ["--out", str(tmp_path / "run"), "--only", "spec", "--workers", "1"]
    args = [sys.executable, "-m", "midspec", "run", str(tiny_file), *settings]
    told = subprocess.run(args, capture_output=True, text=True, check=True).stderr
    assert "\x1b" not in told
    lines = told.splitlines()
    assert lines[0] == "[0/2] steps done at the start"
    assert [line.split(" (")[0] for line in lines[1:3]] == ["[1/2] spec/america", "[2/2] spec/thrift"]


def test_a_view_takes_any_order_of_events() -> None:
    with RunView() as view:
        for event in (
            Event("begin", 0, 2),
            Event("start", 0, 2, "a", 1),
            Event("progress", 0, 2, "a", 1, 3, 10, note="loss 1.0"),
            Event("done", 1, 2, "a", 1, seconds=1.0),
            Event("start", 1, 2, "b", 1),
            Event("fail", 1, 2, "b", 1, note="no"),
            Event("end", 1, 2, seconds=2.0),
        ):
            view.on_event(event)


def test_reasons_of_failures_are_told_once_and_progress_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 3.0, 10.5, 10.5, 12.0])
    monkeypatch.setattr("midspec.cli._output.time.monotonic", lambda: next(now, 12.0))
    view = RunView()
    for event in (
        Event("progress", 0, 4, "a", 1, 3, 10, note="loss 1.0"),
        Event("progress", 0, 4, "a", 1, 4, 10, note="loss 0.9"),
        Event("progress", 0, 4, "a", 1, 5, 10, note="loss 0.8"),
        Event("fail", 0, 4, "a", 1, note="a: 29 updates"),
        Event("fail", 0, 4, "b", 1, note="b: 29 updates"),
        Event("fail", 0, 4, "c", 1, note="no room"),
    ):
        view.on_event(event)
    assert capsys.readouterr().err.splitlines() == [
        "[0/4] a: 4 of 10, loss 0.9",
        "[0/4] a failed: 29 updates",
        "[0/4] b failed",
        "[0/4] c failed: no room",
    ]


def test_equal_failures_are_one_entry_of_a_status() -> None:
    def ended(name: str, state: State, error: str, log: tuple[str, ...] = ()) -> StepNow:
        return StepNow(name=name, kind="x", state=state, host="h", error=error, log=log)

    alike = [ended(f"x/a-s{n}", "failed", f"x/a-s{n}: 29 updates", ("trace",)) for n in range(1, 16)]
    others = [ended("x/b", "failed", "no room"), ended("x/c", "lost", ""), ended("x/d", "lost", "")]
    lines = status_lines(RunStatus(name="tiny", folder="run", steps=(*alike, *others)))
    assert lines[-6:] == [
        "failed: x/a-s1 (on h): x/a-s1: 29 updates",
        "    trace",
        f"    and so: {', '.join(f'x/a-s{n}' for n in range(2, 16))}",
        "failed: x/b (on h): no room",
        "lost: x/c (on h)",
        "lost: x/d (on h)",
    ]
