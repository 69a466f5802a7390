"""One stage of training from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midspec.core.artifact import Built, write_json, write_rows
from midspec.models import find_checkpoint, only_here
from midspec.train._job import Preflight, Progress, TrainJob


def preflight(job: TrainJob) -> Preflight:
    """Count what the job would do, without opening the model.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
    """
    if job.parent is not None:
        only_here(find_checkpoint(job.parent).model)  # a mistyped name is refused before torch is loaded
    from midspec.train._checkpoint import open_tokenizer
    from midspec.train._plan import plan_training

    return plan_training(job, open_tokenizer(job)).preflight


def train(
    job: TrainJob,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    device: str = "auto",
) -> Built:
    """Train one stage and write the checkpoint, `metrics.jsonl` and `preflight.json` into `folder`.

    An interrupted run of the same job continues from the checkpoint that it left in `folder`, and ends with the same
    weights (bit for bit on a CPU).

    Args:
        job: what to train, on what, how.
        folder: an existing folder; an empty one, or one that an interrupted run of the same job left.
        on_progress: called after every update.
        device: "auto" (the GPU if there is one), "cpu" or "cuda".

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError, ConfigError: the data, the parent or a setting can't be used.
        FolderError: the disk is full, or will be.
    """
    from midspec.models import pick_device, use_threads
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import Proof, refuse_leaks
    from midspec.train._loop import forget_checkpoints, run_updates
    from midspec.train._plan import plan_training
    from midspec.train._probe import choose_computation, training_dtype

    start = time.monotonic()
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    tokenizer = checkpoint.open_tokenizer(job)
    plan = plan_training(job, tokenizer)
    dtype = training_dtype(job, torch_device)
    model = checkpoint.open_start(job, tokenizer, dtype=dtype).to(torch_device)
    where = job.parent or "architecture"
    longest = max(len(piece.ids) for update in plan.updates for row in update for piece in row)
    checkpoint.refuse_misfit(model, tokenizer, longest, where)
    checkpoint.refuse_full_disk(model, folder)
    computation = choose_computation(model, plan.preflight.row_width, torch_device, dtype)
    with computation.with_attention(model):
        refuse_leaks(model, torch_device, where)
    proof = Proof(model, plan.updates[0][0], torch_device)
    training_start = time.monotonic()
    with checkpoint.writing(folder):
        ways: dict[str, Any] = {"device": torch_device, "computation": computation, "tokenizer": tokenizer}
        rows = run_updates(model, job, plan, folder, **ways, on_progress=on_progress)
        training_end = time.monotonic()
        proven = proof.after(model)
        outputs = checkpoint.save_model(model, tokenizer, folder)
    write_rows(folder / "metrics.jsonl", rows)
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
            "first_loss": rows[0].loss,
            "last_loss": rows[-1].loss,
            **proven,
        },
        execution={
            "device": str(torch_device),
            "threads": threads,
            **computation.describe(),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )
