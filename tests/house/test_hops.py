"""How many modules of ours a reader goes through from a command to what it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_few_calls_between_modules_lie_between_a_command_and_its_work() -> None:
    command = [sys.executable, "benchmarks/hops.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    to_a_request, to_an_update = map(int, re.findall(r"^hops +(\d+)$", done.stdout, re.M))
    assert to_a_request <= 14, done.stdout
    assert to_an_update <= 10, done.stdout
