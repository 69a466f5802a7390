"""Help texts are part of the face: they change on purpose (`make golden`), never by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midspec.cli import main

GOLDEN = Path(__file__).parent / "help"
COMMANDS = ("", "demo", "spec", "spec show", "spec check", "corpus", "chats", "curate", "reframe", "mix")
COMMANDS += ("prefer", "train", "pairs", "questions", "eval", "calibrate", "reasons", "plan", "run", "report")
COMMANDS += ("spec list", "spec lint", "spec diff", "spec augment", "spec ablate", "spec generalize", "spec anti-spec")
COMMANDS += ("spec accept",)
COMMANDS += ("compare", "import", "export", "export-model", "check-served", "seam", "doctor", "step", "status")


def _help(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*command.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_as_it_did(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = _help(command, capsys, monkeypatch)
    path = GOLDEN / f"{command.replace(' ', '-') or 'midspec'}.txt"
    if os.environ.get("MIDSPEC_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in {"", "spec"}])
def test_every_command_shows_an_example(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"Example: midspec {command}" in _help(command, capsys, monkeypatch)


def test_the_command_alone_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: midspec ")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    import midspec

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"midspec {midspec.__version__}\n"


def test_every_golden_text_belongs_to_a_command() -> None:
    names = {f"{command.replace(' ', '-') or 'midspec'}.txt" for command in COMMANDS}
    assert {path.name for path in GOLDEN.iterdir()} == names
