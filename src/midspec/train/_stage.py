"""One stage of training from end to end: look before, open, train, prove, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.errors import MissingError
from midspec.core.fingerprint import hash_file
from midspec.core.records import Identity
from midspec.models import checkpoint_digest, files_digest, find_checkpoint, only_here
from midspec.train._job import TrainJob
from midspec.train._plan import MetricsRow, Preflight, Progress

VERSION = "1"


def job_identity(job: TrainJob) -> Identity:
    """What identifies the job's result: recipe, seed, and its data and parent by content, never by path.

    Raises:
        MissingError: a data file is not there.
        CheckpointError: the parent is no checkpoint.
    """
    recipe = job.recipe.model_dump(mode="json", exclude={"micro_batch"})
    if job.recipe.method == "full":
        del recipe["lora"]
    inputs = {f"data.{number}": _hash_rows(Path(name)) for number, name in enumerate(job.data, start=1)}
    if job.parent is not None:
        inputs["parent"] = checkpoint_digest(job.parent)
    if job.tokenizer is not None:
        inputs["tokenizer"] = files_digest(job.tokenizer)
    config: dict[str, JsonValue] = {
        "stage": job.stage,
        "architecture": job.architecture,
        "recipe": recipe,
        "seed": job.seed,
    }
    return Identity(step=f"train@{VERSION}", inputs=inputs, config=config)


def _hash_rows(path: Path) -> str:
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    return hash_file(path)


def preflight(job: TrainJob) -> Preflight:
    """What the job would do, counted, without opening the model.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
    """
    if job.parent is not None:
        only_here(find_checkpoint(job.parent).model)  # a mistyped name is said before torch is loaded
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

    An interrupted run of the same job goes on from the half-way checkpoint that it left in `folder`, and ends with
    the same weights (bit for bit on a CPU).

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
    from torch.backends.cpu import get_cpu_capability

    from midspec.models import pick_device, use_threads
    from midspec.train._checkpoint import (
        compute_dtype,
        open_start,
        open_tokenizer,
        refuse_full_disk,
        refuse_misfit,
        save_model,
        writing,
    )
    from midspec.train._isolation import refuse_leaks
    from midspec.train._loop import forget_checkpoints, run_updates
    from midspec.train._plan import plan_training
    from midspec.train._proof import Proof

    clock = time.monotonic()
    threads, place = use_threads(job.execution.threads), pick_device(device)
    tokenizer = open_tokenizer(job)
    plan = plan_training(job, tokenizer)
    model = open_start(job, tokenizer, dtype=compute_dtype(job.recipe, place)).to(place)
    where = job.parent or "architecture"
    longest = max(len(piece.ids) for update in plan.updates for row in update for piece in row)
    refuse_misfit(model, tokenizer, longest, where)
    refuse_full_disk(model, folder)
    refuse_leaks(model, place, where)
    proof = Proof(model, plan.updates[0][0], place)
    begun = time.monotonic()
    with writing(folder):
        rows = run_updates(model, job, plan, folder, device=place, tokenizer=tokenizer, on_progress=on_progress)
        trained = time.monotonic()
        proven = proof.after(model)
        outputs = save_model(model, tokenizer, folder)
    write_rows(folder / "metrics.jsonl", rows)
    write_json(folder / "preflight.json", plan.preflight)
    for name in outputs:
        # safetensors leaves its files to their owner alone; a result is as readable as any file of this user's.
        shutil.copymode(folder / "preflight.json", folder / name)
    forget_checkpoints(folder)
    return Built(
        outputs=(*outputs, "metrics.jsonl", "preflight.json"),
        summary={**_health(job, plan.preflight, rows), **proven},
        execution={
            "device": str(place),
            "threads": threads,
            # Other instructions round otherwise: the same seed is another draw there.
            "cpu": get_cpu_capability(),
            "open_seconds": round(begun - clock, 3),
            "train_seconds": round(trained - begun, 3),
        },
    )


def _health(job: TrainJob, geometry: Preflight, rows: list[MetricsRow]) -> dict[str, JsonValue]:
    """What a report shows of the run: its geometry without the example, its method and its losses."""
    counted: dict[str, JsonValue] = geometry.model_dump(mode="json", exclude={"example"})
    return {**counted, "method": job.recipe.method, "first_loss": rows[0].loss, "last_loss": rows[-1].loss}
