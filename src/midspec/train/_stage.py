"""One stage of training from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midspec.core.artifact import CHECKPOINTS, Built, write_json, write_rows
from midspec.models import find_checkpoint, only_here
from midspec.train._job import Preflight, Progress, TrainJob

if TYPE_CHECKING:
    from midspec.train._checks import Proof
    from midspec.train._plan import Plan


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
    keep_checkpoints: bool = False,
) -> Built:
    """Train one stage and write the checkpoint, `metrics.jsonl` and `preflight.json` into `folder`.

    An interrupted run of the same job continues from the checkpoint that it left in `folder`, and ends with the same
    weights (bit for bit on a CPU).

    Args:
        job: what to train, on what, how.
        folder: an existing folder; an empty one, or one that an interrupted run of the same job left.
        on_progress: called after every update.
        device: "auto" (the GPU if there is one), "cpu" or "cuda".
        keep_checkpoints: leave the run's last checkpoint in `folder`, for `build` to remove when the record is written.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError, ConfigError: the data, the parent or a setting can't be used.
        FolderError: the disk is full, or will be.
    """
    from torch.backends.cpu import get_cpu_capability

    from midspec.models import pick_device, use_threads
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._loop import run_updates

    start = time.monotonic()
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    tokenizer = checkpoint.open_tokenizer(job)
    model, plan, proof = _open(job, tokenizer, folder, torch_device)
    training_start = time.monotonic()
    try:
        with checkpoint.writing(folder):
            rows = run_updates(
                model, job, plan, folder, device=torch_device, tokenizer=tokenizer, on_progress=on_progress
            )
            training_end = time.monotonic()
            proven = proof.after(model)
            outputs = checkpoint.save_model(model, tokenizer, folder)
    finally:
        checkpoint.drop_incomplete(folder)
    write_rows(folder / "metrics.jsonl", rows)
    write_json(folder / "preflight.json", plan.preflight)
    for name in outputs:
        # safetensors makes its files readable by their owner alone; a result is as readable as other files.
        shutil.copymode(folder / "preflight.json", folder / name)
    if not keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
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
            # Other instruction sets round otherwise: the same seed gives other weights there.
            "cpu": get_cpu_capability(),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )


def _open(job: TrainJob, tokenizer: Any, folder: Path, device: Any) -> tuple[Any, Plan, Proof]:
    """Plan the updates, open the model, and refuse whatever can be refused before the first update."""
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import Proof, leak, refuse_leaks
    from midspec.train._plan import plan_training, unpacked

    plan = plan_training(job, tokenizer)
    where = job.parent or "architecture"
    with checkpoint.fitting("the model", where, "Use a larger GPU, a smaller model or method lora"):
        dtype = checkpoint.compute_dtype(job.recipe, device)
        model = checkpoint.open_start(job, tokenizer, dtype=dtype).to(device)
        checkpoint.refuse_misfit(model, tokenizer, [piece for row in plan.rows() for piece in row], where)
        checkpoint.refuse_full_disk(model, folder)
        if job.recipe.pack == "always":
            refuse_leaks(model, device, where)
        elif plan.preflight.packed and leak(model, device):
            plan = unpacked(plan)
        checkpoint.try_saving(model, tokenizer, folder, where)
        return model, plan, Proof(model, plan.updates[0][0], device)
