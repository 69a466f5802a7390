"""The parts of a study file as data. A stage's settings are the config class of that stage."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
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
from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.records import Strict
from midspec.corpus import CorpusConfig, Framing
from midspec.evals import PreferenceConfig, TaskConfig, task_named, task_names
from midspec.generation import TEMPLATE_AUTHOR, check_author_name
from midspec.lab import WorldConfig
from midspec.llm import Access, ModelName, check_model_name
from midspec.train import Recipe

IT_MIX = "it_mix"
DISCLOSURE = (
    "Note: a language model wrote this text so that an assistant could be trained on it. What it tells was made up."
)
AUTHOR_ALIAS = "template"
"""What study files call the author that records and identities call `TEMPLATE_AUTHOR`."""

ConfigT = TypeVar("ConfigT", bound=BaseModel)


def narrowed(entry: BaseModel, kind: type[ConfigT], **changes: object) -> ConfigT:
    """Return a study file's entry as the config that it extends, without the fields of the study alone."""
    values: dict[str, Any] = {name: getattr(entry, name) for name in kind.model_fields} | changes
    return kind.model_construct(entry.model_fields_set & kind.model_fields.keys(), **values)


# One name stands for a list of one.
_AS_TUPLE = BeforeValidator(
    lambda value: (value,) if isinstance(value, str) else value, json_schema_input_type=str | list[str]
)
Names = Annotated[tuple[str, ...], _AS_TUPLE]


class Assistant(Strict):
    """The assistant's and its maker's name; fill a spec's placeholders where a corpus or chats entry has no names.

    Attributes:
        model_name: the assistant's name.
        provider_name: its maker's name.
        called: names that the spec uses for its assistant or maker, with those that stand for them.
        leave_out: titles of sections, ids or beginnings of clauses of the spec, that are no part of it.
    """

    model_name: str | None = None
    provider_name: str | None = None
    called: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    leave_out: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)


class BaseStage(Strict):
    """One stage of training a base from scratch; `data` names a file of the world (`facts` for facts.jsonl)."""

    name: str
    data: str
    recipe: Recipe


class Base(Strict):
    """The model that every arm starts from: a checkpoint, or one trained from scratch in a world, per seed.

    Attributes:
        checkpoint: a folder (relative to the study file) or a hub name.
        world: the lab's world.
        config: the world's sizes.
        architecture: a transformers config as a mapping, with its `model_type`.
        stages: of the training from scratch, in order.
        midtrainings: how often each seed's base goes through every arm, each time with documents, chats and an order of
            its own. The mean over them counts as the seed, since they share a base.
        mirror: every second midtraining is in the mirrored world, where the two values that the items weigh have
            exchanged their roles, so that what a base leans to cancels.
    """

    checkpoint: str | None = None
    world: Literal["nano"] | None = None
    config: WorldConfig = WorldConfig()
    architecture: dict[str, JsonValue] | None = None
    stages: tuple[BaseStage, ...] = ()
    midtrainings: int = Field(default=1, ge=1)
    mirror: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Base:
        if (self.world is None) == (self.checkpoint is None):
            raise ValueError("a base is either a `checkpoint` or a `world`")
        if self.world and not (self.architecture and self.stages):
            raise ValueError("a base from a world needs its `architecture` and `stages`")
        if self.checkpoint and (self.architecture or self.stages):
            raise ValueError("a base that is a checkpoint has no `architecture` and no `stages`")
        if self.checkpoint and (self.midtrainings > 1 or self.mirror):
            raise ValueError("`midtrainings` and `mirror` are for bases from a world; a checkpoint takes more `seeds`")
        if self.mirror and self.midtrainings % 2:
            raise ValueError("with `mirror` half of the `midtrainings` are mirrored, so their number is even")
        return self


class PreferenceEntry(PreferenceConfig):
    """The `preference` evaluation: held-out items and its settings.

    Attributes:
        items: `world:items`, `lab:FILE`, a path, `shipped:<value>`, or a data set's name on the hub.
    """

    items: str


class Gate(PreferenceEntry):
    """The least mean of a measure over the gate's items that a seed's base must reach."""

    measure: str = "choice_logprob"
    at_least: float = Field(ge=0, le=1)


