"""`midspec train` of stages dpo and grpo, killed in the middle and started again, against a run that went straight."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.train.conftest import RL_LORA, words, write_lines

from midspec.cli import main
from midspec.core.artifact import read_record

N_UPDATES = 40


def job_file(folder: Path, stage: str, adapter: Path) -> Path:
    draw = random.Random(6)
    rows: list[dict[str, Any]] = [
        {"prompt": words(draw, 2, 5), "chosen": words(draw, 1, 5), "rejected": f"w1 {words(draw, 1, 5)}"}
        for _ in range(20)
    ]
    recipe = RL_LORA | {"learning_rate": 1e-3, "rows_per_update": 8, "n_updates": N_UPDATES, "row_tokens": 48}
    if stage == "grpo":
        recipe["grpo"] = {
            "rewards": [{"rule": "matches", "settings": {"pattern": r"w[0-5]\b"}}],
            "group_size": 4,
            "max_new_tokens": 12,
            "beta": 0.05,
        }
    job = {
        "stage": stage,
        "parent": str(adapter),
        "data": [str(write_lines(folder / "rows.jsonl", rows))],
        "recipe": recipe,
        "execution": {"save_every_updates": 5},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def start(job: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "midspec", "train", str(job), "--out", str(out), "--device", "cpu"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["dpo", "grpo"])
def test_killed_and_started_again_it_ends_with_the_same_losses_and_bytes(
    stage: str, adapter: Path, tmp_path: Path
) -> None:
    job = job_file(tmp_path, stage, adapter)
    halting = start(job, tmp_path / "halting")
    checkpoints = tmp_path / ".halting.part" / ".checkpoints"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("checkpoint-*/metrics.jsonl")):
        assert halting.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    halting.send_signal(signal.SIGKILL)
    halting.wait()
    (kept,) = checkpoints.glob("checkpoint-*/metrics.jsonl")
    n_done = len(kept.read_text().splitlines())
    assert 0 < n_done < N_UPDATES
    for name in ("straight", "halting"):
        assert main(["train", str(job), "--out", str(tmp_path / name), "--device", "cpu"]) == 0
    for name in ("metrics.jsonl", "adapter_model.safetensors", "preflight.json"):
        assert (tmp_path / "halting" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    one, other = read_record(tmp_path / "straight"), read_record(tmp_path / "halting")
    assert one is not None
    assert other is not None
    assert other.execution.n_attempts == 2
    assert one.summary == other.summary
