"""A task of another installed package is found, run and known to Inspect; nothing of ours names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ...installed import install

TASK = """
from midspec.core.records import Message
from midspec.evals import EvalTask, Question, TaskConfig


class Sums(EvalTask[TaskConfig]):
    name = "outside_sums"
    config = TaskConfig
    measures = ("right",)
    main_measures = ("right",)

    def questions(self, config):
        message = Message(role="user", content="What is 1 + 1?")
        return (Question(id="q", set="sums", domain="d", messages=(message,), about={"answer": "2"}),)

    def read(self, question, response, config):
        return {"right": float(response.text == question.about["answer"])}


SUMS = Sums()
"""
RUN = """
import sys
from pathlib import Path
from midspec.evals import run_task, scripted_model, task_named, task_names
task = task_named("outside_sums")
built = run_task(task, task.config(), scripted_model(["2"]), Path(sys.argv[1]))
print("outside_sums" in task_names(), built.summary["rates"], task.main_measures)
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees the other package as installed."""
    package = tmp_path / "site"
    install(package, "outside_sums", "eval_tasks", "sums = outside_sums:SUMS", outside_sums=TASK)
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}


def test_it_is_listed_and_runs_through_the_public_functions(installed: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(words, env=installed, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ("True {'sums': {'right': 1.0}} ('right',)"), done.stderr


@pytest.mark.slow
def test_inspect_runs_it_by_the_name_that_ours_have(installed: dict[str, str], tmp_path: Path) -> None:
    inspect = str(Path(sys.executable).with_name("inspect"))
    words = [inspect, "eval", "midspec/outside_sums", "--model", "midspec-scripted/m", "-M", 'script=["2"]']
    done = subprocess.run(
        [*words, "--display", "plain"], cwd=tmp_path, env=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "logs").glob("*.eval"))) == 1
