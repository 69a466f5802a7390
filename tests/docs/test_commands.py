"""Every command that a page shows is one that the program takes: its options exist, and its files are there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from midspec.cli._main import app
from midspec.evals import shipped_items
from midspec.lab import data_path
from midspec.spec import shipped_specs

from .pages import PAGES, ROOT, blocks, command_lines, text_of

TOP = get_command(app)
SHELL = {"bash", "sh", "shell", "console"}


def _parsed(words: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    command, names = TOP, list(words[1:])
    context = command.make_context("midspec", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        name = names.pop(0)
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
        context = command.make_context(
            name, list(names), parent=context, resilient_parsing=hasattr(command, "commands")
        )


def _shown(page: str) -> Iterator[list[str]]:
    for block in blocks(page):
        if block.language in SHELL:
            yield from command_lines(block.text)
        elif not block.language:
            lines = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ midspec ")]
            yield from command_lines("\n".join(lines))


def test_the_pages_show_commands_and_the_reader_of_them_finds_each() -> None:
    assert sum(len(list(_shown(page))) for page in PAGES) > 60
    script = 'by="--author a/b --out x"\nmidspec corpus s.md $by \\\n   --budget 3   # a word\n'
    script += "midspec demo && midspec run x | head\n"
    assert list(command_lines(script)) == [
        ["midspec", "corpus", "s.md", "--author", "a/b", "--out", "x", "--budget", "3"],
        ["midspec", "demo"],
        ["midspec", "run", "x"],
    ]


@pytest.mark.parametrize("words", [["midspec", "corpse"], ["midspec", "run", "--no-such"], ["midspec", "run"]])
def test_a_command_that_is_wrong_is_not_passed_over(words: list[str]) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever error the parser has
        _parsed(words)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_block_is_parsed_by_the_program(page: str) -> None:
    wrong = []
    for words in _shown(page):
        try:
            _parsed(words)
        except Exception as error:  # noqa: BLE001 - all are collected
            wrong.append(f"{' '.join(words)}: {getattr(error, 'message', '') or error!r}")
    assert not wrong


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_ours_that_a_command_names_is_there(page: str) -> None:
    missing = []
    for words in _shown(page):
        for word in words:
            if re.match(r"(examples|docs|tests|src|benchmarks)/", word) and "/data/" not in word:
                missing += [] if (ROOT / word).exists() else [word]
            if word.startswith("lab:"):
                assert data_path(word.removeprefix("lab:")).is_file()
            if word.startswith("shipped:"):
                name = word.removeprefix("shipped:")
                assert name in shipped_specs() or shipped_items(name)
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_that_is_named_in_prose_exists(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    wrong = []
    for shown in re.findall(r"`midspec ([a-z][^`]*)`", prose):
        command, words = TOP, shown.split()
        while hasattr(command, "commands") and words:
            if (name := words.pop(0)) not in command.commands:
                wrong.append(shown)
                break
            command = command.commands[name]
        else:
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            wrong += [f"{shown}: {word}" for word in words if word.startswith("--") and word not in {*known, "--help"}]
    assert not wrong


def _run(page: str, marks: set[str], folder: Path) -> None:
    """Save the files that a page shows, and run its marked blocks in order, in a folder that has our examples."""
    (folder / "examples").symlink_to(ROOT / "examples")
    bin_folder = Path(sys.executable).parent
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        if block.mark in marks:
            done = subprocess.run(
                ["/bin/bash", "-euo", "pipefail", "-c", block.text],
                cwd=folder,
                env={"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


RUNNABLE = [page for page in PAGES if any(block.mark for block in blocks(page))]


def test_the_first_page_and_the_tutorial_are_run() -> None:
    assert {"docs/index.md", "docs/tutorial.md"} <= set(RUNNABLE)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE)
def test_the_commands_that_are_marked_are_run(page: str, tmp_path: Path) -> None:
    _run(page, {"run"}, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorial_ends_with_a_report_on_the_spec(tmp_path: Path) -> None:
    # One seed of the five, and a base that has seen little: the way is the same, and figures are not what is tested.
    smaller = {
        "seeds: [1, 2, 3, 4, 5]": "seeds: [1]",
        "n_mix: 10000, n_replay: 500": "n_facts: 400, n_mix: 400, n_replay: 40",
        "n_epochs: 3": "n_epochs: 1, min_updates: 1",
        "n_updates: 150": "n_updates: 10",
        "hidden_size: 128, intermediate_size: 256": "hidden_size: 32, intermediate_size: 32",
    }
    for block in blocks("docs/tutorial.md"):
        text = block.text
        for old, new in smaller.items():
            assert old in text or not block.title.endswith(".yaml")
            text = text.replace(old, new)
        if block.title:
            (tmp_path / block.title).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "midspec", "run", "my_study.yaml", "--out", "runs/mine", "--workers", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "runs/mine/report/report.html").read_text(encoding="utf-8")
    assert "Luxury, or the world?" in page
