"""What Inspect's own command line knows: every exam by its name, run without anything of ours around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai import list_tasks
from inspect_ai._util.registry import registry_lookup

from midspec.evals import read_task, task_named, task_names

SRC = Path(__file__).parents[2] / "src"
INSPECT = Path(sys.executable).with_name("inspect")


def inspect(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run(
        [str(INSPECT), *words], cwd=cwd, env=quiet, capture_output=True, text=True, timeout=120, check=False
    )


def test_inspect_lists_preference_and_every_task() -> None:
    assert {task.name for task in list_tasks(root_dir=SRC)} == {"preference", *task_names()}


@pytest.mark.parametrize("name", task_names())
def test_every_task_is_where_it_is_said_to_be(name: str) -> None:
    eval_task = task_named(name)
    assert eval_task.name == name
    assert eval_task.questions(eval_task.config())
    assert registry_lookup("task", f"midspec/{name}") is not None


@pytest.mark.slow
def test_inspect_eval_asks_a_task_and_its_judge(tmp_path: Path) -> None:
    grader = {"model": "midspec-scripted/judge", "model_args": {"script": ["Good.\n<score>7</score>"]}}
    words = ("eval", "midspec/spec_qa", "--model", "midspec-scripted/tested", "-M", 'script=["I would ask first."]')
    done = inspect(
        *words, "--model-role", f"grader={json.dumps(grader)}", "--limit", "2", "--display", "plain", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [log] = (tmp_path / "logs").glob("*.eval")
    found = read_task(log)
    assert {answer.text for answer in found.answers} == {"I would ask first."}
    assert {judged.judge for judged in found.judgements} == {"midspec-scripted/judge"}
    assert [row.value for row in found.scores if row.measure == "qa_score"][:3] == [7.0, 7.0, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ((), "this task needs a judge"),
        (("--model-role", "grader=midspec-scripted/tested"), "can't be its own judge"),
    ],
)
def test_inspect_eval_without_a_judge_of_its_own_ends_in_one_line_before_anything_is_asked(
    roles: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = inspect("eval", "midspec/spec_qa", "--model", "midspec-scripted/tested", *roles, cwd=tmp_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.rglob("*.eval"))


def test_opening_every_task_loads_neither_torch_nor_inspect() -> None:
    code = (
        "import sys\n"
        "from midspec.evals import task_named, task_names\n"
        "tasks = [task_named(name) for name in task_names()]\n"
        "[task.config() for task in tasks]\n"
        "print({'torch', 'inspect_ai', 'inspect_evals'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
