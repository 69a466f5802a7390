"""The parts of a study file, as data.

Each room's own settings are that room's own model, so a study file says nothing that a Python user could not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SerializeAsAny,
    create_model,
    field_validator,
    model_validator,
)

from midspec.chats import ChatConfig
from midspec.core.errors import ConfigError
from midspec.core.records import Strict
from midspec.corpus import CorpusConfig
from midspec.evals import PreferenceConfig, TaskConfig, task_named, task_names
from midspec.lab import WorldConfig
from midspec.llm import Access, ModelName, check_model_name
from midspec.train import Recipe

IT_MIX = "it_mix"


def _listed(value: object) -> object:
    """One name stands for a list of one."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Assistant(Strict):
    """Who the specs are about; fills the two placeholders wherever a corpus or chats entry does not say otherwise."""

    model_name: str | None = None
    provider_name: str | None = None


class BaseStage(Strict):
    """One stage of training a base from scratch; `data` names a file of the world (`facts` for facts.jsonl)."""

    name: str
    data: str
    recipe: Recipe


class Base(Strict):
    """The model that every arm starts from: a checkpoint, or a world that one is trained in from scratch per seed.

    Attributes:
        checkpoint: a folder (relative to the study file) or a hub name.
        world: the lab's world.
        config: the world's sizes.
        architecture: a transformers config as a mapping, with its `model_type`.
        stages: of the training from scratch, in order.
    """

    checkpoint: str | None = None
    world: Literal["nano"] | None = None
    config: WorldConfig = WorldConfig()
    architecture: dict[str, JsonValue] | None = None
    stages: tuple[BaseStage, ...] = ()

    @model_validator(mode="after")
    def _one_of_two(self) -> Base:
        if (self.world is None) == (self.checkpoint is None):
            raise ValueError("a base is either a `checkpoint` or a `world`")
        if self.world and not (self.architecture and self.stages):
            raise ValueError("a base from a world needs its `architecture` and `stages`")
        if self.checkpoint and (self.architecture or self.stages):
            raise ValueError("a base that is a checkpoint has no `architecture` and no `stages`")
        return self


class PreferenceEntry(PreferenceConfig):
    """The `preference` evaluation: held-out items and how they are asked.

    Attributes:
        items: `world:items`, `lab:FILE`, a path, `shipped:<value>`, or a data set's name on the hub.
    """

    items: str


class Gate(PreferenceEntry):
    """What a base must have learned before its seed counts: the mean of one measure over the gate's items."""

    measure: str = "choice_logprob"
    at_least: float = Field(ge=0, le=1)


class Evals(Strict):
    """The evaluations that every arm takes: `preference`, and exams, each under its own name with its own settings.

    Attributes:
        preference: pairs to choose from.
        graders: the judges of exams that need some, such as `openai/<model>`; reached as `models.judge`.
        judge_temperature: 0 takes the likeliest token; null for judges that take no temperature.
        judging_budget_usd: what all judging of the run may cost.
        calibrations: what `midspec calibrate` wrote of these judges; paths start at the study file.
        eval_tasks: by name; in a study file each stands beside `preference`.
    """

    preference: PreferenceEntry
    graders: Annotated[tuple[ModelName, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])] = ()
    judge_temperature: float | None = Field(default=0.0, ge=0)
    judging_budget_usd: float | None = Field(default=None, gt=0)
    calibrations: Names = ()
    tasks: dict[str, SerializeAsAny[TaskConfig]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        if not isinstance(value, Mapping) or "tasks" in value:
            return value
        tasks = {name: value[name] for name in task_names() if name in value}
        rest = {name: entry for name, entry in value.items() if name not in tasks}
        return {**rest, "tasks": {name: {} if entry is None else entry for name, entry in tasks.items()}}

    @field_validator("tasks", mode="before")
    @classmethod
    def _own_settings(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        found = task_entries(*value).model_validate(value)
        return {name: getattr(found, name) for name in value}


def task_entries(*names: str) -> type[BaseModel]:
    """A type with one field for each of these exams: its own settings. Exams are loaded that are named, and no other.

    Raises:
        ConfigError: there is no exam of that name.
    """
    fields: dict[str, Any] = {name: (task_named(name).config, ...) for name in names}
    return create_model("Tasks", __base__=Strict, **fields)


class CorpusEntry(CorpusConfig):
    """One corpus of documents; `frames` may also be `lab:FILE`. With `per_seed` each seed draws its own."""

    spec: str
    per_seed: bool = False


class ChatsEntry(ChatConfig):
    """One set of chats; `frames` may also be `lab:FILE`. With `per_seed` each seed draws its own."""

    spec: str
    per_seed: bool = False


class Models(Strict):
    """How the models that write and judge are reached; about the run, never part of a result.

    Attributes:
        author: of every corpus and of all chats whose author is a model.
        judge: of all chats; as the author, where it is not given.
    """

    author: Access = Access()
    judge: Access | None = None


class Mixes(Strict):
    """Rows added to every midtraining (`replay`) and to every fine-tuning (`it_mix`): `world:NAME` or a path."""

    replay: str | None = None
    it_mix: str | None = None


class StepEntry(BaseModel):
    """A further step, of a kind that another package brings; all but its kind are settings of that kind."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str


class Training(Strict):
    """One recipe a stage, the same for every arm."""

    midtrain: Recipe | None = None
    finetune: Recipe | None = None


class Arm(Strict):
    """A sequence of stages after the base, and what stands in context when it is asked.

    Attributes:
        midtrain: names of corpora.
        finetune: names of chats, or `it_mix` for the mix alone.
        context: a spec to give, filled, in the system message before each question, after the evaluation's own.
        cot: which of the twins of value- and rule-style chats to train on.
        group: arms of one group share a colour in the report; its first corpus or context by default.
        control: an ablated, other-agent or in-context version of its group; drawn hatched in the report.
        note: a remark for the report.
    """

    midtrain: Names = ()
    finetune: Names = ()
    context: str | None = None
    cot: bool = True
    group: str = ""
    control: bool = False
    note: str = ""


class PanelEntry(Strict):
    """One panel of the report's main picture; all arms by default."""

    title: str
    set: str
    measure: str = "choice_logprob"
    arms: tuple[str, ...] = ()
    reference: float | None = 0.5


class CaveatEntry(Strict):
    """A sceptic's question and our answer to it."""

    question: str
    answer: str


class SetEntry(Strict):
    """What the items of a set ask, in words; `target` is what a rate of 1 means."""

    title: str
    target: str = ""


class ReportEntry(Strict):
    """What the report shows beside its numbers. The first panel's set and measure are the main ones by default."""

    main_set: str = ""
    main_measure: str = ""
    main_contrasts: tuple[str, ...] = ()
    sets: dict[str, SetEntry] = Field(default_factory=dict)
    panels: tuple[PanelEntry, ...] = ()
    samples: int = Field(default=4, ge=0)
    caveats: tuple[CaveatEntry, ...] = ()
    deviations: tuple[str, ...] = ()
    seed_kind: str = ""
    level: float = Field(default=0.95, gt=0, lt=1)


def check_graders(graders: Sequence[str], where: str) -> None:
    """Refuse a judge that is none.

    Raises:
        ConfigError: a name without a provider before it, or a judge named twice.
    """
    for grader in graders:
        check_model_name(grader, where=where, role="judge")
    if len(set(graders)) < len(graders):
        raise ConfigError("the same judge is named twice", where=where, hint="Name each once")
