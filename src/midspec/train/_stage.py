"""One stage of training from end to end: plan, open, check, train, prove that weights moved, save."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import CHECKPOINTS, Built, write_json, write_rows
from midspec.core.errors import CheckpointError
from midspec.core.records import Strict
from midspec.models import find_checkpoint, only_here
from midspec.train._job import MetricsRow, Preflight, Progress, Trained, TrainJob
from midspec.train._ranks import Ranks, meet
from midspec.train._rewards import Reward

RL_STAGES = ("dpo", "grpo")

if TYPE_CHECKING:
    import torch

    from midspec.train._distributed import Shards
    from midspec.train._memory import Forecast
    from midspec.train._plan import Plan
    from midspec.train._probe import Computation
    from midspec.train._rl_plan import DpoPlan, DpoPreflight, GrpoPlan, GrpoPreflight


def preflight(job: TrainJob) -> Preflight | DpoPreflight | GrpoPreflight:
    """Count what the job would do, without opening the model.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError: the data or the tokenizer can't be used.
    """
    if job.parent is not None:
        only_here(find_checkpoint(job.parent).model)  # a mistyped name is refused before torch is loaded
    from midspec.train._checkpoint import open_tokenizer

    return _plan(job, open_tokenizer(job)).preflight


def train(
    job: TrainJob,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    device: str = "auto",
    keep_checkpoints: bool = False,
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
        keep_checkpoints: leave the run's last checkpoint in `folder`, for `build` to remove when the record is written.
        rewards: of stage grpo: those of evaluation tasks, which a layer above makes, by their entries' names.

    Raises:
        PreflightError: it would teach nothing, or lose data.
        MissingError, DataError, CheckpointError, ConfigError: the data, the parent or a setting can't be used.
        FolderError: the disk is full, or will be.
    """
    from midspec.train._launch import train_in_processes

    if (job.execution.processes or 1) > 1 and "RANK" not in os.environ:
        return train_in_processes(job, folder, device=device, on_progress=on_progress)
    from midspec.models import BASE_WEIGHTS, pick_device, use_threads, weights_digest
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import Proof
    from midspec.train._memory import Usage
    from midspec.train._recorder import kept_files

    start = time.monotonic()
    threads, torch_device = use_threads(job.execution.threads), pick_device(device)
    usage, ranks = Usage(torch_device), meet(torch_device.type, job.execution.processes, folder)
    run = _open(job, folder, torch_device, ranks)
    proof = Proof(run.model, run.plan.pieces()[0], torch_device, ranks)
    training_start = time.monotonic()
    try:
        with checkpoint.writing(folder):
            trained = _run(run, rewards or {}, on_progress)
            training_end = time.monotonic()
            proven = proof.after(run.model)
            model = run.model if run.shards is None else run.shards.whole()
            if not ranks.is_main:
                return Built(outputs=())
            outputs = (*checkpoint.save_model(model, run.tokenizer, folder), *kept_files(job, folder))
    finally:
        if ranks.is_main:
            checkpoint.drop_incomplete(folder)
    _write_beside(folder, outputs, trained.rows, run.plan.preflight)
    if not keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    base = str(run.model.get_base_model().name_or_path) if job.recipe.method == "lora" else None
    base_weights = base and weights_digest(base)
    return Built(
        outputs=(*outputs, "metrics.jsonl", "preflight.json"),
        summary={
            **run.plan.preflight.model_dump(mode="json", exclude={"example"}),
            "method": job.recipe.method,
            "first_loss": trained.rows[0].loss,
            "last_loss": trained.rows[-1].loss,
            **trained.summary,
            **proven,
        },
        execution={
            **_execution(run, threads, ranks.n),
            **({BASE_WEIGHTS: base_weights} if base_weights else {}),
            **usage.describe(run.forecast),
            "open_seconds": round(training_start - start, 3),
            "train_seconds": round(training_end - training_start, 3),
        },
    )


class _Run(NamedTuple):
    """All that one stage of training works with, open and checked."""

    model: Any
    job: TrainJob
    plan: Plan | DpoPlan | GrpoPlan
    folder: Path
    device: torch.device
    tokenizer: Any
    computation: Computation
    forecast: Forecast
    shards: Shards | None


