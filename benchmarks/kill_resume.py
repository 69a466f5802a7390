"""SIGKILL at random moments of a study, then resume: is it equal to a straight run, and was anything done twice?

    python benchmarks/kill_resume.py [STUDY.yaml] [--kills 10] [--seed 0] [--workers N] [--out DIR] [--straight DIR]

Runs the study once straight and once with kills (the whole command, at a random moment; its workers must die with
it), and compares: rows, weights and estimates byte for byte, `record.json` without `execution`, the report by its
data. A step that had its record when the command was killed must keep that very record. Exits with 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_TINY = Path(__file__).parents[1] / "tests" / "study" / "tiny.yaml"
_WITHIN_S = 900.0


def main() -> int:
    """Run both, compare, print; 0 if equal."""
    asked = _arguments()
    command = [sys.executable, "-m", "midspec", "run", str(asked.study), "--workers", str(asked.workers)]
    with tempfile.TemporaryDirectory(prefix="midspec-kills-") as temporary:
        out = asked.out or Path(temporary)
        straight, killed = asked.straight or out / "straight", out / "killed"
        shutil.rmtree(killed, ignore_errors=True)
        if asked.straight is None:
            shutil.rmtree(straight, ignore_errors=True)
            print(f"straight: {_run(command, straight):.1f} s, {len(_records(straight))} steps", flush=True)
        seconds = sum(_seconds(record) for record in _records(straight).values()) / asked.workers
        again = _with_kills(command, killed, asked.kills, random.Random(asked.seed), seconds)
        differences = _differences(straight, killed)
    for line in (*again, *differences):
        print(line)
    print(f"recorded steps done twice: {len(again)}; differences from the straight run: {len(differences)}")
    return 1 if again or differences else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=_TINY)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--straight", type=Path, help="a finished straight run, to save making one")
    return parser.parse_args()


def _start(command: list[str], out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _run(command: list[str], out: Path) -> float:
    """Run to the end; gives the seconds that it took."""
    began = time.monotonic()
    with _start(command, out) as process:
        told, _ = process.communicate(timeout=_WITHIN_S)
    if process.returncode:
        sys.exit(f"the run ended with {process.returncode}:\n{told[-3000:]}")
    return time.monotonic() - began


def _with_kills(command: list[str], out: Path, kills: int, rng: random.Random, seconds: float) -> list[str]:
    """Run, kill, run again ..., then to the end; gives the steps whose record was written more than once."""
    kept: dict[str, bytes] = {}
    again: list[str] = []
    for number in range(1, kills + 1):
        # Each start takes about 3 s before its first step; ten kills must fall before the work is used up.
        after = rng.uniform(0.3, 3.0 + 3.0 * seconds / kills)
        ended = _kill_after(command, out, after)
        again += _changed(kept, _records(out))
        kept |= _records(out)
        print(f"kill {number}: after {after:.1f} s, {len(kept)} steps recorded{ended}", flush=True)
    last = _run(command, out)
    print(f"to the end: {last:.1f} s", flush=True)
    return again + _changed(kept, _records(out))


def _kill_after(command: list[str], out: Path, seconds: float) -> str:
    with _start(command, out) as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            return ""
    return " (it had ended before)"


def _records(run: Path) -> dict[str, bytes]:
    paths = [*run.glob("steps/*/record.json"), *run.glob("steps/*/*/record.json")]
    return {str(path.parent.relative_to(run)): path.read_bytes() for path in sorted(paths)}


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [f"done twice: {name}" for name, record in before.items() if after.get(name) != record]


def _differences(one: Path, other: Path) -> list[str]:
    """What differs between two runs in the sense of "equal" above."""
    first, second = _records(one), _records(other)
    found = [f"only in one: {name}" for name in sorted(set(first) ^ set(second))]
    for name in sorted(set(first) & set(second)):
        before, after = _lasting(first[name]), _lasting(second[name])
        names = [f"{name}/{file}" for file in before["outputs"]]
        found += [f"differs: {path}" for path in names if (one / path).read_bytes() != (other / path).read_bytes()]
        if before != after:
            found.append(f"differs: {name}/record.json")
    if _report(one) != _report(other):
        found.append("differs: report/report_data.json")
    return found


def _lasting(record: bytes) -> dict[str, Any]:
    """A record without `execution`; and without the commit, which moves when somebody commits between two runs."""
    return {name: value for name, value in json.loads(record).items() if name not in {"execution", "commit"}}


def _report(run: Path) -> dict[str, Any]:
    data = json.loads((run / "report" / "report_data.json").read_bytes())
    return {name: value for name, value in data.items() if name != "commit"}


def _seconds(record: bytes) -> float:
    return float(json.loads(record)["execution"]["seconds"])


if __name__ == "__main__":
    sys.exit(main())
