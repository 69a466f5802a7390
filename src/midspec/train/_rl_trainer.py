"""What TRL's trainers of dpo and grpo share: settings, checkpoints, metrics, stopping, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from midspec.core.artifact import CHECKPOINTS
from midspec.core.errors import plural
from midspec.models import quiet
from midspec.train._checkpoint import fitting
from midspec.train._job import MetricsRow, TrainJob
from midspec.train._probe import training_dtype
from midspec.train._recorder import Recorder, whole_checkpoint


class DpoRow(MetricsRow):
    """One update on pairs.

    `margin` is beta times how much further the chosen reply has moved from the reference than the rejected one, in
    nats; `accuracy` the share of pairs where it is above 0; the log-probabilities are sums over a reply, means over
    pairs.
    """

    margin: float
    accuracy: float
    chosen_logprob: float
    rejected_logprob: float


class GrpoRow(MetricsRow):
    """One update on replies; `None` where nothing was scored, or there is no reference.

    `flat_share` is the share of groups without any spread in reward, `cut_share` of replies that reached
    `max_new_tokens`, `clipped_share` of tokens whose importance ratio was clipped, `unscored_share` of replies that a
    reward could not score. `kl` is to the reference, `entropy` of the next token, both in nats a token; these two and
    `clipped_share` are means of the micro-batches' means.
    """

    reward: float | None
    reward_std: float | None
    flat_share: float
    unscored_share: float
    cut_share: float
    clipped_share: float
    mean_tokens: float
    entropy: float | None
    kl: float | None = None


def shared_arguments(job: TrainJob, folder: Path, device: torch.device) -> dict[str, Any]:
    """Return the settings that both of TRL's trainers take from a job; none is left to TRL's own defaults.

    Those (bfloat16 and gradient checkpointing on, a truncation at 1,024 tokens) differ from this package's.
    """
    recipe = job.recipe
    micro_batch = recipe.micro_batch or recipe.rows_per_update
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": recipe.n_updates,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": recipe.rows_per_update // micro_batch,
        "max_grad_norm": recipe.max_grad_norm,
        "bf16": training_dtype(job, device) == torch.bfloat16,
        "use_cpu": device.type == "cpu",
        "seed": job.seed,
        "gradient_checkpointing": job.execution.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.type == "cuda",
        "remove_unused_columns": False,
        "disable_dropout": True,
        # Mixtures of experts are trained on the stage's own loss alone, as in the other stages.
        "router_aux_loss_coef": 0.0,
    }


def run_trainer(trainer: Any, recorder: Recorder, row_type: type[MetricsRow], folder: Path) -> list[MetricsRow]:
    """Run a trainer through all updates, from the last complete checkpoint in `folder` if there is one.

    SIGINT, SIGTERM and SIGHUP wait until the current update is saved, so that the next run goes on right there.

    Args:
        trainer: one of TRL's, with `recorder` among its callbacks.
        recorder: has the rows of the updates before, and gets the new ones.
        row_type: of the rows.
        folder: holds the checkpoints of a run that is not finished.

    Raises:
        ConfigError: the loss stopped being a finite number, or memory does not suffice.
    """
    last = whole_checkpoint(folder, row_type)
    recorder.go_on_from(last, row_type)
    trainer.pop_callback(PrinterCallback)
    n_rows = trainer.args.per_device_train_batch_size
    too_much = f"{plural(n_rows, 'row')} at once"
    hint = f"{'Lower it, or set' if n_rows > 1 else 'Set'} execution.gradient_checkpointing"
    with fitting(too_much, "recipe.micro_batch", hint, folder), recorder.stop, quiet():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return recorder.rows
