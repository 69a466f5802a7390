"""A step of a study as a lazy value: what it is made from, and what identifies it.

A step gets nothing but its sources and its `config`, and both are hashed: what is not part of a step's identity
can't change its result. `options` are about the run (a device) and never about the result.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Identity, Record, Strict

Kind = Literal[
    "spec",
    "corpus",
    "chats",
    "curate",
    "reframe",
    "world",
    "pretrain",
    "gate",
    "midtrain",
    "finetune",
    "eval",
    "pairs",
    "exam",
    "rescore",
    "analysis",
    "report",
]

# A step whose result changes although its inputs and config do not gets a new version.
VERSIONS: dict[Kind, int] = {}

SHIPPED = "shipped:"
"""What the names of shipped sets of pairs begin with."""


class Source(Strict):
    """Where one input of a step comes from: another step's file or folder, a file outside, or a model.

    Attributes:
        step: the step that makes it.
        file: a file of that step; with a final `/` a folder of it; empty for all of the step.
        path: a file outside the run.
        checkpoint: a model outside the run: a folder, or a name on a hub or of an Inspect provider.
        tokenizer: a tokenizer's folder outside the run.
        asked: what an evaluation asks: `shipped:<value>`, a data set's name on the hub, or an exam's name.
    """

    step: str | None = None
    file: str = ""
    path: str | None = None
    checkpoint: str | None = None
    tokenizer: str | None = None
    asked: str | None = None


class Step(Strict):
    """One result of a study: its sources by role, its config, and where it goes.

    Attributes:
        kind: which room makes it.
        label: what it is called within its kind.
        seed: the run seed, or `None` for a step that all seeds share.
        sources: what it is made from, by role.
        config: all else that identifies it.
        options: about the run only.
        cost: a rough size, in training updates; decides the order of work and nothing else.
    """

    kind: Kind
    label: str = ""
    seed: int | None = None
    sources: dict[str, Source] = Field(default_factory=dict)
    config: dict[str, JsonValue] = Field(default_factory=dict)
    options: dict[str, JsonValue] = Field(default_factory=dict)
    cost: float = 1.0

    @property
    def name(self) -> str:
        """`kind/label-s<seed>`, without the parts that the step does not have. Unique in a study."""
        tail = [self.label, *([f"s{self.seed}"] if self.seed is not None else [])]
        return "/".join([self.kind, *filter(None, ["-".join(filter(None, tail))])])

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the steps that must be done before this one, each once."""
        return tuple(dict.fromkeys(source.step for source in self.sources.values() if source.step))

    @property
    def resumable(self) -> bool:
        """An interrupted start of this step can be gone on from."""
        return self.kind in {"pretrain", "midtrain", "finetune", "exam", "rescore"}


def slug(label: str) -> str:
    """A label as a folder name that needs no quotes in a shell: `MSM(america)+AFT` is `MSM-america+AFT`."""
    plain = re.sub(r"[^\w.+-]+", "-", label.replace(")", ""))
    return plain.strip("-") or "step"


def step_folder(run: Path, step: Step) -> Path:
    """The final place of a step's result."""
    if step.kind == "report":
        return run / "report"
    kind, _, rest = step.name.partition("/")
    return run / "steps" / kind / slug(rest) if rest else run / "steps" / kind


def identity(step: Step, records: Mapping[str, Record]) -> Identity:
    """What identifies the result of a step, given the records of the steps that it is made from."""
    return Identity(
        step=f"{step.kind}@{VERSIONS.get(step.kind, 1)}",
        inputs={role: digest(source, records) for role, source in step.sources.items()},
        config=step.config,
    )


def digest(source: Source, records: Mapping[str, Record]) -> str:
    """The content of a source as one string."""
    if source.step is not None:
        record = records[source.step]
        if not source.file:
            return record.digest
        if source.file.endswith("/"):
            return fingerprint({k: v for k, v in record.outputs.items() if k.startswith(source.file)})
        return record.outputs[source.file]
    if source.path is not None:
        return _hash_once(Path(source.path))
    if source.checkpoint is not None:
        return _hash_checkpoint(source.checkpoint)
    if source.tokenizer is not None:
        from midspec.models import files_digest

        return files_digest(source.tokenizer)
    if source.asked is not None:
        return _hash_asked(source.asked)
    raise ValueError(f"a source of nothing: {source}")


def locate(source: Source, folders: Mapping[str, Path]) -> str:
    """The path of a source (or its model's name), given the folders of the steps."""
    if source.step is not None:
        return str(folders[source.step] / source.file)
    return source.path or source.checkpoint or source.tokenizer or source.asked or ""


def _hash_checkpoint(name: str) -> str:
    """A model by the content of its folder; one that is not here by its name."""
    if not Path(name).is_dir():
        return f"name:{name}"
    from midspec.models import checkpoint_digest

    return checkpoint_digest(name)


@functools.lru_cache(maxsize=64)
def _hash_asked(name: str) -> str:
    """What is shipped by its content; a data set on the hub by its name."""
    from midspec.evals import shipped_items, task_named, task_names

    if name in task_names():
        eval_task = task_named(name)
        return fingerprint([[each.id, [*each.messages]] for each in eval_task.questions(eval_task.config())])
    if name.startswith(SHIPPED):
        return fingerprint(shipped_items(name.removeprefix(SHIPPED)))
    return f"name:{name}"


def _hash_once(path: Path) -> str:
    """A file's hash; read again only when its size or time of change is another (weights are large)."""
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _hash_of(path: Path, _size: int, _changed_at: int) -> str:
    return hash_file(path)
