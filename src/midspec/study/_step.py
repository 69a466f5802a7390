"""A step of a study as a typed lazy value: its inputs, settings, identity, and how it runs.

Each kind of step is one class in `midspec.study.jobs`, or in another package. A step gets nothing but its inputs and
its settings, and both are hashed: what is not part of a step's identity can't change its result.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError

from midspec.core.artifact import Built, ProgressCallback, build, read_record
from midspec.core.errors import ConfigError, first_fault
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Identity, Record
from midspec.study._inputs import Input

DOCUMENTS_FILE, CHATS_FILE, PAIRS_FILE = "documents.jsonl", "chats.jsonl", "pairs.jsonl"
"""What steps call their files of rows; parts of identities."""
STUDY_FILE, RUN_FILE, REPLIES_FILE = "study.yaml", "run.json", "calls.sqlite"
"""Beside the steps in a run's folder: the study, where it stood with its first contrasts, and models' replies."""


class Size(NamedTuple):
    """Rows written, updates made and tokens; `None` where that is not known, `about` where updates are an estimate."""

    documents: int | None = None
    updates: int | None = None
    tokens: int | None = None
    about: bool = False


class Cost(NamedTuple):
    """Requests to models, and dollars with the settings of the step; `None` where a price is not known."""

    requests: int
    usd: float | None


class Saved(NamedTuple):
    """What a step that was interrupted goes on from.

    Attributes:
        at: how far it is, in the step's own units; of two, one goes on from the higher.
        files: names in the folder that the step is made in.
    """

    at: int
    files: tuple[str, ...]


def count_of(summary: Mapping[str, JsonValue], name: str, expected: int | None = None) -> int | None:
    """Return a count of a finished step's summary; where it holds none, what is expected."""
    count = summary.get(name)
    return count if isinstance(count, int) else expected


def ignore_progress(_at: int, _of: int, _note: str) -> None:
    """Do nothing: the default of progress callbacks, and one that can be sent to a worker."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The places, device and progress callback that a step runs with; no part of the result's identity.

    Attributes:
        folder: the result's final place; files are written to another and moved there when the step is done.
        store: the file of language models' replies.
        places: the folders of the steps that this one is made from, by name.
        device: that models run on.
        on_progress: called with how far the step is.
    """

    folder: Path
    store: Path
    places: Mapping[str, Path] = field(default_factory=dict)
    device: str = "auto"
    on_progress: ProgressCallback = ignore_progress

    def locate(self, source: Input) -> str:
        """Return the path of an input, or the name of a model or data set."""
        return source.locate(self.places)

    def path(self, source: Input) -> Path:
        """Return the path of an input that is a file or folder."""
        return Path(source.locate(self.places))


@dataclass(frozen=True)
class StudyOutputs:
    """The results of a study that further steps may be made from, each by name and seed.

    Attributes:
        documents: files of documents, by corpus.
        chats: files of chats, by their name in the study file.
        checkpoints: models, by arm.
        scores: files of score rows of the evaluation of pairs, by arm.
        bases: the models that every arm starts from, by seed.
        seams: models right after the first stage of documents of an arm, by arm; none of an arm without such a stage.
        specs: files of specs with what fills them (`SpecNames`), by name.
        items: held-out pairs to choose from, by seed.
        asked: how they are asked (`PreferenceConfig`).
    """

    documents: Mapping[tuple[str, int], Input]
    chats: Mapping[tuple[str, int], Input]
    checkpoints: Mapping[tuple[str, int], Input]
    scores: Mapping[tuple[str, int], Input]
    bases: Mapping[int, Input] = field(default_factory=dict)
    seams: Mapping[tuple[str, int], Input] = field(default_factory=dict)
    specs: Mapping[str, tuple[Input, Any]] = field(default_factory=dict)
    items: Mapping[int, Input] = field(default_factory=dict)
    asked: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(ABC):
    """One result. A kind of step is a final subclass.

    Attributes:
        kind: part of the identity of every result, so it never changes, whatever the class is called.
        version: goes up when results change although inputs and settings do not.
        resumable: an interrupted attempt can be continued.
        opens_model: it computes with a model, on a GPU if there is one; a step that does not leaves the GPUs to others.
        label: the step's name within its kind.
        seed: the run seed, or `None` for a step that all seeds share.
        cost: a rough size, in training updates; decides the order of work and nothing else.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    resumable: ClassVar[bool] = False
    opens_model: ClassVar[bool] = True

    label: str = ""
    seed: int | None = None
    cost: float = 1.0

    @property
    def n_devices(self) -> int:
        """Return on how many GPUs the step computes, where there are any."""
        return 1 if self.opens_model else 0

    @property
    def inputs(self) -> dict[str, Input]:
        """Return what the step is made from, by role: its fields that are inputs. Roles are part of the identity.

        Raises:
            NotImplementedError: a field is a mapping of inputs, to which the step must give roles itself.
        """
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in values.items():
            if isinstance(value, Mapping) and any(isinstance(each, Input) for each in value.values()):
                raise NotImplementedError(f"{type(self).__name__}.{name} holds inputs: write the property `inputs`")
        return {role: source for role, source in values.items() if isinstance(source, Input)}

    @property
    @abstractmethod
    def settings(self) -> dict[str, JsonValue]:
        """Return all else that identifies the result; what is missing here is no reason to make it anew."""

    @abstractmethod
    def run(self, job: Job, folder: Path) -> Built:
        """Make the result in `folder`, which is moved to `job.folder` when it is done."""

    def saved(self, _folder: Path) -> Saved | None:
        """Return the newest whole state that `run` left in the folder that it was given; `None` where there is none.

        A run at a URL sends it to the store while the step is made, so that another machine goes on from it. Its files
        stand in folders, are whole, and are never written to again.
        """
        return None

    def size(self, _summary: Mapping[str, JsonValue]) -> Size:
        """Return the step's size: from its record's summary where it is done, else from its settings."""
        return Size()

    def price(self) -> Cost | None:
        """Estimate what the step's requests to language models cost; `None` where it makes none."""
        return None

    def original(self, _file: str) -> Input | None:
        """Return the input from outside that one of the step's files is a copy of, if any."""
        return None

    @classmethod
    def from_study(
        cls,
        name: str,
        settings: Mapping[str, JsonValue],  # noqa: ARG003 - for the kinds that override this
        made: StudyOutputs,  # noqa: ARG003
    ) -> Iterable[Step]:
        """Create the steps of an entry under `steps` of a study file; a kind that can stand there overrides this.

        Args:
            name: of the entry.
            settings: the entry, without its kind.
            made: the results of the study's other steps.

        Raises:
            ConfigError: the kind can't stand in a study file, or a setting is wrong.
        """
        raise ConfigError(
            f"the kind {cls.kind!r} is made by the study itself",
            where=f"steps.{name}.kind",
            hint="Name a kind of another package",
        )

    @cached_property
    def name(self) -> str:
        """Return `kind/label-s<seed>`, without the parts that the step does not have. Unique in a study."""
        return step_name(self.kind, self.label, self.seed)

    @cached_property
    def parents(self) -> tuple[Step, ...]:
        """Return the steps that must be done before this one, each once."""
        steps = [source.step for source in self.inputs.values() if isinstance(source, StepOutput)]
        return tuple({step.name: step for step in steps}.values())

    def identity(self, records: Mapping[str, Record]) -> Identity:
        """Return what identifies the result, given the records of the steps that it is made from."""
        return Identity(
            step=f"{self.kind}@{self.version}",
            inputs={role: source.digest(records) for role, source in self.inputs.items()},
            config=self.settings,
        )

    def folder(self, run: Path) -> Path:
        """Return the final place of the result in a run's folder."""
        rest = self.name.partition("/")[2]
        return run / "steps" / self.kind / slug(rest) if rest else run / "steps" / self.kind


