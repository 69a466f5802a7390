"""Steps that copy a spec into a run and make a world, and the names that fill a spec's placeholders."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.records import Spec
from midspec.core.text import n_words
from midspec.lab import WorldConfig
from midspec.study._inputs import File, Input, spec_at
from midspec.study._step import Job, Step

if TYPE_CHECKING:
    from midspec.spec import SpecSettings

_FILE = "spec.md"


class SpecNames(NamedTuple):
    """A spec's own name, the values of its placeholders, and what else of it is changed or left out."""

    spec: str
    model_name: str | None = None
    provider_name: str | None = None
    called: Mapping[str, str] = {}
    leave_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: str, settings: SpecSettings) -> SpecNames:
        """Take the names of a config."""
        names = (settings.model_name, settings.provider_name, dict(settings.called), tuple(settings.leave_out))
        return cls(spec, *names)

    def settings(self) -> dict[str, JsonValue]:
        """Return them as part of a step's settings; what is empty there identifies nothing."""
        found: dict[str, JsonValue] = {
            "spec": self.spec,
            "model_name": self.model_name,
            "provider_name": self.provider_name,
        }
        found |= {"called": dict(self.called)} if self.called else {}
        return found | ({"leave_out": list(self.leave_out)} if self.leave_out else {})

    def read(self, path: str) -> Spec:
        """Read the spec at `path` with its placeholders filled.

        Raises:
            SpecError: it can't be read, or a placeholder has no value.
        """
        from midspec.spec import fill_by

        return fill_by(spec_at(path, self.spec), self)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpecStep(Step):
    """A spec file, copied and checked.

    Attributes:
        text: the file.
    """

    kind = "spec"
    opens_model = False
    text: File

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"name": self.label}

    def original(self, file: str) -> Input | None:
        return self.text if file == _FILE else None

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.spec import check_spec, placeholders

        path = job.locate(self.text)
        spec = spec_at(path, Path(path).stem)
        shutil.copyfile(path, folder / _FILE)
        summary: dict[str, JsonValue] = {
            "n_words": n_words(spec.text),
            "n_sections": len(spec.sections),
            "n_clauses": len(spec.clauses),
            "placeholders": list(placeholders(spec)),
            "findings": [f"{finding.where}: {finding.what}" for finding in check_spec(spec)],
        }
        return Built(outputs=(_FILE,), summary=summary)


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldStep(Step):
    """The files of the world of a seed: base corpus, items, tokenizer.

    Attributes:
        config: its sizes.
        mirrors: the seed of the world whose mirrored world this is, if it is one.
    """

    kind = "world"
    opens_model = False
    seed: int
    config: WorldConfig
    mirrors: int | None = None

    @property
    def settings(self) -> dict[str, JsonValue]:
        mirrors: dict[str, JsonValue] = {} if self.mirrors is None else {"mirrors": self.mirrors}
        return {"seed": self.seed, **self.config.model_dump(mode="json"), **mirrors}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.lab import make_world, save_mirror, save_world

        if self.mirrors is not None:
            return save_mirror(make_world(self.mirrors, self.config), self.seed, folder)
        return save_world(make_world(self.seed, self.config), folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class MirroredModelStep(Step):
    """The base model of a world as that of the mirrored world: the same weights, with words exchanged.

    Attributes:
        model: the base.
    """

    kind = "mirror"
    opens_model = False
    model: Input

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.lab import MIRROR, save_mirrored_model

        files = save_mirrored_model(job.path(self.model), folder)
        return Built(outputs=files, summary={"words_exchanged": len(MIRROR)})


STEPS = (SpecStep, WorldStep, MirroredModelStep)
