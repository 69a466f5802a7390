"""Run stage `dpo` or `grpo`: TRL trains the model, which is left as it was opened but for its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import JsonValue

from midspec.models import ChatTemplate, generation_ends
from midspec.train._dpo import run_dpo
from midspec.train._grpo import run_grpo
from midspec.train._job import Progress, Trained, TrainJob
from midspec.train._rewards import Reward
from midspec.train._rl_guards import end_turns_with
from midspec.train._rl_plan import DpoPlan, GrpoPlan


def run_rl(
    model: Any,
    job: TrainJob,
    plan: DpoPlan | GrpoPlan,
    folder: Path,
    device: torch.device,
    tokenizer: Any,
    rewards: Mapping[str, Reward],
    on_progress: Callable[[Progress], None] | None,
) -> Trained:
    """Run the stage's trainer on `model`, which is left as it was opened but for its weights.

    Args:
        model: on `device`.
        job: the stage, its recipe and seed.
        plan: what is trained on.
        folder: holds the checkpoints of a run that is not finished.
        device: where to compute.
        tokenizer: of the model.
        rewards: of stage grpo: those of evaluation tasks, by their entries' names.
        on_progress: called after every update.
    """
    ends = ChatTemplate(tokenizer, job.recipe.template_args, ends=generation_ends(model)).end_ids
    pad_id = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    before = end_turns_with(model, ends, pad_id)
    # TRL switches modules of dropout off, and not the shares that layers hand to a function (attention's, OPT's).
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
    if isinstance(plan, DpoPlan):
        rows = run_dpo(
            model, job, plan, folder, device=device, tokenizer=tokenizer, generation=before, on_progress=on_progress
        )
        summary: dict[str, JsonValue] = {}
    else:
        rows, summary = run_grpo(
            model,
            job,
            plan,
            folder,
            device=device,
            tokenizer=tokenizer,
            generation=before,
            rewards=rewards,
            on_progress=on_progress,
        )
    model.generation_config = before
    if isinstance(model, PeftModel) and "ref" in model.peft_config:
        model.delete_adapter("ref")
    return Trained(rows, summary)
