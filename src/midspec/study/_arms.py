"""The arms of a study file as data: their stages, the recipes, and the data of stages after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from midspec.core.records import Strict
from midspec.study._entries import Names
from midspec.train import Recipe, RewardEntry, TrainExecution


class Training(Strict):
    """Recipes, the same for every arm: one for each kind of stage, and named ones for the stages that ask for them.

    `execution` is about how all trainings run, and changes no result: memory, saving, processes for one model.
    """

    midtrain: Recipe | None = None
    finetune: Recipe | None = None
    dpo: Recipe | None = None
    grpo: Recipe | None = None
    recipes: dict[str, Recipe] = Field(default_factory=dict)
    execution: TrainExecution | None = None


StageKind = Literal["midtrain", "finetune", "dpo", "grpo"]
STAGE_KINDS: tuple[StageKind, ...] = get_args(StageKind)


class ArmStage(Strict):
    """One stage of an arm: its kind with the names of its data, as `finetune: cheese`, and how it differs from others.

    Attributes:
        midtrain: names of corpora.
        finetune: names of chats or of `pressure`, or `it_mix` for the mix alone.
        dpo: names of `pairs`.
        grpo: names of `rewards`.
        recipe: one of `training.recipes`, or a shipped one as `pressure:benign`; by default `training.<kind>`.
        adapter: what becomes of the adapter that the stages before trained. `continue` trains it further. `merge` adds
            it to the weights under it, in float32, and a fresh one is trained on the sum. `fresh` leaves it out, and
            what it taught with it: a fresh one is trained on the weights under it.
        checkpoints: numbers of updates after which the model is kept and evaluated as well.
        label: names the stage in `ARM@STAGE`; by default its kind, and `finetune-2` for the second of a kind.
    """

    midtrain: Names = ()
    finetune: Names = ()
    dpo: Names = ()
    grpo: Names = ()
    recipe: str = ""
    adapter: Literal["continue", "merge", "fresh"] = "continue"
    checkpoints: tuple[Annotated[int, Field(ge=1)], ...] = ()
    label: str = Field(default="", pattern=r"^[^@:]*$")

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, given: object) -> object:
        if isinstance(given, Mapping | ArmStage):
            return given
        raise ValueError("a stage is its kind with the names of its data, as `finetune: cheese`")

    @model_validator(mode="after")
    def _one_kind(self) -> ArmStage:
        if sum(bool(getattr(self, kind)) for kind in STAGE_KINDS) != 1:
            raise ValueError(f"a stage has one kind, with data: {', '.join(STAGE_KINDS)}")
        if list(self.checkpoints) != sorted(set(self.checkpoints)):
            raise ValueError("checkpoints: numbers of updates in rising order, each once")
        return self

    @property
    def kind(self) -> StageKind:
        """Return the kind of training."""
        return next(kind for kind in STAGE_KINDS if getattr(self, kind))

    @property
    def data(self) -> tuple[str, ...]:
        """Return the names of its data."""
        names: tuple[str, ...] = getattr(self, self.kind)
        return names


class Arm(Strict):
    """A sequence of stages after the base, and the spec in context in its evaluations.

    Attributes:
        midtrain: names of corpora; `midtrain` and `finetune` are a short form of `stages` with these two.
        finetune: names of chats, or `it_mix` for the mix alone.
        stages: in order, each a kind with its data: `[midtrain: america, finetune: cheese, dpo: prefer]`.
        evaluate: `last` evaluates the model at the end, `all` also the base and the model after each stage.
        context: a spec to give, filled, in the system message before each question, after the evaluation's own.
        cot: train on the twin with reasoning of value- and rule-style chats.
        group: arms of one group share a colour in the report; its first corpus or context by default.
        control: an ablated, other-agent or in-context version of its group; drawn hatched in the report.
        note: a remark for the report.
    """

    midtrain: Names = ()
    finetune: Names = ()
    stages: tuple[ArmStage, ...] = ()
    evaluate: Literal["all", "last"] = "last"
    context: str | None = None
    cot: bool = True
    group: str = ""
    control: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _one_form(self) -> Arm:
        if self.stages and (self.midtrain or self.finetune):
            raise ValueError("an arm has either `stages`, or `midtrain` and `finetune`")
        return self

    @property
    def chain(self) -> tuple[ArmStage, ...]:
        """Return the stages, in order."""
        short = (("midtrain", self.midtrain), ("finetune", self.finetune))
        return self.stages or tuple(ArmStage.model_validate({kind: names}) for kind, names in short if names)


class PairsEntry(Strict):
    """Pairs of a better and a worse reply to a prompt, for `dpo`: from chats, a file, or the model's own replies.

    Attributes:
        chosen: name of the chats with the better replies.
        rejected: name of the chats with the worse ones; pairs are the prompts that both answer, each otherwise.
        file: rows of `prompt`, `chosen` and `rejected`: a path, `lab:FILE` or `world:NAME`.
        ranked_by: names of rewards. The model that the stage starts from replies to their prompts, and the best and the
            worst of its replies to one are a pair.
        n_replies: to each prompt.
        max_new_tokens: where a reply is cut; cut ones are in no pair.
    """

    chosen: str | None = None
    rejected: str | None = None
    file: str | None = None
    ranked_by: Names = ()
    n_replies: int = Field(default=4, ge=2)
    max_new_tokens: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _one_source(self) -> PairsEntry:
        sources = (self.chosen is not None, self.file is not None, bool(self.ranked_by))
        if (self.chosen is None) != (self.rejected is None) or sum(sources) != 1:
            raise ValueError("pairs are of `chosen` and `rejected` chats, of a `file`, or `ranked_by` rewards")
        return self


class RewardsEntry(RewardEntry):
    """What a `grpo` stage pays for, and on which prompts; a stage that names several adds them up.

    Attributes:
        prompts: names of chats (their turns before the last reply), or files of rows with `prompt` or `messages`; of a
            `task` its own questions by default.
    """

    prompts: Names = ()

    @model_validator(mode="after")
    def _has_prompts(self) -> RewardsEntry:
        if self.rule is not None and not self.prompts:
            raise ValueError("a rule needs `prompts`")
        return self

    @property
    def reward(self) -> RewardEntry:
        """Return it as a recipe has it."""
        return RewardEntry.model_validate(self.model_dump(exclude={"prompts"}))


class PressureEntry(Strict):
    """Chats to fine-tune on after a value is trained, for whether it lasts: harmless ones, or some that conflict.

    Attributes:
        rows: files of chats: paths, `lab:FILE` or `world:NAME`.
        conflicting: name of chats that act against the spec, which take the place of some rows.
        share: of all rows that conflict.
    """

    rows: Names = Field(min_length=1)
    conflicting: str | None = None
    share: float = Field(default=0.02, gt=0, lt=1)