def _open(job: TrainJob, folder: Path, device: torch.device, ranks: Ranks) -> _Run:
    """Open the model, and refuse what can be refused before the first update."""
    from midspec.models import refuse_uncomputed
    from midspec.train import _checkpoint as checkpoint
    from midspec.train._checks import refuse_unopened
    from midspec.train._memory import forecast_memory, refuse_too_large, sizes_of
    from midspec.train._probe import first_layers, training_dtype

    tokenizer = checkpoint.open_tokenizer(job)
    plan = ranks.from_main(lambda: _plan(job, tokenizer))
    where = job.parent or "architecture"
    with checkpoint.fitting("the model", where, "Use a larger GPU, a smaller model or method lora"):
        dtype = ranks.from_main(lambda: training_dtype(job, device))
        with ranks.in_turn():
            model = checkpoint.open_start(job, tokenizer, dtype=dtype)
            refuse_unopened(model, where)
            checkpoint.refuse_misfit(model, tokenizer, plan.pieces(), plan.longest_tokens, where)
            width, longest = plan.preflight.row_width, plan.longest_tokens
            forecast = forecast_memory(
                sizes_of(model), job, ranks.n, row_width=width, longest=longest, dtype=dtype, device=device
            )
            refuse_too_large(forecast)
            if ranks.is_main:
                checkpoint.refuse_full_disk(model, folder)
                checkpoint.try_saving(model, tokenizer, folder, where)
            with first_layers(model, ranks, device) as probed:
                refuse_uncomputed(probed, where)
                computation = _choose_computation(plan, probed, device, dtype)
            # Of several processes each has found parts of the first layers alone; checkpointing is asked for to save
            # the activations that the parts would keep.
            if ranks.n > 1 or job.execution.gradient_checkpointing:
                computation = computation._replace(decoder=None)
            if ranks.n > 1:
                # Which norms they are is seen on their weights, of which each process will have a part.
                computation = computation._replace(fused_norms=False)
            shards = None
            if ranks.n > 1:
                from midspec.train._distributed import Shards

                shards = Shards(model, ranks, device)
            else:
                model.to(device)
        with computation.with_attention(model):
            plan = _packed_or_not(plan, model, device, job.recipe.pack, where)
    return _Run(model, job, plan, folder, device, tokenizer, computation, forecast, shards)


def _plan(job: TrainJob, tokenizer: Any) -> Plan | DpoPlan | GrpoPlan:
    if job.stage in RL_STAGES:
        from midspec.train._rl_plan import plan_dpo, plan_grpo

        return plan_dpo(job, tokenizer) if job.stage == "dpo" else plan_grpo(job, tokenizer)
    from midspec.train._plan import plan_training

    return plan_training(job, tokenizer)


def _run(run: _Run, rewards: Mapping[str, Reward], on_progress: Callable[[Progress], None] | None) -> Trained:
    """Train the model in place through all updates of the plan."""
    from midspec.train._plan import Plan

    if not isinstance(run.plan, Plan):
        from midspec.train._rl_loop import run_rl

        return run_rl(run.model, run.job, run.plan, run.folder, run.device, run.tokenizer, rewards, on_progress)
    from midspec.train._loop import run_updates

    rows = run_updates(
        run.model,
        run.job,
        run.plan,
        run.folder,
        device=run.device,
        computation=run.computation,
        tokenizer=run.tokenizer,
        on_progress=on_progress,
        shards=run.shards,
    )
    return Trained(rows, {})


def _write_beside(folder: Path, outputs: Sequence[str], rows: Sequence[MetricsRow], preflight: Strict) -> None:
    """Write the metrics and the preflight beside the checkpoint, and make all as readable as other files."""
    write_rows(folder / "metrics.jsonl", rows)
    write_json(folder / "preflight.json", preflight)
    for name in outputs:
        # safetensors makes its files readable by their owner alone.
        shutil.copymode(folder / "preflight.json", folder / name)


def _execution(run: _Run, threads: int, processes: int) -> dict[str, JsonValue]:
    return {"device": str(run.device), "processes": processes, "threads": threads, **run.computation.describe()}


def _choose_computation(
    plan: Plan | DpoPlan | GrpoPlan, model: Any, device: torch.device, dtype: torch.dtype
) -> Computation:
    """Choose how the model is computed; TRL's trainers compute it as transformers does."""
    from midspec.train._plan import Plan
    from midspec.train._probe import Computation, attention_of, choose_computation

    if isinstance(plan, Plan):
        return choose_computation(model, plan.preflight.row_width, device, dtype)
    return Computation(dtype, attention_of(model), None)


def _packed_or_not(
    plan: Plan | DpoPlan | GrpoPlan, model: Any, device: torch.device, pack: str, where: str
) -> Plan | DpoPlan | GrpoPlan:
    """Return the plan with one document a row, where the model does not keep packed documents apart, or takes no row.

    Raises:
        CheckpointError: it does not, and `pack` is "always".
    """
    from midspec.train._checks import leak, refuse_leaks, takes_row
    from midspec.train._plan import Plan, unpacked

    if not isinstance(plan, Plan):
        return plan
    width = plan.preflight.row_width
    if pack == "always":
        refuse_leaks(model, device, where)
        if not takes_row(model, device, width):
            hint = "Lower recipe.row_tokens to the model's positions, or set recipe.pack to auto"
            raise CheckpointError(f"this kind of model takes no packed row of {width} tokens", where=where, hint=hint)
    elif plan.preflight.packed and (leak(model, device) or not takes_row(model, device, width)):
        return unpacked(plan)
    return plan