@dataclass(frozen=True)
class StepOutput(Input):
    """A file of another step's result; with a final `/` a folder of it; empty for all of the result."""

    step: Step
    file: str = ""

    def digest(self, records: Mapping[str, Record]) -> str:
        record = records[self.step.name]
        if not self.file:
            return record.digest
        if self.file.endswith("/"):
            return fingerprint({name: hash_ for name, hash_ in record.outputs.items() if name.startswith(self.file)})
        return record.outputs[self.file]

    def locate(self, folders: Mapping[str, Path]) -> str:
        return str(folders[self.step.name] / self.file)

    @property
    def original(self) -> Input:
        return self.step.original(self.file) or self


ConfigT = TypeVar("ConfigT", bound=BaseModel)


def settings_of(name: str, settings: Mapping[str, JsonValue], kind: type[ConfigT]) -> ConfigT:
    """Validate the settings of an entry of `steps` in a study file.

    Args:
        name: of the entry.
        settings: without its `kind`.
        kind: their type.

    Raises:
        ConfigError: one is unknown or wrong; names it.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        field, what = first_fault(error)
        where = ".".join(filter(None, ("steps", name, field)))
        raise ConfigError(what, where=where, hint="Correct that setting") from error


def step_name(kind: str, label: str, seed: int | None) -> str:
    """Name a step for users: `kind/label-s<seed>`, without the parts that it does not have."""
    tail = "-".join(filter(None, [label, *([f"s{seed}"] if seed is not None else [])]))
    return "/".join(filter(None, [kind, tail]))


def slug(label: str) -> str:
    """Return a label as a folder name that needs no quotes in a shell: `MSM(america)+AFT` is `MSM-america+AFT`."""
    plain = re.sub(r"[^\w.+-]+", "-", label.replace(")", ""))
    return plain.strip("-") or "step"


def store_beside(folder: Path) -> Path:
    """Return the store of language models' replies for a single result: beside it, so that `--redo` keeps them."""
    return folder.with_name(f"{folder.name}.calls.sqlite")


def build_step(
    step: Step,
    folder: Path,
    *,
    redo: bool = False,
    device: str = "auto",
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[Record, bool]:
    """Make a single step whose inputs are all from outside; return its record, and whether it was made now.

    A result of the same inputs that a fault of a server or an account left without some answers is gone on with.

    Args:
        step: the step.
        folder: the result's final place.
        redo: replace a result of other inputs.
        device: that models run on.
        on_progress: called with how far it is.

    Raises:
        StaleError: a result of other inputs is there and `redo` is false.
        MidspecError: whatever the step refuses.
    """
    job = Job(folder=folder, store=store_beside(folder), device=device, on_progress=on_progress)
    identity, there = step.identity({}), read_record(folder)
    is_open = there is not None and there.fingerprint == fingerprint(identity) and lacks_answers(there)
    return build(folder, identity, partial(step.run, job), redo=redo or is_open, resumable=step.resumable)


def lacks_answers(record: Record) -> bool:
    """Return whether a fault of a server or an account left a result without some answers or judgements."""
    return bool(record.execution.extra.get("n_missing"))