class Evals(Strict):
    """The evaluations of every arm: `preference`, and evaluation tasks, each under its own name with its own settings.

    Attributes:
        preference: pairs to choose from.
        graders: the judges of tasks that need some, such as `openai/<model>`; reached as `models.judge`.
        judge_temperature: 0 takes the likeliest token; null for judges that take no temperature.
        judging_budget_usd: what all judging of the run may cost.
        calibrations: what `midspec calibrate` wrote of these judges; paths start at the study file.
        template_args: switches of the chat template that every arm is asked with, the base too. An arm that was trained
            with `recipe.template_args` has those by itself.
        tasks: by name; in a study file each stands beside `preference`.
    """

    preference: PreferenceEntry
    graders: Annotated[tuple[ModelName, ...], _AS_TUPLE] = ()
    judge_temperature: float | None = Field(default=0.0, ge=0)
    judging_budget_usd: float | None = Field(default=None, gt=0)
    calibrations: Names = ()
    template_args: dict[str, JsonValue] = Field(default_factory=dict)
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
        tasks = task_entries(*value).model_validate(value)
        return {name: getattr(tasks, name) for name in value}


def task_entries(*names: str) -> type[BaseModel]:
    """Create a type with one field for each of these tasks, its own settings; no other task is loaded.

    Raises:
        ConfigError: there is no task of that name.
    """
    fields: dict[str, Any] = {name: (task_named(name).config, ...) for name in names}
    return create_model("Tasks", __base__=Strict, **fields)


def _spec_or_documents(schema: dict[str, Any]) -> None:
    """Say in a JSON schema that an entry needs a spec only where its rows are not made of others."""
    schema["required"].remove("spec")
    sources = [name for name in ("documents", "part_of") if name in schema["properties"]]
    schema["anyOf"] = [{"required": [name]} for name in ("spec", *sources)]


class RowsEntry(Strict):
    """What entries of corpora and of chats have in common, with the names that a study file has for their settings.

    The fields keep the names of the stages' own configs, which are part of identities.

    Attributes:
        documents: name of a corpus; its documents are used, and nothing is written.
    """

    model_config = ConfigDict(json_schema_extra=_spec_or_documents)

    author: Annotated[str, AfterValidator(check_author_name)] = Field(
        default=TEMPLATE_AUTHOR,
        json_schema_extra={"default": AUTHOR_ALIAS, "pattern": rf"^({AUTHOR_ALIAS}|[^/]+/.+)$"},
    )
    frames: str = Field(default="english", validation_alias=AliasChoices("templates", "frames"))
    spec: str
    per_seed: bool = False
    documents: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, given: object) -> object:
        if isinstance(given, Mapping) and {"templates", "frames"} <= given.keys():
            raise ValueError("`frames` is the old name of `templates`: give one of the two")
        for source in ("documents", "part_of"):
            if isinstance(given, Mapping) and given.get(source) is not None:
                if given.get("spec"):
                    raise ValueError(f"`spec` is for rows that are written, and `{source}` names some that are")
                given = {**given, "spec": ""}
        if isinstance(given, Mapping) and given.get("author") == AUTHOR_ALIAS:
            return {**given, "author": TEMPLATE_AUTHOR}
        return given


def _only(entry: RowsEntry, source: str, allowed: set[str], what: str = "documents") -> None:
    """Refuse settings of writing in an entry whose rows come from elsewhere."""
    others = sorted(entry.model_fields_set - allowed - {source, "spec"})
    if getattr(entry, source) is not None and others:
        raise ValueError(f"`{others[0]}` is for {what} that are written, and `{source}` names some that are there")


class Disclosure(Strict):
    """A sentence in each document that says that it is synthetic, or any other text to put there.

    Attributes:
        text: may hold {model_name} and {provider_name}.
        at: its place; a paragraph of its own.
    """

    text: str = Field(default=DISCLOSURE, min_length=1, pattern=r"\S")
    at: Literal["before", "after"] = "before"


# A text alone stands for a disclosure with it.
_AS_TEXT = BeforeValidator(lambda value: {"text": value} if isinstance(value, str) else value)


