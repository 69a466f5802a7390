"""Steps that copy a spec into a run and make a world, and the names that fill a spec's placeholders."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.records import Spec
from midspec.core.text import n_words
from midspec.lab import WorldConfig
from midspec.study._inputs import File, Input, spec_at
from midspec.study._step import Job, Step

_FILE = "spec.md"


class SpecNames(NamedTuple):
    """A spec's own name, and the values of its placeholders."""

    spec: str
    model_name: str | None = None
    provider_name: str | None = None

    def settings(self) -> dict[str, JsonValue]:
        """Return them as part of a step's settings."""
        return dict(self._asdict())

    def read(self, path: str) -> Spec:
        """Read the spec at `path` with its placeholders filled.

        Raises:
            SpecError: it can't be read, or a placeholder has no value.
        """
        from midspec.spec import fill

        return fill(spec_at(path, self.spec), model_name=self.model_name, provider_name=self.provider_name)


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
    def inputs(self) -> dict[str, Input]:
        return {"text": self.text}

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
    """The files of the world of a seed: base corpus, items, tokenizer."""

    kind = "world"
    opens_model = False
    seed: int
    config: WorldConfig

    @property
    def inputs(self) -> dict[str, Input]:
        return {}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"seed": self.seed, **self.config.model_dump(mode="json")}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.lab import make_world, save_world

        return save_world(make_world(self.seed, self.config), folder)


STEPS = (SpecStep, WorldStep)
