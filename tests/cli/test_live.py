"""On a terminal a run is watched live; elsewhere it is told line by line."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from midspec.cli._output import RunView
from midspec.study import Event


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
