"""The training loop: transformers' Trainer on packed rows, with our optimizer, schedule and metrics."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from midspec.core.artifact import CHECKPOINTS, read_rows, write_rows
from midspec.core.errors import ConfigError
from midspec.models import quiet
from midspec.train._checkpoint import fitting, last_checkpoint
from midspec.train._job import MetricsRow, Preflight, Progress, Recipe, TrainJob
from midspec.train._kept import KeepCheckpoints
from midspec.train._launch import divided
from midspec.train._pack import collate, in_parts
from midspec.train._plan import Plan
from midspec.train._probe import Computation, part_tokens, rows_at_once
from midspec.train._ranks import ALONE, Ranks, divide_rows, reshard

if TYPE_CHECKING:
    from midspec.train._distributed import Shards

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop:
    """Within it, a first SIGINT or SIGTERM is noted, and passed to its own handler on leaving.

    A second one is passed on at once. A signal that is ignored stays ignored. Outside the main thread, where no
    handler can be set, nothing is changed.

    Attributes:
        requested: the number of the signal that came, if one did.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            # A handler that was not set from Python reads as None, and could not be put back.
            self._before = {number: old for number, old in before.items() if old not in {signal.SIG_IGN, None}}
            for number in self._before:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._restore()
        if self.requested is not None and error is None:
            signal.raise_signal(self.requested)
            # The handler returned; but training did not end, so this must not look like success.
            raise SystemExit(128 + self.requested)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.requested is None:
            self.requested = number
        else:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)


_METRICS = "metrics.jsonl"


def learning_rate(recipe: Recipe, n_updates: int, n_warmup: int, update: int) -> float:
    """Return the learning rate of an update: a linear rise, then constant or a cosine to the final share.

    Args:
        recipe: the peak, the schedule and the final share.
        n_updates: of the whole run.
        n_warmup: over how many of the first ones the rate rises.
        update: counted from 0.
    """
    if update < n_warmup:
        return recipe.learning_rate * (update + 1) / n_warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    share = (update - n_warmup) / max(1, n_updates - n_warmup)
    floor = recipe.final_lr_fraction
    return recipe.learning_rate * (floor + (1 - floor) * (1 + math.cos(math.pi * min(share, 1.0))) / 2)


def run_updates(
    model: Any,
    job: TrainJob,
    plan: Plan,
    folder: Path,
    *,
    device: torch.device,
    computation: Computation,
    tokenizer: Any,
    on_progress: Callable[[Progress], None] | None = None,
    shards: Shards | None = None,
) -> list[MetricsRow]:
    """Train `model` in place through all of the plan's updates, from the last checkpoint in `folder` if there is one.

    SIGINT and SIGTERM wait until the current update is saved, so that the next run goes on right there.

    Args:
        model: on the CPU or on `device`.
        job: the recipe, the seed, and how to run.
        plan: the rows of every update.
        folder: holds the last checkpoint, which is left there when training ends.
        device: where to compute.
        computation: how; from `choose_computation`.
        tokenizer: says what to fill row tails with.
        on_progress: called after every update.
        shards: of a model that is divided among processes.

    Raises:
        ConfigError: the loss stopped being a finite number, memory does not suffice, or there are several GPUs.
    """
    ranks = ALONE if shards is None else shards.ranks
    checkpoints = folder / CHECKPOINTS
    last = ranks.from_main(lambda: last_checkpoint(folder))
    known = [] if last is None else list(read_rows(last / _METRICS, MetricsRow))
    stop = GracefulStop()
    recorder = _Recorder(job, plan, on_progress, known, stop, ranks)
    # Only what the model has an embedding for: a tokenizer may know more.
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    pad_id = min(pad_id, model.get_input_embeddings().weight.shape[0] - 1)
    trainer = _trainer(model, job, plan, checkpoints, device, computation, pad_id, recorder, shards)
    n_rows = trainer.args.per_device_train_batch_size
    too_much = f"{n_rows} rows of {plan.preflight.row_width} tokens at once"
    hint = "Lower it, or set execution.gradient_checkpointing"
    trainer.add_callback(KeepCheckpoints(job, tokenizer, folder, shards))
    with fitting(too_much, "recipe.micro_batch", hint, folder), stop, quiet(), computation.installed(model):
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return recorder.rows


