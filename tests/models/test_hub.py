from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from midspec.core.errors import CheckpointError
from midspec.models import find_checkpoint
from midspec.models._find import only_here


@pytest.mark.parametrize("name", ["models/smal", "./smal", "~/no-such-folder", "/no/such", "a/b/c"])
def test_what_reads_as_a_path_is_never_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no such checkpoint folder\. Name a folder"):
        find_checkpoint(name)


ASK = """
from midspec.core.errors import CheckpointError
from midspec.models import load_tokenizer
try:
    load_tokenizer("nobody/mistyped-name-of-a-model")
except CheckpointError as error:
    print(error)
"""


def asked(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ASK]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=120)


def test_a_hub_that_can_not_be_reached_is_one_line_and_soon(tmp_path: Path) -> None:
    nobody_listens = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    environment = os.environ | nobody_listens
    done = asked(environment)
    (said,) = done.stdout.splitlines()
    assert said.startswith("nobody/mistyped-name-of-a-model: is no folder, and the model hub can't be reached")
    assert done.stderr == ""


@pytest.mark.slow
def test_a_hub_that_never_answers_is_given_up_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        done = asked(environment)
    assert "can't be reached" in done.stdout


def test_a_folder_is_opened_without_asking_the_hub(tmp_path: Path) -> None:
    assert only_here(str(tmp_path)) is False