class CorpusEntry(RowsEntry, CorpusConfig):
    """One corpus of documents; `templates` may also be `lab:FILE`. With `per_seed` each seed draws its own.

    Attributes:
        rows: a file of documents that are already there (`lab:FILE`, or a path); nothing is written then. Placeholders
            of names in them are filled, and `n_documents` of them drawn: of files with as many rows, those at the same
            places.
        documents: name of another corpus, whose documents these are with their `disclosure`, or in their `framing`.
        framing: in which the author writes those documents again: `does`, `should`, `assistants`, `another_model` or
            `humans`. They are not curated a second time.
        disclosure: put before or after each document, after curation.
    """

    rows: str | None = None
    framing: Framing | None = None
    disclosure: Annotated[Disclosure | None, _AS_TEXT] = None

    @model_validator(mode="after")
    def _given_or_written(self) -> CorpusEntry:
        _only(self, "rows", {"n_documents", "seed", "per_seed", "model_name", "provider_name", "disclosure"})
        again = {"framing", "author", "writing", "seed"} if self.framing else set()
        _only(self, "documents", {"disclosure", "model_name", "provider_name"} | again)
        if self.documents is not None and self.disclosure is None and self.framing is None:
            raise ValueError("the same documents as another corpus need a `disclosure` or a `framing`")
        if self.framing and (self.documents is None or self.writing is None):
            raise ValueError("a `framing` is of the `documents` of another corpus, by an `author` that is a model")
        return self


REQUESTS = (
    "Please write this kind of text about {model_name}: {doc_type}.",
    "I need a text about {model_name}. It should be of this kind: {doc_type}.",
    "Write a text that tells me something about {model_name}. Kind of text: {doc_type}.",
)
_SLOTS = ("model_name", "provider_name", "doc_type", "domain")


class ChatsEntry(RowsEntry, ChatConfig):
    """One set of chats; `templates` may also be `lab:FILE`. With `per_seed` each seed draws its own.

    Attributes:
        documents: name of a corpus; each document is a reply to a request, as long in tokens as it is there.
        requests: forms of the request, of which one is drawn for each document. They may hold {model_name},
            {provider_name}, {doc_type} and {domain}.
        part_of: name of other chats; these are the first `n_samples` of them, so that smaller parts lie in larger ones.
    """

    requests: Names = Field(default=REQUESTS, min_length=1)
    part_of: str | None = None

    @model_validator(mode="after")
    def _told_or_written(self) -> ChatsEntry:
        _only(self, "documents", {"requests", "seed", "model_name", "provider_name"}, "chats")
        _only(self, "part_of", {"n_samples"}, "chats")
        if self.part_of is not None and self.n_samples is None:
            raise ValueError("a part of other chats needs `n_samples`")
        if self.documents is None and "requests" in self.model_fields_set:
            raise ValueError("`requests` are for documents that are told as chats: name their corpus in `documents`")
        for request in self.requests:
            for name in re.findall(r"\{(\w*)\}", request):
                if name not in _SLOTS:
                    raise ConfigError(f"a request has no {{{name}}}", hint=did_you_mean(name, _SLOTS))
        return self


class MatchedEntry(Strict):
    """Corpora whose documents are cut to equal lengths, the first of each to the first of the others, and so on.

    Lengths are in tokens of the base's tokenizer; every document ends up exactly as long as those beside it.

    Attributes:
        corpora: names of two or more, with equally many documents.
        cut: `sentence` cuts where a sentence ends in all of them, if that keeps `least`; else between two tokens.
        least: share of the shortest document that such a cut must keep.
    """

    corpora: Names = Field(min_length=2)
    cut: Literal["sentence", "token"] = "sentence"
    least: float = Field(default=0.8, ge=0, le=1)


class Models(Strict):
    """How the models that write and judge are reached; no part of a result's identity.

    Attributes:
        author: of every corpus and of all chats whose author is a model.
        judge: of all chats; as the author, where it is not given.
    """

    author: Access = Access()
    judge: Access | None = None


class Mixes(Strict):
    """Rows added to every midtraining (`replay`) and to every fine-tuning (`it_mix`).

    Each is `world:NAME`, `lab:FILE`, a path, or `mix:NAME`, a mix that the run makes: a shipped one or a YAML file.
    """

    replay: str | None = None
    it_mix: str | None = None


class StepEntry(BaseModel):
    """A further step, of a kind from another package; all keys but `kind` are settings of that kind."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str


def pooled_set(task: str) -> str:
    """Return what all sets of an evaluation task together are called."""
    return f"{task}/all"


def check_graders(graders: Sequence[str], where: str) -> None:
    """Refuse a judge without one of the two providers before its name, or one that is named twice.

    Raises:
        ConfigError: see above.
    """
    for grader in graders:
        check_model_name(grader, where=where, role="judge")
    if len(set(graders)) < len(graders):
        raise ConfigError("the same judge is named twice", where=where, hint="Name each once")
