"""The settings of the two stages after fine-tuning that learn from preferences (`dpo`) and from rewards (`grpo`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from midspec.core.records import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class DpoRecipe(Strict):
    """Direct preference optimization (arXiv 2305.18290); the defaults are those of the paper and of TRL.

    The reference is the model as it comes in: its adapter, or its weights.

    Attributes:
        beta: how strongly the policy is held to the reference.
        loss_type: as TRL names them.
        label_smoothing: the share of pairs that are taken to be the wrong way round.
    """

    beta: float = Field(0.1, gt=0)
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"] = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _smoothing_is_used(self) -> DpoRecipe:
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError("label_smoothing: only loss_type robust uses it")
        return self


class RewardEntry(Strict):
    """What a reply is paid for: a named rule, or a measure of an evaluation task (with its judge, where it has one).

    Attributes:
        rule: a reward of `midspec.train.rewards`, or of another package.
        task: an evaluation task; the prompts are then its questions.
        measure: of the task; it pays that number.
        judge: of a judged measure, such as `openai/<model>`.
        settings: of the rule or of the task.
        weight: the reward is multiplied by it; a negative one turns it round.
    """

    rule: str | None = None
    task: str | None = None
    measure: str | None = None
    judge: str | None = None
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    weight: float = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> RewardEntry:
        if (self.rule is None) == (self.task is None):
            raise ValueError("a reward is either a `rule` or a `task` with its `measure`")
        if (self.task is None) != (self.measure is None):
            raise ValueError("a `task` needs its `measure`, and a rule has none")
        if self.judge is not None and self.task is None:
            raise ValueError("judge: only the reward of a `task` has one")
        if self.weight == 0:
            raise ValueError("weight: 0 pays nothing; leave the reward out")
        return self

    @property
    def name(self) -> str:
        """The name under which its values are recorded."""
        return self.rule or f"{self.task}/{self.measure}"


class GrpoRecipe(Strict):
    """Group relative policy optimization (arXiv 2402.03300); an update is `rows_per_update` replies.

    The defaults are TRL's, which are the field's since DAPO (arXiv 2503.14476): loss summed over all tokens of an
    update, no penalty for moving away from the reference. The reference, where `beta` is above 0, is the model as it
    comes in.

    Attributes:
        rewards: summed, each with its weight; a reply that one of them can't score teaches nothing.
        group_size: replies to one prompt; each is measured against its group.
        max_new_tokens: where a reply is cut.
        temperature: of sampling; log-probabilities are taken at the same.
        beta: of the KL penalty to the reference.
        epsilon: the importance ratio is clipped below 1 - epsilon; and above 1 + `epsilon_high`, which is the same
            where it is not given.
        loss_type: as TRL names them; `bnpo` is left out, since it changes with `micro_batch`.
        scale_rewards: what a group's rewards are divided by: their own standard deviation, the update's, or nothing.
        mask_truncated: replies that were cut teach nothing.
        n_iterations: updates on the replies of one sampling; `epsilon` matters only above 1.
        n_probe_prompts: prompts answered before the first update and after the last, to measure what is paid, parsed
            and cut, and the spread in groups.
        max_flat_share: the share of probed groups without any spread in reward above which training is refused.
    """

    rewards: tuple[RewardEntry, ...] = ()
    group_size: int = Field(8, ge=2)
    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    beta: float = Field(0.0, ge=0)
    epsilon: float = Field(0.2, gt=0, lt=1)
    epsilon_high: float | None = Field(None, gt=0)
    loss_type: Literal["dapo", "grpo", "dr_grpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    mask_truncated: bool = False
    n_iterations: int = Field(1, ge=1)
    n_probe_prompts: int = Field(16, ge=1)
    max_flat_share: Share = 0.8

    @model_validator(mode="after")
    def _names_differ(self) -> GrpoRecipe:
        names = [reward.name for reward in self.rewards]
        if len(set(names)) < len(names):
            raise ValueError("rewards: two have the same name; put them into one, or bring a rule of your own")
        return self
