"""Shipped recipes of pressure: training that comes after a value was taught, and may wash it out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from midspec.core.errors import ConfigError, did_you_mean
from midspec.core.records import Strict
from midspec.train._job import Recipe

_FOLDER = Path(__file__).parent / "_pressures"


class Pressure(Strict):
    """One kind of pressure, the same for every arm that it is put on.

    Attributes:
        stage: that it is.
        data: what it is trained on, in words.
        conflicting_share: of the chats, those that act against the spec.
        recipe: of the training.
    """

    stage: Literal["finetune", "dpo", "grpo"]
    data: str
    conflicting_share: float = Field(0.0, ge=0, lt=1)
    recipe: Recipe


@cache
def pressure_names() -> tuple[str, ...]:
    """Return the names of the shipped ones."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_pressure(name: str) -> Pressure:
    """Load a shipped one.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in pressure_names():
        raise ConfigError(f"there is no pressure {name!r}", where="pressure", hint=did_you_mean(name, pressure_names()))
    found: dict[str, Any] = yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return Pressure.model_validate(found)
