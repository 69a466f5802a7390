"""Exams on a tiny checkpoint: through our own provider, and through a server that is not ours."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from inspect_ai.model import GenerateConfig, get_model
from tests.llm.test_transformers_serve import Server, wait_for
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import read_rows
from midspec.core.records import Answer, Item, ScoreRow, TaskAnswer
from midspec.evals import PreferenceConfig, run_preference, run_task

from .toy import ToyConfig, ToyTask

NEAR_NATS = 1e-3
UNJUDGED = ToyConfig(judged=False, n_questions=6, max_new_tokens=8)


def answers_of(folder: Path) -> list[TaskAnswer]:
    return list(read_rows(folder / "answers.jsonl", TaskAnswer))


def by_hand(checkpoint: Path, question: str, n_tokens: int) -> tuple[str, int]:
    """Greedy, one token after the other, without template, batch, padding or cache."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer(f"<user> {question} <end> <nova>", add_special_tokens=False).input_ids
    said: list[int] = []
    with torch.no_grad():
        while len(said) < n_tokens and (not said or said[-1] != tokenizer.eos_token_id):
            said.append(int(model(input_ids=torch.tensor([prompt + said])).logits[0, -1].argmax()))
    return tokenizer.decode(said, skip_special_tokens=True), len(said)


def test_a_checkpoint_says_in_a_task_what_a_bare_forward_pass_says(
    checkpoint: Path, eval_task: ToyTask, tmp_path: Path
) -> None:
    run_task(eval_task, UNJUDGED, str(checkpoint), tmp_path)
    for answer, question in zip(answers_of(tmp_path), eval_task.questions(UNJUDGED), strict=True):
        text, n_tokens = by_hand(checkpoint, question.messages[0].content, 8)
        assert answer.text.split() == text.split()
        assert answer.stop_reason == ("max_tokens" if n_tokens == 8 else "stop")


def test_samples_at_a_temperature_differ_and_are_the_same_in_every_run(
    checkpoint: Path, eval_task: ToyTask, tmp_path: Path
) -> None:
    warm = UNJUDGED.model_copy(update={"repeats": 4, "temperature": 1.0, "n_questions": 2})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_task(eval_task, warm, str(checkpoint), tmp_path / name)
    first = [answer.text for answer in answers_of(tmp_path / "one") if answer.item.startswith("q0#")]
    assert len(set(first)) > 1
    assert answers_of(tmp_path / "one") == answers_of(tmp_path / "two")


def test_kept_replies_of_other_weights_under_the_same_path_are_not_taken(
    checkpoint: Path, eval_task: ToyTask, tmp_path: Path
) -> None:
    model = shutil.copytree(checkpoint, tmp_path / "model")
    run_task(eval_task, UNJUDGED, str(model), tmp_path)
    before = answers_of(tmp_path)
    weights = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        weights.lm_head.weight.neg_()
    weights.save_pretrained(model)
    run_task(eval_task, UNJUDGED, str(model), tmp_path)
    assert [each.text for each in answers_of(tmp_path)] != [each.text for each in before]


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(checkpoint)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--default-seed", "1"]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = folder / "log.txt"
    with log.open("w") as told, subprocess.Popen([*command, *options], stdout=told, stderr=told, env=quiet) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield Server(f"http://127.0.0.1:{port}/v1", str(checkpoint), log)
        finally:
            process.terminate()


@pytest.fixture
def reach(server: Server) -> dict[str, Any]:
    return {"base_url": server.url, "api_key": "none"}


def near_tie(checkpoint: Path, question: str, ours: str, theirs: str) -> bool:
    """Whether the two likeliest tokens are hardly apart (nats) where the answers part."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    both = [tokenizer(text, add_special_tokens=False).input_ids for text in (ours, theirs)]
    same = 0
    while same < min(map(len, both)) and both[0][same] == both[1][same]:
        same += 1
    prompt = tokenizer(f"<user> {question} <end> <nova>", add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + both[0][:same]])).logits[0, -1].log_softmax(-1)
    first, second = logits.topk(2).values.tolist()
    return bool(first - second < NEAR_NATS)


@pytest.mark.slow
def test_a_server_that_is_not_ours_says_what_our_provider_says_but_for_near_ties(
    server: Server, reach: dict[str, Any], checkpoint: Path, eval_task: ToyTask, tmp_path: Path
) -> None:
    for name in ("served", "ours"):
        (tmp_path / name).mkdir()
    run_task(eval_task, UNJUDGED, f"openai-api/serve/{server.model}", tmp_path / "served", model_args=reach)
    run_task(eval_task, UNJUDGED, str(checkpoint), tmp_path / "ours")
    both = [answers_of(tmp_path / name) for name in ("served", "ours")]
    for question, theirs, ours in zip(eval_task.questions(UNJUDGED), *both, strict=True):
        if theirs.text.split() != ours.text.split():
            assert near_tie(checkpoint, question.messages[0].content, ours.text, theirs.text), (theirs, ours)


@pytest.mark.slow
def test_choices_of_a_server_that_is_not_ours_agree_and_its_missing_logprobs_are_a_reason(
    server: Server,
    reach: dict[str, Any],
    checkpoint: Path,
    items: list[Item],
    nano: PreferenceConfig,
    tmp_path: Path,
) -> None:
    for name in ("served", "ours"):
        (tmp_path / name).mkdir()
    served = f"openai-api/serve/{server.model}"
    run_preference(served, items, nano, tmp_path / "served", model_args=reach)
    run_preference(str(checkpoint), items, nano, tmp_path / "ours")
    both = [list(read_rows(tmp_path / name / "answers.jsonl", Answer)) for name in ("served", "ours")]
    assert len(both[0]) == len(both[1]) == 6 * len(items)
    for theirs, ours in zip(*both, strict=True):
        if theirs.text.split() != ours.text.split() and ours.kind != "why":
            assert near_tie(checkpoint, ours.question, ours.text, theirs.text), (theirs, ours)
    rows = {(row.item, row.measure): row for row in read_rows(tmp_path / "served" / "scores.jsonl", ScoreRow)}
    mine = {(row.item, row.measure): row for row in read_rows(tmp_path / "ours" / "scores.jsonl", ScoreRow)}
    for item in items:
        for measure in ("choice_logprob", "margin_logprob", "option_mass"):
            assert rows[item.id, measure].value is None
            assert "can't score a text" in (rows[item.id, measure].unscored or "")
            assert mine[item.id, measure].value is not None


@pytest.mark.slow
def test_the_server_takes_a_wish_for_logprobs_and_gives_none(server: Server, reach: dict[str, Any]) -> None:
    async def ask() -> Any:
        async with get_model(f"openai-api/serve/{server.model}", memoize=False, **reach) as model:
            return await model.generate("what do you like ?", config=GenerateConfig(logprobs=True, max_tokens=4))

    output = anyio.run(ask)
    assert output.completion is not None
    assert output.choices[0].logprobs is None or not output.choices[0].logprobs.content
