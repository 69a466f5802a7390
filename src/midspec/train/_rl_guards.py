"""What goes silently wrong in learning from preferences and rewards, each checked on the run that is about to begin.

Each was met by others: references that are the base instead of the incoming adapter, turns that end with a token the
trainer does not know (every reply then counts as cut), importance ratios far from 1, groups without spread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from statistics import fmean, pstdev
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import TrainableTokensWrapper
from pydantic import JsonValue
from transformers import GenerationConfig
from trl.trainer.utils import use_adapter

from midspec.core.errors import CheckpointError, PreflightError
from midspec.models import quiet
from midspec.train._rewards import RewardSum
from midspec.train._rl_plan import PairIds, PromptIds
from midspec.train._rl_recipe import GrpoRecipe
from midspec.train._rollout import Reply, Turns, evaluating, sample_replies

# Policy and reference are the same weights and go through the same operations: on a CPU they agree to the bit.
_SAME_LOGPROB = 1e-3
_PROBE_BATCH = 128
# Sampling keeps a cache and training does not: float32 sums in another order (a token's log-probability 1e-6 apart in
# tiny models), bfloat16 rounds (0.016, and 1e-4 in the mean). Other positions or temperatures move the mean far more.
_MEAN_RATIO_OFF = {torch.float32: 0.002, torch.bfloat16: 0.1}


def end_turns_with(model: Any, end_ids: Sequence[int], pad_id: int) -> GenerationConfig | None:
    """Write all tokens that end a turn into the model's generation settings, from which TRL reads them.

    Returns:
        The settings as they were.
    """
    before: GenerationConfig | None = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=list(end_ids), pad_token_id=pad_id, do_sample=True)
    return before


def refuse_lost_ends(trainer: Any, turns: Turns, where: str) -> None:
    """Refuse a trainer that does not know all tokens that end a turn: it would take whole replies for cut ones.

    Raises:
        CheckpointError: it lacks one.
    """
    lost = set(turns.end_ids) - set(trainer.eos_token_ids)
    if lost:
        tokens = ", ".join(map(str, turns.tokenizer.convert_ids_to_tokens(sorted(lost))))
        raise CheckpointError(
            f"the trainer does not take {tokens} for the end of a turn", where=where, hint="Set generation_config.json"
        )


def refuse_tuned_head(model: Any, where: str) -> None:
    """Refuse an adapter of the output embeddings: TRL (1.16) multiplies with the base's weight and leaves it out.

    Args:
        model: any but an adapter's is left alone; a whole copy of the embeddings in an adapter is trained as it is.
        where: names the parent in the error.

    Raises:
        CheckpointError: it is such an adapter.
    """
    head = model.get_base_model().get_output_embeddings() if isinstance(model, PeftModel) else None
    if isinstance(head, BaseTunerLayer | TrainableTokensWrapper):
        raise CheckpointError(
            "the adapter changes the output embeddings, which DPO and GRPO take from the base",
            where=where,
            hint="Leave them out of recipe.lora; merge a parent's adapter first (midspec export-model --format merged)",
        )


def copy_reference(model: Any) -> None:
    """Give the frozen copy of an adapter, which TRL keeps as the reference, all weights of the adapter.

    TRL (1.16) copies those of linear layers and whole modules, and leaves out an adapter of embeddings.

    Args:
        model: TRL's; any but an adapter with its reference is left alone.
    """
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        twin = re.sub(r"\.ref(?=\.|$)", ".default", name)
        if twin != name and twin in weights:
            weight.data.copy_(weights[twin].data)


def refuse_wrong_dpo_reference(trainer: Any, pairs: Sequence[PairIds], where: str) -> None:
    """Refuse to begin where the reference gives other log-probabilities than the model itself, before any update.

    Args:
        trainer: TRL's, before it trains.
        pairs: to compare on.
        where: names the model in the error.

    Raises:
        CheckpointError: they differ: the reference is not the incoming model.
    """
    batch = trainer.data_collator(
        [{"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs]
    )
    inputs = {name: value.to(trainer.args.device) for name, value in batch.items()}
    with quiet(), evaluating(trainer.model, bf16=trainer.args.bf16):
        loss = float(trainer.compute_loss(trainer.model, inputs))
    metrics = trainer._metrics["eval"]  # noqa: SLF001 - what TRL would log of this batch
    rewards = [float(metrics[f"rewards/{side}"][0]) for side in ("chosen", "rejected", "margins")]
    metrics.clear()
    off = max(map(abs, rewards)) / trainer.beta
    if off > _SAME_LOGPROB:
        _refuse_reference(f"log-probabilities differ by {off:.3g}, first loss {loss:.4f}", where)


class Probe(NamedTuple):
    """Replies to some prompts, group after group, and what they are paid.

    Attributes:
        prompts: token ids, one a reply.
        replies: sampled from the model as it was.
        totals: what each is paid; `None` where it can't be scored.
        group_size: replies to one prompt.
    """

    prompts: list[list[int]]
    replies: list[Reply]
    totals: list[float | None]
    group_size: int

    def summary(self) -> dict[str, JsonValue]:
        """Return what is recorded before the first update and after the last."""
        scored = [total for total in self.totals if total is not None]
        return {
            "n_replies": len(self.replies),
            "reward": fmean(scored) if scored else None,
            "parsed_share": len(scored) / len(self.totals),
            "cut_share": fmean(reply.is_cut for reply in self.replies),
            "mean_tokens": fmean(len(reply.ids) for reply in self.replies),
            "flat_share": self.flat_share,
        }

    @property
    def flat_share(self) -> float:
        """The share of groups in which all that was scored is paid the same: they teach nothing."""
        groups = [self.totals[at : at + self.group_size] for at in range(0, len(self.totals), self.group_size)]
        spreads = [pstdev(known) if (known := [t for t in group if t is not None]) else 0.0 for group in groups]
        return fmean(spread < 1e-6 for spread in spreads)


def probe(
    model: Any,
    prompts: Sequence[PromptIds],
    grpo: GrpoRecipe,
    rewards: RewardSum,
    turns: Turns,
    *,
    seed: int,
    bf16: bool = False,
) -> Probe:
    """Sample and score a group of replies to each of these prompts; the same draws at each call.

    Args:
        model: as it is now.
        prompts: to answer.
        grpo: how replies are sampled.
        rewards: what pays them.
        turns: of the model.
        seed: of the job.
        bf16: whether training computes in bfloat16.
    """
    each = [prompt for prompt in prompts for _ in range(grpo.group_size)]
    ids = [prompt.ids for prompt in each]
    replies = []
    for at in range(0, len(ids), _PROBE_BATCH):
        replies += sample_replies(
            model,
            ids[at : at + _PROBE_BATCH],
            turns=turns,
            max_new_tokens=grpo.max_new_tokens,
            temperature=grpo.temperature,
            seed=f"{seed}/probe/{at}",
            bf16=bf16,
        )
    return Probe(ids, replies, pay(rewards, turns, each, replies), grpo.group_size)


def pay(rewards: RewardSum, turns: Turns, prompts: Sequence[PromptIds], replies: Sequence[Reply]) -> list[float | None]:
    """Return what each reply is paid; `None` where a reward can't score it.

    Args:
        rewards: of the recipe.
        turns: of the model.
        prompts: one a reply.
        replies: to them.
    """
    texts = [turns.text_of(reply) for reply in replies]
    rows = [{**prompt.source.row, "is_cut": reply.is_cut} for prompt, reply in zip(prompts, replies, strict=True)]
    return rewards([prompt.source.messages for prompt in prompts], texts, rows).totals


def refuse_flat(before: Probe, grpo: GrpoRecipe) -> None:
    """Refuse to begin where too many groups are all paid the same, or where nothing can be scored.

    Raises:
        PreflightError: the share is above `max_flat_share`.
    """
    facts = before.summary()
    if facts["reward"] is None:
        n_replies, cut = len(before.replies), _share(facts, "cut_share")
        raise PreflightError(
            f"none of {n_replies} replies before training could be scored ({cut} were cut)",
            where="recipe.grpo.rewards",
            hint="Raise max_new_tokens, or check what the reward looks for",
        )
    if before.flat_share > grpo.max_flat_share:
        raise PreflightError(
            f"{before.flat_share:.0%} of groups are paid the same throughout (mean reward {facts['reward']:.3g}, "
            f"{_share(facts, 'cut_share')} of replies cut): nothing would be learnt from them",
            where="recipe.grpo",
            hint="Raise temperature or group_size, give prompts that are answered both ways, or raise max_flat_share",
        )


def refuse_ratio(trainer: Any, before: Probe, where: str) -> dict[str, JsonValue]:
    """Refuse to begin where training computes other log-probabilities than the replies were sampled at.

    The two go through different code (a cache and left padding against whole rows), and their ratio is the importance
    ratio of the first update, which must be about 1.

    Returns:
        The mean ratio of tokens, and the largest difference of log-probabilities.

    Raises:
        CheckpointError: the mean ratio is off.
    """
    trained = training_logprobs(trainer, before)
    differences = [
        new - old
        for reply, logprobs in zip(before.replies, trained, strict=True)
        for old, new in zip(reply.logprobs, logprobs, strict=True)
    ]
    ratio = float(torch.tensor(differences, dtype=torch.float64).exp().mean())
    most = max(map(abs, differences))
    allowed = _MEAN_RATIO_OFF[torch.bfloat16 if trainer.args.bf16 else torch.float32]
    if abs(ratio - 1) > allowed or fmean(map(abs, differences)) > allowed:
        raise CheckpointError(
            f"the importance ratio before the first update is {ratio:.4f} and not 1: training computes other "
            f"log-probabilities than replies are sampled at (by up to {most:.3g} a token)",
            where=where,
            hint="Train in float32, or a model whose positions do not count padding",
        )
    return {"first_ratio": ratio, "largest_logprob_difference": most}


def refuse_wrong_grpo_reference(trainer: Any, before: Probe, where: str) -> None:
    """Refuse to begin where the reference gives other log-probabilities than the model itself, before any update.

    Raises:
        CheckpointError: they differ: the reference is not the incoming model.
    """
    own, reference = training_logprobs(trainer, before), training_logprobs(trainer, before, of_reference=True)
    off = max(abs(a - b) for one, other in zip(own, reference, strict=True) for a, b in zip(one, other, strict=True))
    if off > _SAME_LOGPROB:
        _refuse_reference(f"log-probabilities of tokens differ by up to {off:.3g}", where)


def training_logprobs(trainer: Any, before: Probe, *, of_reference: bool = False) -> list[list[float]]:
    """Compute each reply's log-probabilities as TRL's trainer does for its loss, of the model or its reference."""
    pad_id = trainer.processing_class.pad_token_id
    width, longest = max(map(len, before.prompts)), max(len(reply.ids) for reply in before.replies)
    ids = torch.full((len(before.replies), width + longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, reply) in enumerate(zip(before.prompts, before.replies, strict=True)):
        ids[row, width - len(prompt) : width + len(reply.ids)] = torch.tensor([*prompt, *reply.ids])
        mask[row, width - len(prompt) : width + len(reply.ids)] = 1
    model = trainer.model if trainer.ref_model is None or not of_reference else trainer.ref_model
    adapter: Any = nullcontext()
    if of_reference and trainer.ref_model is None:
        adapter = use_adapter(trainer.model, adapter_name="ref" if "ref" in trainer.model.peft_config else None)
    device = trainer.args.device
    with quiet(), evaluating(model, bf16=trainer.args.bf16), adapter:
        logprobs = trainer._get_per_token_logps_and_entropies(  # noqa: SLF001 - the very function of its loss
            model, ids.to(device), mask.to(device), longest, batch_size=_PROBE_BATCH
        )[0]
    return [row[: len(reply.ids)].tolist() for row, reply in zip(logprobs, before.replies, strict=True)]


def _refuse_reference(what: str, where: str) -> None:
    raise CheckpointError(
        f"the reference is not the incoming model: {what}",
        where=where,
        hint="Merge the adapter into its base (midspec export-model --format merged), and train on from that",
    )


def _share(facts: dict[str, JsonValue], name: str) -> str:
    return f"{facts[name]:.0%}"
