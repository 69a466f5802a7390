"""`midspec prefer`, and `midspec train` on what it makes: pairs from two sets of chats, and from a model's replies."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.train.conftest import words, write_lines

from midspec.cli import main
from midspec.core.artifact import read_record
from midspec.train import load_job, read_pairs

RANKING: dict[str, Any] = {
    "rewards": [{"rule": "matches", "settings": {"pattern": r"w[0-9]\b"}}],
    "n_replies": 6,
    "max_new_tokens": 20,
}


def chat(prompt: str, reply: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]}


def test_two_sets_of_chats_become_pairs_and_pairs_a_model(base: Path, tmp_path: Path) -> None:
    one = [chat(f"w{n} w{n + 1}", f"w{n + 2}") for n in range(9)]
    other = [chat(f"w{n} w{n + 1}", f"w{n + 3}") for n in reversed(range(1, 10))]
    write_lines(tmp_path / "one.jsonl", one)
    write_lines(tmp_path / "other.jsonl", other)
    sides = ["--chosen", str(tmp_path / "one.jsonl"), "--rejected", str(tmp_path / "other.jsonl")]
    assert main(["prefer", *sides, "--out", str(tmp_path / "pairs")]) == 0
    pairs = read_pairs([str(tmp_path / "pairs" / "pairs.jsonl")])
    assert {(p.prompt[0].content, p.chosen.content, p.rejected.content) for p in pairs} == {
        (f"w{n} w{n + 1}", f"w{n + 2}", f"w{n + 3}") for n in range(1, 9)
    }
    job = {
        "stage": "dpo",
        "parent": str(base),
        "data": ["pairs/pairs.jsonl"],
        "recipe": {"learning_rate": 1e-3, "n_updates": 3, "min_updates": 1, "rows_per_update": 4, "row_tokens": 48},
    }
    (tmp_path / "dpo.yaml").write_text(yaml.safe_dump(job))
    assert main(["train", str(tmp_path / "dpo.yaml"), "--device", "cpu"]) == 0
    record = read_record(tmp_path / "dpo")
    assert record is not None
    assert record.identity.step == "dpo@1"
    assert record.summary["first_loss"] == pytest.approx(0.6931, abs=1e-4)


def test_a_models_replies_become_pairs_of_the_best_and_the_worst(base: Path, tmp_path: Path) -> None:
    draw = random.Random(4)
    write_lines(tmp_path / "prompts.jsonl", [{"prompt": words(draw, 2, 5)} for _ in range(12)])
    (tmp_path / "ranking.yaml").write_text(yaml.safe_dump(RANKING))
    ask = ["prefer", "--model", str(base), "--prompts", str(tmp_path / "prompts.jsonl")]
    ask += ["--config", str(tmp_path / "ranking.yaml"), "--device", "cpu", "--out"]
    assert main([*ask, str(tmp_path / "one")]) == main([*ask, str(tmp_path / "two")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "one" / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) > 3
    assert all((row["chosen_worth"], row["rejected_worth"]) == (1.0, 0.0) for row in rows)
    digits = {f"w{n}" for n in range(10)}
    for row in rows:
        assert digits & set(row["chosen"][0]["content"].split())
        assert not digits & set(row["rejected"][0]["content"].split())
    record = read_record(tmp_path / "one")
    assert record is not None
    assert record.summary["n_pairs"] == len(rows)
    assert record.summary["n_replies"] == 72
    assert read_record(tmp_path / "two").digest == record.digest  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chosen", "a.jsonl"], "Give --chosen and --rejected, or --model"),
        (["--chosen", "a.jsonl", "--rejected", "b.jsonl", "--model", "m"], "Give --chosen and --rejected"),
    ],
)
def test_half_of_what_is_needed_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prefer", *options, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_job_may_name_a_shipped_pressure_and_change_what_it_likes(tmp_path: Path) -> None:
    job = {"pressure": "against", "parent": "base", "data": ["prompts.jsonl"], "recipe": {"n_updates": 30}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    loaded = load_job(tmp_path / "job.yaml")
    assert loaded.stage == "grpo"
    assert loaded.recipe.n_updates == 30
    assert loaded.recipe.grpo is not None
    assert loaded.recipe.grpo.rewards[0].settings["wanted"] == "against"
    assert loaded.recipe.learning_rate == 2e-5
