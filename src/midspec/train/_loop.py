"""The training loop: transformers' Trainer on packed rows, with our optimizer, schedule and metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from midspec.core.artifact import CHECKPOINTS
from midspec.core.errors import ConfigError, plural
from midspec.core.garbage import rare_collections
from midspec.models import quiet
from midspec.train._checkpoint import fitting
from midspec.train._job import MetricsRow, Preflight, Progress, Recipe, TrainJob
from midspec.train._pack import collate, in_parts
from midspec.train._plan import Plan
from midspec.train._probe import Computation, part_tokens, rows_at_once
from midspec.train._ranks import ALONE, divide_rows, reshard
from midspec.train._recorder import KeepCheckpoints, Recorder, whole_checkpoint

if TYPE_CHECKING:
    from midspec.train._distributed import Shards
    from midspec.train._rl_plan import DpoPreflight, GrpoPreflight


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

    SIGINT, SIGTERM and SIGHUP wait until the current update is saved, so that the next run goes on right there.

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
    last = ranks.from_main(lambda: whole_checkpoint(folder, MetricsRow))
    tokens = list(accumulate(sum(len(piece.ids) for row in update for piece in row) for update in plan.updates))

    def read_row(_: dict[str, float], **shared: Any) -> MetricsRow:
        return MetricsRow(tokens=tokens[shared["update"] - 1], **shared)

    recorder = Recorder(job.execution, plan.preflight.n_updates, read_row, on_progress=on_progress, ranks=ranks)
    recorder.go_on_from(last, MetricsRow)
    # Only what the model has an embedding for: a tokenizer may know more.
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    pad_id = min(pad_id, model.get_input_embeddings().weight.shape[0] - 1)
    trainer = _trainer(model, job, plan, checkpoints, device, computation, pad_id, recorder, shards)
    n_rows = trainer.args.per_device_train_batch_size
    too_much = f"{plural(n_rows, 'row')} of {plan.preflight.row_width} tokens at once"
    hint = f"{'Lower it, or set' if n_rows > 1 else 'Set'} execution.gradient_checkpointing"
    trainer.add_callback(KeepCheckpoints(job, tokenizer, folder, shards))
    with (
        fitting(too_much, "recipe.micro_batch", hint, folder),
        recorder.stop,
        quiet(),
        computation.installed(model),
        rare_collections() if computation.decoder is not None else nullcontext(),
    ):
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


class _DecoderTrainer(_Trainer):
    """The same for a model that `_decoder.py` computes, whose updates take milliseconds.

    What transformers and accelerate do beside an update is then as long as the update: they look for optional packages
    on the disk, walk all modules for a count of operations and for the training mode.
    """

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Add the gradients of a micro-batch; return the loss."""
        if (decoder := self._computation.decoder) is None or num_items_in_batch is None:
            return super().training_step(model, inputs, num_items_in_batch)
        wrapped = vars(self)["optimizer"]
        self.optimizer = getattr(wrapped, "optimizer", wrapped)  # under accelerate's wrapper
        return decoder.add_gradients(inputs, num_items_in_batch)

    def floating_point_ops(self, _inputs: dict[str, torch.Tensor]) -> int:
        """Return 0: nobody reads the count."""
        return 0

    def _clip_grad_norm(self, _model: Any) -> torch.Tensor:
        assert self._computation.decoder is not None
        weights, most = self._computation.decoder.weights, self.args.max_grad_norm
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if not norm <= most:  # else all would be multiplied by 1
            torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
        return norm


def _trainer(
    model: Any,
    job: TrainJob,
    plan: Plan,
    checkpoints: Path,
    device: torch.device,
    computation: Computation,
    pad_id: int,
    recorder: Recorder,
    shards: Shards | None,
) -> Trainer:
    recipe, geometry = job.recipe, plan.preflight
    micro_batch = rows_at_once(job, geometry.row_width, device, packed=geometry.packed)
    ranks = ALONE if shards is None else shards.ranks
    rows, micro_batch, accumulation = divide_rows(plan.updates, recipe.rows_per_update, ranks, micro_batch)
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
        kind: type = _DecoderTrainer if computation.decoder is not None and geometry.packed else _Trainer
        trainer = (kind if shards is None else shards.trainer_of(kind))(
            computation=computation,
            part_tokens=part_tokens(width, device, computation, packed=geometry.packed) if shards is None else None,
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=lambda batch: collate(batch, width=width, pad_id=pad_id, packed=geometry.packed),
            optimizers=make_optimizer(model, recipe, geometry, device),
            callbacks=[recorder],
        )
        trainer.pop_callback(PrinterCallback)
    return trainer


def make_optimizer(
    model: Any, recipe: Recipe, geometry: Preflight | DpoPreflight | GrpoPreflight, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """Make AdamW, which decays matrices and leaves vectors (norms, biases) alone, and the recipe's schedule.

    Args:
        model: its weights that are trained; it is moved to `device`.
        recipe: the learning rate and how it changes.
        geometry: how many updates there are.
        device: where to compute.
    """
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
