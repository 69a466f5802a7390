"""Builds a small result slowly, in a process of its own, so that tests can kill it, or let two of them meet.

Usage: slow_builder.py FOLDER SECONDS_A_PART [--resumable] [--wait SECONDS]; says each part as it is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from midspec.core.artifact import Built, build, write_text
from midspec.core.errors import MidspecError
from midspec.core.records import Identity

PARTS = ("a.txt", "b.txt", "c.txt", "d.txt")
IDENTITY = Identity(step="parts@1", inputs={"letters": "abcd"}, config={"seed": 0})


def say(line: str) -> None:
    """Write one line now."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write_parts(folder: Path, pause: float) -> Built:
    """Write every part that is not there yet, with a pause before each."""
    made = 0
    for name in PARTS:
        if not (folder / name).exists():
            time.sleep(pause)
            write_text(folder / name, f"this is {name}\n" * 1000)
            made += 1
            say(name)
    return Built(outputs=PARTS, summary={"n_parts": len(PARTS)}, execution={"n_made": made})


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("pause", type=float)
    parser.add_argument("--resumable", action="store_true")
    parser.add_argument("--wait", type=float, default=0.0)
    asked = parser.parse_args()
    try:
        _, is_new = build(
            asked.folder,
            IDENTITY,
            lambda draft: write_parts(draft, asked.pause),
            resumable=asked.resumable,
            wait_s=asked.wait,
        )
    except MidspecError as error:
        say(f"{type(error).__name__}: {error}")
        return 2
    say("made" if is_new else "there")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