class _Trainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """transformers' Trainer with our loss, in which a micro-batch counts by its supervised tokens.

    Args:
        computation: how the loss is computed.
        part_tokens: how many tokens of a packed micro-batch are computed at once; all of them where not given.
        **arguments: of transformers' Trainer.
    """

    # Trainer then counts an update's supervised tokens for every class of model, and divides no loss itself.
    loss_is_scaled_for_ga = True

    def __init__(self, computation: Computation, part_tokens: int | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._computation = computation
        self._part_tokens = part_tokens
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = True

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Compute the loss of a micro-batch and add its gradients, a part after the other; return the loss."""
        parts = [inputs] if self._part_tokens is None else in_parts(inputs, self._part_tokens)
        total: torch.Tensor = sum(
            super(_Trainer, self).training_step(model, part, num_items_in_batch) for part in parts
        )
        return total

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Compute the loss of a micro-batch as its share of the update's; there are never outputs."""
        assert num_items_in_batch is not None
        assert not return_outputs
        loss = self._computation.loss(model, inputs, num_items_in_batch)
        # Gradients are averaged over processes, each of which divides by the tokens of all.
        n_processes = self.accelerator.num_processes
        return loss if n_processes == 1 else loss * n_processes


def _trainer(
    model: Any,
    job: TrainJob,
    plan: Plan,
    checkpoints: Path,
    device: torch.device,
    computation: Computation,
    pad_id: int,
    recorder: _Recorder,
    shards: Shards | None,
) -> Trainer:
    recipe, geometry = job.recipe, plan.preflight
    micro_batch = rows_at_once(job, geometry.row_width, device, packed=geometry.packed)
    rows, micro_batch, accumulation = divide_rows(plan.updates, recipe.rows_per_update, recorder.ranks, micro_batch)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=geometry.n_updates,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=recipe.max_grad_norm,
        train_sampling_strategy="sequential",
        bf16=computation.dtype == torch.bfloat16,
        use_cpu=device.type == "cpu",
        seed=job.seed,
        activation_checkpointing=job.execution.gradient_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        include_num_input_tokens_seen="no",
    )
    if arguments.n_gpu > 1:
        raise ConfigError(
            f"one run trains on one GPU, and {arguments.n_gpu} are visible",
            where="CUDA_VISIBLE_DEVICES",
            hint="Set it to one GPU's number",
        )
    width = geometry.row_width
    reshard(model)
    with quiet():
        trainer = divided(_Trainer, shards)(
            computation=computation,
            part_tokens=part_tokens(width, device, computation, packed=geometry.packed) if shards is None else None,
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=lambda batch: collate(batch, width=width, pad_id=pad_id, packed=geometry.packed),
            optimizers=_optimizer(model, recipe, geometry, device),
            callbacks=[recorder],
        )
        trainer.pop_callback(PrinterCallback)
    return trainer


def _optimizer(
    model: Any, recipe: Recipe, geometry: Preflight, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW that decays matrices and leaves vectors (norms, biases) alone, and the recipe's schedule."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if not hasattr(trained[0], "to_local"):  # a part of a model is there already
        model.to(device)
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        fused=True,
    )

    def share(update: int) -> float:
        rate = learning_rate(recipe, geometry.n_updates, geometry.warmup_updates, update)
        return rate / recipe.learning_rate

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


class _Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here, and calls every event
    """Collects the metrics, asks for checkpoints, and completes each by writing its metrics last."""

    def __init__(
        self,
        job: TrainJob,
        plan: Plan,
        on_progress: Callable[[Progress], None] | None,
        rows: list[MetricsRow],
        stop: GracefulStop,
        ranks: Ranks,
    ) -> None:
        self.rows = rows
        self.ranks = ranks
        self._execution = job.execution
        self._n_updates = plan.preflight.n_updates
        self._tokens = [sum(len(piece.ids) for row in update for piece in row) for update in plan.updates]
        self._on_progress = on_progress
        self._stop = stop
        self._begun = self._saved = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begun = self._saved = time.monotonic()

    def on_step_end(self, *context: Any, **_: Any) -> None:
        arguments, state, control = context
        every = self._execution.save_every_updates
        due = bool(self.ranks.largest(time.monotonic() - self._saved >= self._execution.save_every_s))
        is_last = state.global_step == self._n_updates
        if is_last or (state.global_step % every == 0 if every else due):
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
        tokens = self._tokens[state.global_step - 1] + (self.rows[-1].tokens if self.rows else 0)
        row = MetricsRow(
            update=state.global_step,
            loss=loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=grad_norm,
            tokens=tokens,
        )
        self.rows.append(row)
        # After a signal the terminal or pipe that progress is written to may be gone.
        if self._on_progress is not None and self._stop.requested is None:
            seconds = time.monotonic() - self._begun
            self._on_progress(Progress(row.update, self._n_updates, loss, tokens, seconds))
        # A signal to one of several processes is one to all.
        self._stop.requested = int(self.ranks.largest(self._stop.requested or 0)) or None
        # No other callback runs between this one and the writing of a checkpoint.
        if self._stop.requested is not None:
            control.should_save = control.should_training_stop = True

    def on_save(self, *context: Any, **_: Any) -> None:
        arguments, state, _control = context
        checkpoints = Path(arguments.output_dir)
        current = checkpoints / f"checkpoint-{state.global_step}"
        if self.ranks.is_main:
            write_rows(current / _METRICS, self.rows)
            for path in checkpoints.glob("checkpoint-*"):
                if path != current:
                    shutil.rmtree(path)
        self._saved = time.monotonic()
