"""One stage of training from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from midspec.core.artifact import Built, write_json, write_rows
from midspec.models import find_checkpoint, only_here
from midspec.train._job import Preflight, Progress, TrainJob

if TYPE_CHECKING:
    import torch

    from midspec.train._checks import Proof
    from midspec.train._distributed import Shards
    from midspec.train._memory import Forecast
    from midspec.train._plan import Plan
    from midspec.train._ranks import Ranks


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
    from midspec.train._launch import meet, train_in_processes

    if (job.execution.processes or 1) > 1 and "RANK" not in os.environ:
        return train_in_processes(job, folder, device=device, on_progress=on_progress)
    from torch.backends.cpu import get_cpu_capability

    from midspec.models import pick_device, use_threads
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._loop import forget_checkpoints, run_updates
    from midspec.train._memory import Usage

    start = time.monotonic()
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    ranks, usage = meet(job, torch_device.type, folder), Usage(torch_device)
    tokenizer = checkpoint.open_tokenizer(job)
    model, shards, plan, proof, forecast = _open(job, tokenizer, folder, torch_device, ranks)
    training_start = time.monotonic()
    with checkpoint.writing(folder):
        rows = run_updates(
            model, job, plan, folder, device=torch_device, tokenizer=tokenizer, on_progress=on_progress, shards=shards
        )
        training_end = time.monotonic()
        proven = proof.after(model)
        model = model if shards is None else shards.whole()
        if not ranks.is_main:
            return Built(outputs=())
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
            "processes": ranks.n,
            **usage.describe(forecast),
            "threads": threads,
            # Other instruction sets round otherwise: the same seed gives other weights there.
            "cpu": get_cpu_capability(),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )


class _Opened(NamedTuple):
    """What a run begins with: the model (`shards` where it is divided), the rows, and what is compared at the end."""

    model: Any
    shards: Shards | None
    plan: Plan
    proof: Proof
    forecast: Forecast


def _open(job: TrainJob, tokenizer: Any, folder: Path, device: torch.device, ranks: Ranks) -> _Opened:
    """Plan the updates, open the model, and refuse whatever can be refused before the first update."""
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import Proof, refuse_leaks
    from midspec.train._launch import divide_model
    from midspec.train._memory import forecast_memory, refuse_too_large, sizes_of
    from midspec.train._plan import plan_training

    plan = ranks.from_main(lambda: plan_training(job, tokenizer))
    where = job.parent or "architecture"
    longest = max(len(piece.ids) for update in plan.updates for row in update for piece in row)
    width, dtype = plan.preflight.row_width, checkpoint.compute_dtype(job.recipe, device)
    with ranks.in_turn():
        model = checkpoint.open_start(job, tokenizer, dtype=dtype)
        forecast = forecast_memory(sizes_of(model), job, ranks.n, row_width=width, dtype=dtype, device=device)
        refuse_too_large(forecast)
        checkpoint.refuse_misfit(model, tokenizer, longest, where)
        checkpoint.refuse_full_disk(model, folder)
        shards = divide_model(model, ranks, device)
    refuse_leaks(model, device, where)
    return _Opened(model, shards, plan, Proof(model, plan.updates[0][0], device, ranks), forecast)
