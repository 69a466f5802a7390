"""One stage of training from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from midspec.core.artifact import Built, write_json, write_rows
from midspec.models import find_checkpoint, only_here
from midspec.train._job import Preflight, Progress, TrainJob
from midspec.train._rewards import Reward
from midspec.train._rl_plan import DpoPreflight, GrpoPreflight

RL_STAGES = ("dpo", "grpo")


def preflight(job: TrainJob) -> Preflight | DpoPreflight | GrpoPreflight:
    """Count what the job would do, without opening the model.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
    """
    if job.parent is not None:
        only_here(find_checkpoint(job.parent).model)  # a mistyped name is refused before torch is loaded
    from midspec.train._checkpoint import open_tokenizer
    from midspec.train._plan import plan_training

    if job.stage in RL_STAGES:
        from midspec.train._rl_stage import plan_rl

        return plan_rl(job, open_tokenizer(job)).preflight
    return plan_training(job, open_tokenizer(job)).preflight


def train(
    job: TrainJob,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    device: str = "auto",
    rewards: Mapping[str, Reward] | None = None,
) -> Built:
    """Train one stage and write the checkpoint, `metrics.jsonl` and `preflight.json` into `folder`.

    An interrupted run of the same job continues from the checkpoint that it left in `folder`, and ends with the same
    weights (bit for bit on a CPU).

    Args:
        job: what to train, on what, how.
        folder: an existing folder; an empty one, or one that an interrupted run of the same job left.
        on_progress: called after every update.
        device: "auto" (the GPU if there is one), "cpu" or "cuda".
        rewards: of stage grpo: those of evaluation tasks, which a layer above makes, by their entries' names.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError, ConfigError: the data, the parent or a setting can't be used.
        FolderError: the disk is full, or will be.
    """
    if job.stage in RL_STAGES:
        from midspec.train._rl_stage import train_rl

        return train_rl(job, folder, on_progress=on_progress, device=device, rewards=rewards)
    return _train_rows(job, folder, on_progress, device)


def _train_rows(job: TrainJob, folder: Path, on_progress: Callable[[Progress], None] | None, device: str) -> Built:
    """Train one stage on packed rows of documents and chats; see `train`."""
    from torch.backends.cpu import get_cpu_capability

    from midspec.models import pick_device, use_threads
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import Proof, refuse_leaks
    from midspec.train._kept import kept_files
    from midspec.train._loop import forget_checkpoints, run_updates
    from midspec.train._plan import plan_training

    start = time.monotonic()
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    tokenizer = checkpoint.open_tokenizer(job)
    plan = plan_training(job, tokenizer)
    model = checkpoint.open_start(job, tokenizer, dtype=checkpoint.compute_dtype(job.recipe, torch_device)).to(
        torch_device
    )
    where = job.parent or "architecture"
    longest = max(len(piece.ids) for update in plan.updates for row in update for piece in row)
    checkpoint.refuse_misfit(model, tokenizer, longest, where)
    checkpoint.refuse_full_disk(model, folder)
    refuse_leaks(model, torch_device, where)
    proof = Proof(model, plan.updates[0][0], torch_device)
    training_start = time.monotonic()
    with checkpoint.writing(folder):
        rows = run_updates(model, job, plan, folder, device=torch_device, tokenizer=tokenizer, on_progress=on_progress)
        training_end = time.monotonic()
        proven = proof.after(model)
        outputs = (*checkpoint.save_model(model, tokenizer, folder), *kept_files(job, folder))
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
            # Other instruction sets round otherwise: the same seed gives other weights there.
            "cpu": get_cpu_capability(),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )
