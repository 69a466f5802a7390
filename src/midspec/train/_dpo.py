"""Stage `dpo`: TRL's DPOTrainer on pairs that are tokenized here, against the incoming model as the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import GenerationConfig
from trl import DPOConfig, DPOTrainer

from midspec.models import quiet
from midspec.train._job import MetricsRow, Progress, TrainJob
from midspec.train._loop import make_optimizer
from midspec.train._recorder import KeepCheckpoints, Recorder
from midspec.train._rl_guards import copy_reference, refuse_tuned_head, refuse_wrong_dpo_reference
from midspec.train._rl_plan import DpoPlan
from midspec.train._rl_recipe import DpoRecipe
from midspec.train._rl_trainer import DpoRow, run_trainer, shared_arguments


class _Trainer(DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """TRL's trainer, given token ids: it would tokenize with its own rules for ends of turns and blanks."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        # The plan has shuffled the pairs, each pass in an order of its own.
        return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write no card into checkpoints of an unfinished run."""


def make_trainer(
    model: Any, job: TrainJob, plan: DpoPlan, folder: Path, *, device: torch.device, tokenizer: Any, recorder: Recorder
) -> Any:
    """Make the trainer; the reference is a frozen copy of `model` as it is now.

    Args:
        model: on its device.
        job: the recipe, the seed, and how to run.
        plan: the pairs of every update.
        folder: of the result.
        device: where to compute.
        tokenizer: says what to fill the ends of shorter rows with.
        recorder: gets the metrics.

    Raises:
        CheckpointError: an adapter changes what TRL takes from the base.
    """
    dpo = job.recipe.dpo or DpoRecipe()
    refuse_tuned_head(model, job.parent or "")
    with quiet():
        arguments = DPOConfig(
            **shared_arguments(job, folder, device),
            beta=dpo.beta,
            loss_type=[dpo.loss_type],
            label_smoothing=dpo.label_smoothing,
            max_length=None,
        )
    optimizers = make_optimizer(model, job.recipe, plan.preflight, device)
    columns = {"prompt_ids": "prompt", "chosen_ids": "chosen", "rejected_ids": "rejected"}
    # Of an adapter TRL itself keeps a frozen copy. Of full weights it would load the model once more by the name in
    # its configuration, which may be another or none.
    reference = None if isinstance(model, PeftModel) else copy.deepcopy(model).requires_grad_(requires_grad=False)
    with quiet():
        trainer = _Trainer(
            model=model,
            ref_model=reference,
            args=arguments,
            train_dataset=Dataset.from_dict(
                {column: [getattr(pair, name) for pair in plan.pairs] for column, name in columns.items()}
            ),
            # TRL sets a missing pad token, and the tokenizer that is saved must stay as it was.
            processing_class=copy.deepcopy(tokenizer),
            optimizers=optimizers,
            callbacks=[recorder],
        )
    copy_reference(trainer.model)
    return trainer


def run_dpo(
    model: Any,
    job: TrainJob,
    plan: DpoPlan,
    folder: Path,
    *,
    device: torch.device,
    tokenizer: Any,
    generation: GenerationConfig | None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[MetricsRow]:
    """Train `model` in place through all updates; for the arguments see `make_trainer` and `run_rl`.

    Raises:
        CheckpointError: the reference is not the incoming model.
        ConfigError: the loss stopped being a finite number, or memory does not suffice.
    """
    lengths = [2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in plan.pairs]
    size = job.recipe.rows_per_update

    def read_row(logs: dict[str, float], **shared: Any) -> DpoRow:
        return DpoRow(
            **shared,
            tokens=sum(lengths[: shared["update"] * size]),
            margin=logs["rewards/margins"],
            accuracy=logs["rewards/accuracies"],
            chosen_logprob=logs["logps/chosen"],
            rejected_logprob=logs["logps/rejected"],
        )

    recorder = Recorder(job.execution, job.recipe.n_updates or 0, read_row, on_progress=on_progress)
    trainer = make_trainer(model, job, plan, folder, device=device, tokenizer=tokenizer, recorder=recorder)
    refuse_wrong_dpo_reference(trainer, plan.pairs[:size], job.parent or "")
    trainer.add_callback(KeepCheckpoints(job, tokenizer, folder, generation=generation))
    return run_trainer(trainer, recorder, DpoRow, folder)
