"""Stages `dpo` and `grpo` from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel
from pydantic import JsonValue
from torch.backends.cpu import get_cpu_capability

from midspec.core.artifact import Built, write_json, write_rows
from midspec.models import ChatTemplate, pick_device, use_threads
from midspec.train import _checkpoint as checkpoint
from midspec.train._checks import Proof
from midspec.train._job import MetricsRow, Progress, TrainJob
from midspec.train._kept import kept_files
from midspec.train._loop import forget_checkpoints
from midspec.train._pack import Piece
from midspec.train._rewards import Reward
from midspec.train._rl_plan import DpoPlan, GrpoPlan, plan_dpo, plan_grpo


class _Trained(NamedTuple):
    rows: list[MetricsRow]
    summary: dict[str, JsonValue]


def plan_rl(job: TrainJob, tokenizer: Any) -> DpoPlan | GrpoPlan:
    """Plan a job of stage dpo or grpo; raises what `plan_dpo` and `plan_grpo` do."""
    return plan_dpo(job, tokenizer) if job.stage == "dpo" else plan_grpo(job, tokenizer)


def train_rl(
    job: TrainJob,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    device: str = "auto",
    rewards: Mapping[str, Reward] | None = None,
) -> Built:
    """Train one such stage; for the arguments see `train`.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError, ConfigError: the data, the parent or a setting can't be used.
        FolderError: the disk is full, or will be.
    """
    start, where = time.monotonic(), job.parent or ""
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    tokenizer = checkpoint.open_tokenizer(job)
    plan = plan_rl(job, tokenizer)
    dtype = checkpoint.compute_dtype(job.recipe, torch_device)
    model = checkpoint.open_start(job, tokenizer, dtype=dtype).to(torch_device)
    checkpoint.refuse_misfit(model, tokenizer, plan.preflight.longest_tokens, where)
    checkpoint.refuse_full_disk(model, folder)
    probe = np.array(_probe_ids(plan), dtype=np.int32)
    proof = Proof(model, [Piece(probe, np.zeros(len(probe), dtype=np.bool_))], torch_device)
    training_start = time.monotonic()
    with checkpoint.writing(folder):
        trained = _train(model, job, plan, folder, torch_device, tokenizer, rewards or {}, on_progress)
        training_end = time.monotonic()
        proven = proof.after(model)
        outputs = (*checkpoint.save_model(model, tokenizer, folder), *kept_files(job, folder))
    write_rows(folder / "metrics.jsonl", trained.rows)
    write_json(folder / "preflight.json", plan.preflight)
    for name in outputs:
        # safetensors makes its files readable by their owner alone; a result is as readable as other files.
        shutil.copymode(folder / "preflight.json", folder / name)
    forget_checkpoints(folder)
    return Built(
        outputs=(*outputs, "metrics.jsonl", "preflight.json"),
        summary={
            **plan.preflight.model_dump(mode="json", exclude={"example"}),
            "method": job.recipe.method,
            "first_loss": trained.rows[0].loss,
            "last_loss": trained.rows[-1].loss,
            **trained.summary,
            **proven,
        },
        execution={
            "device": str(torch_device),
            "threads": threads,
            # Other instruction sets round otherwise: the same seed gives other weights there.
            "cpu": get_cpu_capability(),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )


def _train(
    model: Any,
    job: TrainJob,
    plan: DpoPlan | GrpoPlan,
    folder: Path,
    device: torch.device,
    tokenizer: Any,
    rewards: Mapping[str, Reward],
    on_progress: Callable[[Progress], None] | None,
) -> _Trained:
    """Run the stage's trainer on `model`, which is left as it was opened but for its weights."""
    from midspec.train._dpo import run_dpo
    from midspec.train._grpo import run_grpo
    from midspec.train._rl_guards import end_turns_with

    ends = ChatTemplate(tokenizer, job.recipe.template_args).end_ids
    pad_id = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    before = end_turns_with(model, ends, pad_id)
    if isinstance(plan, DpoPlan):
        rows = run_dpo(model, job, plan, folder, device=device, tokenizer=tokenizer, on_progress=on_progress)
        summary: dict[str, JsonValue] = {}
    else:
        rows, summary = run_grpo(
            model, job, plan, folder, device=device, tokenizer=tokenizer, rewards=rewards, on_progress=on_progress
        )
    model.generation_config = before
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")
    return _Trained(rows, summary)


def _probe_ids(plan: DpoPlan | GrpoPlan) -> list[int]:
    """Return the tokens whose logits must move: of the first pair, or of the first prompt."""
    if isinstance(plan, DpoPlan):
        return [*plan.pairs[0].prompt, *plan.pairs[0].chosen]
    return plan.prompts[0].ids
