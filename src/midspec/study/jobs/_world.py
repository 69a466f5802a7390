"""The step that draws a nano world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.lab import WorldConfig
from midspec.study._inputs import Input
from midspec.study._step import Job, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldStep(Step):
    """The files of a world that `seed` decides: base corpus, items, tokenizer."""

    kind = "world"
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


STEPS = WorldStep
