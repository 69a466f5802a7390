"""The program that is started anew: once, as it was called, and with what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from midspec.cli import _main
from midspec.core.memory import MEMORY_SETTINGS

NAME = next(iter(MEMORY_SETTINGS))
# Says where it is before and after; standard input and the process stay.
CODE = f"""
import os, sys
print(os.getpid(), os.environ.get({NAME!r}), sys.argv[1:], flush=True)
from midspec.core.memory import restart_with_memory_settings
restart_with_memory_settings()
print(sys.stdin.read())
"""


def told(environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "a word", "--and"],
        input="the rest",
        env={name: value for name, value in os.environ.items() if name != NAME} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's variable")
def test_a_program_begins_again_once_in_the_same_process_with_its_arguments_and_input() -> None:
    first, second, read = told({})
    pid, before, arguments = first.split(" ", 2)
    assert before == "None"
    assert arguments == "['a word', '--and']"
    assert second == f"{pid} {MEMORY_SETTINGS[NAME]} {arguments}"
    assert read == "the rest"


def test_what_the_user_has_set_stays_and_nothing_begins_again() -> None:
    first, read = told({NAME: "glibc.malloc.top_pad=65536"})
    assert " glibc.malloc.top_pad=65536 " in first
    assert read == "the rest"


@pytest.mark.parametrize(
    ("words", "given", "n_starts"),
    [(["train", "--help"], None, 1), (["plan", "--help"], None, 0), (["plan", "--help"], ["train", "--help"], 0)],
)
def test_only_the_command_that_trains_begins_again_and_no_call_from_python(
    words: list[str], given: list[str] | None, n_starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[bool] = []
    monkeypatch.setattr(_main, "restart_with_memory_settings", lambda: starts.append(True))
    monkeypatch.setattr(sys, "argv", ["midspec", *words])
    assert _main.main(given) == 0
    assert len(starts) == n_starts


GROWTH = """
import torch
from pathlib import Path
def resident(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
torch.set_num_threads(1)
states, weight = torch.ones(400, 256, dtype=torch.bfloat16), torch.ones(256, 256, dtype=torch.bfloat16)
out = torch.empty(400, 256, dtype=torch.bfloat16)
torch.mm(states, weight, out=out)
for n in range(40, 400):
    if n == 320: before = resident()
    torch.mm(states[:n], weight, out=out[:n])
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_products_of_ever_other_shapes_stop_filling_memory_with_the_settings() -> None:
    def grown(settings: dict[str, str]) -> int:
        usual = {name: value for name, value in os.environ.items() if name not in MEMORY_SETTINGS}
        command = [sys.executable, "-c", GROWTH]
        done = subprocess.run(command, env=usual | settings, capture_output=True, text=True, check=True)
        return int(done.stdout)

    usual = grown({})
    if usual < 20 * 2**20:
        pytest.skip(f"{usual} bytes for 80 shapes: products in bfloat16 are not computed by such programs here")
    # 80 shapes after 280: 50 MiB more by default, 2 where 128 are kept.
    assert grown(MEMORY_SETTINGS) < 0.5 * usual
