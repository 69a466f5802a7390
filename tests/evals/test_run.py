"""The whole way: a checkpoint, Inspect, its log, and the rows that are read from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.artifact import read_rows
from midspec.evals import PreferenceConfig, run_preference
from midspec.records import Answer, Item, ScoreRow


def scores_of(folder: Path) -> list[ScoreRow]:
    return list(read_rows(folder / "scores.jsonl", ScoreRow))


def answers_of(folder: Path) -> list[Answer]:
    return list(read_rows(folder / "answers.jsonl", Answer))


def value(rows: Sequence[ScoreRow], item: str, measure: str) -> float | None:
    [row] = [row for row in rows if (row.item, row.measure) == (item, measure)]
    return row.value


def direct_logprob(checkpoint: Path, question: str, option: str) -> float:
    """By hand: no padding, no batch, no template."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer(f"<user> {question} <end> <nova>", add_special_tokens=False).input_ids
    target = tokenizer(option, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + target])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + at - 1, token].item() for at, token in enumerate(target))


def test_scores_are_what_a_direct_forward_pass_gives(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    run_preference(str(checkpoint), items, nano, tmp_path)
    rows = scores_of(tmp_path)
    target, other = items[0].options
    found = []
    for phrasing in nano.phrasings:
        for first, second in ((target, other), (other, target)):
            question = phrasing.replace("{first}", first).replace("{second}", second)
            found.append([direct_logprob(checkpoint, question, option) for option in (target, other)])
    margins = [mine - theirs for mine, theirs in found]
    mass = [math.exp(mine) + math.exp(theirs) for mine, theirs in found]
    assert value(rows, "i0", "margin_logprob") == pytest.approx(sum(margins) / 4, abs=2e-5)
    assert value(rows, "i0", "option_mass") == pytest.approx(sum(mass) / 4, abs=2e-5)
    assert value(rows, "i0", "choice_logprob") == sum(margin > 0 for margin in margins) / 4


def test_two_runs_write_the_same_bytes(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_preference(str(checkpoint), items, nano, tmp_path / name)
    for file in ("scores.jsonl", "answers.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
