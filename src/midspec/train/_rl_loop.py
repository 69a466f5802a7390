"""What stages `dpo` and `grpo` share in running TRL's trainers: settings, checkpoints, metrics, stopping, resuming."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PrinterCallback, TrainerCallback

from midspec.core.artifact import CHECKPOINTS, read_rows, write_rows
from midspec.core.errors import ConfigError
from midspec.models import quiet
from midspec.train._checkpoint import fitting, last_checkpoint
from midspec.train._job import MetricsRow, Progress, TrainJob
from midspec.train._loop import GracefulStop
from midspec.train._probe import training_dtype

_METRICS = "metrics.jsonl"


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


class RowReader(Protocol):
    """Turns what a trainer logs of an update into a row of metrics."""

    def __call__(self, logs: dict[str, float], **shared: Any) -> MetricsRow: ...


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here, and calls every event
    """Collects the metrics, asks for checkpoints, and completes each by writing its metrics last.

    Args:
        job: the recipe, and how to run.
        read_row: turns logs into a row; `shared` are the fields of `MetricsRow`.
        save_between: checkpoints are written only after multiples of so many updates: TRL keeps the replies that it
            has sampled in memory alone, and would sample others after an interruption in between.
        on_progress: called after every update.
    """

    def __init__(
        self,
        job: TrainJob,
        read_row: RowReader,
        *,
        save_between: int = 1,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.rows: list[MetricsRow] = []
        self.stop = GracefulStop()
        self._execution, self._n_updates = job.execution, job.recipe.n_updates or 0
        self._read_row, self._save_between, self._on_progress = read_row, save_between, on_progress
        self._begun = self._saved = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begun = self._saved = time.monotonic()

    def on_step_end(self, *context: Any, **_: Any) -> None:
        arguments, state, control = context
        every = self._execution.save_every_updates
        due = (
            state.global_step % every == 0 if every else time.monotonic() - self._saved >= self._execution.save_every_s
        )
        is_last = state.global_step == self._n_updates
        if is_last or (due and self._may_save(state.global_step)):
            control.should_save = True
        # After the last update weights are all that a fault while the result is made could lose.
        arguments.save_only_model = is_last

    def on_log(self, *context: Any, logs: dict[str, float], **_: Any) -> None:
        _arguments, state, control = context
        state.log_history.clear()
        if "loss" not in logs:
            return
        loss, grad_norm = float(logs["loss"]), float(logs["grad_norm"])
        if not math.isfinite(loss + grad_norm):
            raise ConfigError(
                f"the loss is {loss} and its gradient {grad_norm} at update {state.global_step}",
                where="recipe.learning_rate",
                hint="Lower it, or raise warmup_updates",
            )
        row = self._read_row(
            logs, update=state.global_step, loss=loss, learning_rate=float(logs["learning_rate"]), grad_norm=grad_norm
        )
        self.rows.append(row)
        # After a signal the terminal or pipe that progress is written to may be gone.
        if self._on_progress is not None and self.stop.requested is None:
            seconds = time.monotonic() - self._begun
            self._on_progress(Progress(row.update, self._n_updates, loss, row.tokens, seconds))
        if self.stop.requested is not None and self._may_save(state.global_step):
            control.should_save = control.should_training_stop = True

    def on_save(self, *context: Any, **_: Any) -> None:
        arguments, state, _control = context
        checkpoints = Path(arguments.output_dir)
        current = checkpoints / f"checkpoint-{state.global_step}"
        write_rows(current / _METRICS, self.rows)
        for path in checkpoints.glob("checkpoint-*"):
            if path != current:
                shutil.rmtree(path)
        self._saved = time.monotonic()

    def _may_save(self, update: int) -> bool:
        return update % self._save_between == 0


def run_trainer(trainer: Any, recorder: Recorder, row_type: type[MetricsRow], folder: Path) -> list[MetricsRow]:
    """Run a trainer through all updates, from the last complete checkpoint in `folder` if there is one.

    SIGINT and SIGTERM wait until the current update is saved, so that the next run goes on right there.

    Args:
        trainer: one of TRL's, with `recorder` among its callbacks.
        recorder: has the rows of the updates before, and gets the new ones.
        row_type: of the rows.
        folder: holds the checkpoints of a run that is not finished.

    Raises:
        ConfigError: the loss stopped being a finite number, or memory does not suffice.
    """
    last = last_checkpoint(folder)
    if last is not None:
        recorder.rows.extend(read_rows(last / _METRICS, row_type))
    trainer.pop_callback(PrinterCallback)
    too_much = f"{trainer.args.per_device_train_batch_size} rows at once"
    hint = "Lower it, or set execution.gradient_checkpointing"
    with fitting(too_much, "recipe.micro_batch", hint, folder), recorder.stop, quiet():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return recorder.rows
