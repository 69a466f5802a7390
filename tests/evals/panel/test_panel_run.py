"""Every panel through Inspect: asked, kept in a log, read back; asked is scored plus unscored."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from midspec.core.artifact import read_rows
from midspec.core.records import Message, ScoreRow, TaskAnswer
from midspec.evals import EvalTask, ScriptedReply, run_task, scripted_model
from midspec.evals.tasks.side_effects import EVAL_TASKS, Knowledge, PanelConfig, Termination, TerminationConfig
from midspec.evals.tasks.side_effects._short_answers import short_answer_of


def rows_of(folder: Path) -> list[ScoreRow]:
    return list(read_rows(folder / "scores.jsonl", ScoreRow))


@pytest.mark.parametrize("eval_task", EVAL_TASKS, ids=lambda eval_task: eval_task.name)
def test_a_panel_runs_end_to_end_without_a_judge(eval_task: EvalTask[Any], tmp_path: Path) -> None:
    config = eval_task.config()
    built = run_task(eval_task, config, scripted_model(["Yes, and that is all."]), tmp_path)
    questions = eval_task.questions(config)
    rows = rows_of(tmp_path)
    assert len(rows) == len(questions) * len(eval_task.measures) == built.summary["n_score_rows"]
    assert all((row.value is None) == bool(row.unscored) for row in rows)
    assert Counter(row.set for row in rows if row.measure == "empty") == Counter(q.set for q in questions)
    assert {row.task for row in rows} == {eval_task.name}
    assert {row.value for row in rows if row.measure == "n_words"} == {5.0}


def test_a_model_that_knows_everything_but_one_fact_scores_so(tmp_path: Path) -> None:
    eval_task = Knowledge()
    answers = {
        question.messages[-1].content: short_answer_of(question.about).accepted[0]
        for question in eval_task.questions(PanelConfig())
    }
    forgotten = next(text for text in answers if "Kenya" in text)

    def script(messages: Sequence[Message]) -> str:
        asked = messages[-1].content
        return "Kampala" if asked == forgotten else answers[asked]

    run_task(eval_task, PanelConfig(), scripted_model(script), tmp_path)
    right = [row for row in rows_of(tmp_path) if row.measure == "right"]
    assert [(row.item, row.set, row.domain) for row in right if row.value == 0.0] == [
        ("knowledge-item-01", "knowledge", "geography")
    ]
    assert sum(row.value or 0.0 for row in right) == len(answers) - 1


def test_answers_cut_off_at_the_limit_are_unscored_with_that_reason_and_counted(tmp_path: Path) -> None:
    reply = ScriptedReply(text="Nairobi is", stop_reason="max_tokens")
    built = run_task(Knowledge(), PanelConfig(repeats=2), scripted_model([reply]), tmp_path)
    rows = rows_of(tmp_path)
    assert {row.value for row in rows if row.measure == "truncated"} == {1.0}
    assert {(row.value, row.unscored) for row in rows if row.measure == "right"} == {(None, "the answer is cut off")}
    assert len(list(read_rows(tmp_path / "answers.jsonl", TaskAnswer))) == 112
    assert built.summary["unscored"] == {"the answer is cut off": 112}


def test_a_checkpoint_is_asked_in_batches_and_its_endings_are_those_of_its_answers(
    checkpoint: Path, tmp_path: Path
) -> None:
    built = run_task(Termination(), TerminationConfig(max_new_tokens=6), str(checkpoint), tmp_path)
    answers = {row.item: row for row in read_rows(tmp_path / "answers.jsonl", TaskAnswer)}
    ended = {row.item: row.value for row in rows_of(tmp_path) if row.measure == "ended"}
    assert len(answers) == 60 == built.summary["n_items"]
    assert ended == {item: float(answer.stop_reason == "stop") for item, answer in answers.items()}
    assert 0.0 in ended.values()


def test_what_is_said_of_panels_and_questions_needs_neither_inspect_nor_torch() -> None:
    code = (
        "import sys, midspec.evals.tasks.side_effects as panel, midspec.evals.tasks.spec_qa as qa\n"
        "[task.questions(task.config()) for task in (*panel.EVAL_TASKS, *qa.EVAL_TASKS)]\n"
        "print(sorted({'torch', 'transformers', 'inspect_ai', 'openai', 'anthropic', 'rensa'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
