"""Stage `grpo`: TRL's GRPOTrainer on replies that are sampled and scored here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from peft import PeftModel
from pydantic import JsonValue
from transformers import GenerationConfig
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from midspec.models import ChatTemplate, fold_rows_for_logits, generation_ends, quiet
from midspec.train import _rl_guards as guards
from midspec.train._job import MetricsRow, Progress, TrainJob
from midspec.train._loop import make_optimizer
from midspec.train._recorder import KeepCheckpoints, Recorder
from midspec.train._rewards import Reward, RewardSum
from midspec.train._rl_plan import GrpoPlan, grpo_of
from midspec.train._rl_trainer import GrpoRow, run_trainer, shared_arguments
from midspec.train._rollout import Reply, Turns, sample_replies, turns_of


class _Trainer(GRPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """TRL's trainer, without a card in the checkpoints of an unfinished run."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none."""


class Rollouts:
    """Samples and scores the replies of a trainer, group after group; the same replies for the same update."""

    def __init__(self, model: Any, job: TrainJob, plan: GrpoPlan, turns: Turns, rewards: RewardSum) -> None:
        self._model, self._job, self._plan, self._turns, self._rewards = model, job, plan, turns, rewards
        self._scored: list[float | None] = []

    def sample(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Sample a reply to each prompt, which TRL repeats `group_size` times; the form is TRL's `rollout_func`."""
        grpo = grpo_of(self._job)
        ids = [self._plan.prompts[int(number)].ids for number in prompts]
        replies = sample_replies(
            self._model,
            ids,
            turns=self._turns,
            max_new_tokens=grpo.max_new_tokens,
            temperature=grpo.temperature,
            seed=f"{self._job.seed}/{trainer.state.global_step}",
            bf16=trainer.args.bf16,
        )
        return {
            "prompt_ids": ids,
            "completion_ids": [reply.ids for reply in replies],
            "logprobs": [reply.logprobs for reply in replies],
        }

    def score(self, prompts: Sequence[str], completion_ids: Sequence[list[int]], **_: Any) -> list[float | None]:
        """Score replies; TRL leaves out of a group's mean those that are `None`, and they teach nothing."""
        ends = set(self._turns.end_ids)
        replies = [Reply(ids, [], ids[-1] not in ends) for ids in completion_ids]
        asked = [self._plan.prompts[int(number)] for number in prompts]
        self._scored = guards.pay(self._rewards, self._turns, asked, replies)
        return self._scored

    @property
    def unscored_share(self) -> float:
        """The share of the last replies that could not be scored."""
        return sum(value is None for value in self._scored) / max(1, len(self._scored))


class _RowReader:
    """Reads rows of metrics; where an update uses the replies of the one before, so does its row."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rollouts, self._of_replies = rollouts, dict[str, Any]()

    def __call__(self, logs: dict[str, float], **shared: Any) -> GrpoRow:
        if "num_tokens" in logs:
            self._of_replies = {
                "tokens": int(logs["num_tokens"]),
                "reward": logs.get("reward"),
                "reward_std": logs.get("reward_std"),
                "flat_share": logs["frac_reward_zero_std"],
                "unscored_share": self._rollouts.unscored_share,
                "cut_share": logs["completions/clipped_ratio"],
                "mean_tokens": logs["completions/mean_length"],
            }
        entropy, kl = logs.get("entropy"), logs.get("kl")
        return GrpoRow(
            **shared, **self._of_replies, clipped_share=logs["clip_ratio/region_mean"], entropy=entropy, kl=kl
        )


class GrpoResult(NamedTuple):
    """The metrics of all updates, and what was measured before the first and after the last."""

    rows: list[MetricsRow]
    summary: dict[str, JsonValue]


def make_trainer(
    model: Any,
    job: TrainJob,
    plan: GrpoPlan,
    folder: Path,
    *,
    device: torch.device,
    turns: Turns,
    rollouts: Rollouts,
    recorder: Recorder,
) -> Any:
    """Make the trainer; the reference, where there is one, is a frozen copy of `model` as it is now.

    Args:
        model: on its device.
        job: the recipe, the seed, and how to run.
        plan: the prompts of every update.
        folder: of the result.
        device: where to compute.
        turns: of the model.
        rollouts: sample and score.
        recorder: gets the metrics.

    Raises:
        CheckpointError: TRL takes a reply that has ended for one that was cut, or leaves out an adapter's weights.
    """
    grpo = grpo_of(job)
    is_adapter = isinstance(model, PeftModel)
    guards.refuse_tuned_head(model, job.parent or "")
    with quiet():
        arguments = GRPOConfig(
            **shared_arguments(job, folder, device),
            # For full weights TRL would load the reference by the name in the model's configuration, which may be
            # another or none: it is told of no reference, and given one below.
            beta=grpo.beta if is_adapter else 0.0,
            num_generations=grpo.group_size,
            num_iterations=grpo.n_iterations,
            max_completion_length=grpo.max_new_tokens,
            temperature=grpo.temperature,
            epsilon=grpo.epsilon,
            epsilon_high=grpo.epsilon if grpo.epsilon_high is None else grpo.epsilon_high,
            loss_type=grpo.loss_type,
            scale_rewards=grpo.scale_rewards,
            mask_truncated_completions=grpo.mask_truncated,
            # On by default, as `sequence_mask`: it drops replies by their length where two engines differ.
            vllm_importance_sampling_correction=False,
            # The plan has shuffled the prompts, each pass in an order of its own.
            shuffle_dataset=False,
        )
    # A copy made later would hold on to the model's forward, which TRL replaces.
    reference = None if is_adapter or not grpo.beta else copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
    optimizers = make_optimizer(model, job.recipe, plan.preflight, device)
    with quiet():
        trainer = _Trainer(
            model=model,
            reward_funcs=rollouts.score,
            rollout_func=rollouts.sample,
            args=arguments,
            # The place of a prompt in the plan stands for it: TRL would tokenize text with rules of its own.
            train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(len(plan.prompts))]}),
            # TRL sets a missing pad token, and the tokenizer that is saved must stay as it was.
            processing_class=copy.deepcopy(turns.tokenizer),
            optimizers=optimizers,
            callbacks=[recorder],
        )
    guards.copy_reference(trainer.model)
    if reference is not None:
        add_fused_lm_head(reference, temperature=grpo.temperature)
        trainer.beta, trainer.ref_model = grpo.beta, reference
    return trainer


def run_grpo(
    model: Any,
    job: TrainJob,
    plan: GrpoPlan,
    folder: Path,
    *,
    device: torch.device,
    tokenizer: Any,
    generation: GenerationConfig | None,
    rewards: Mapping[str, Reward],
    on_progress: Callable[[Progress], None] | None = None,
) -> GrpoResult:
    """Train `model` in place through all updates, and measure what its replies are paid before and after.

    Args:
        model: on its device.
        job: the recipe, the seed, and how to run.
        plan: the prompts of every update.
        folder: of the result.
        device: where to compute.
        tokenizer: of the model.
        generation: the settings that its checkpoints are saved with.
        rewards: those of evaluation tasks, by name.
        on_progress: called after every update.

    Raises:
        CheckpointError: the reference is not the incoming model, or training computes other log-probabilities than
            replies are sampled at.
        PreflightError: too many groups are all paid the same.
        ConfigError: a reward is unknown, the loss stopped being a finite number, or memory does not suffice.
    """
    grpo, where = grpo_of(job), job.parent or ""
    turns = turns_of(ChatTemplate(tokenizer, job.recipe.template_args, ends=generation_ends(model)), where)
    paid_by = RewardSum(grpo.rewards, rewards)
    rollouts = Rollouts(model, job, plan, turns, paid_by)
    fold_rows_for_logits(model)

    recorder = Recorder(
        job.execution,
        job.recipe.n_updates or 0,
        _RowReader(rollouts),
        save_between=grpo.n_iterations,
        on_progress=on_progress,
    )
    trainer = make_trainer(model, job, plan, folder, device=device, turns=turns, rollouts=rollouts, recorder=recorder)
    guards.refuse_lost_ends(trainer, turns, where)
    measure = partial(guards.probe, model, plan.probes, grpo, paid_by, turns, seed=job.seed, bf16=trainer.args.bf16)
    before = measure()
    guards.refuse_flat(before, grpo)
    ratio = guards.refuse_ratio(trainer, before, where)
    if grpo.beta > 0:
        guards.refuse_wrong_grpo_reference(trainer, before, where)
    trainer.add_callback(KeepCheckpoints(job, tokenizer, folder, generation=generation))
    rows = run_trainer(trainer, recorder, GrpoRow, folder)
    return GrpoResult(rows, {"before": before.summary(), "after": measure().summary(), **ratio})
