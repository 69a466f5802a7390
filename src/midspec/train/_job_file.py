"""Read a training job from a YAML file, and say which field of it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from midspec.core.errors import ConfigError, MissingError, did_you_mean, first_fault
from midspec.core.records import Strict
from midspec.core.yaml_files import PROSE_SUFFIXES, read_yaml
from midspec.train._job import LoraRecipe, Recipe, TrainExecution, TrainJob
from midspec.train._pressure import load_pressure
from midspec.train._rl_recipe import DpoRecipe, GrpoRecipe, RewardEntry


def load_job(path: Path) -> TrainJob:
    """Read a training job from a YAML file; relative paths in it are relative to that file.

    `pressure: NAME` stands for the stage and recipe of a shipped pressure (`pressure_names`).

    Raises:
        MissingError: there is no such file.
        ConfigError: it is not YAML, or a field is unknown, missing or wrong; names the field and the hint.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    if path.suffix.lower() in PROSE_SUFFIXES:
        hint = f"Look at it with midspec spec check {path}; a training job (YAML) is such as examples/midtrain.yaml"
        raise ConfigError("reads as a spec, and is no training job", where=str(path), hint=hint)
    data = read_yaml(path)
    if not isinstance(data, dict) or "arms" in data:
        raise ConfigError("not a training job", where=str(path), hint="Write stage, parent, data; a study is for run")
    try:
        job = TrainJob.model_validate(_with_pressure(data))
    except ValidationError as error:
        raise _config_error(path, error) from error
    return job.model_copy(
        update={
            "data": tuple(str(path.parent / Path(name).expanduser()) for name in job.data),
            "parent": _resolve(job.parent, path.parent),
            "tokenizer": _resolve(job.tokenizer, path.parent),
        }
    )


def _with_pressure(data: dict[str, Any]) -> dict[str, Any]:
    """Fill in the stage and the recipe of the shipped pressure that a job names; what it says itself goes first."""
    if not isinstance(data.get("pressure"), str):
        return data
    shipped = load_pressure(data["pressure"])
    recipe = {**shipped.recipe.model_dump(mode="json", exclude_unset=True), **(data.get("recipe") or {})}
    rest = {key: value for key, value in data.items() if key != "pressure"}
    return {"stage": shipped.stage, **rest, "recipe": recipe}


def _resolve(name: str | None, folder: Path) -> str | None:
    """Take a name of a checkpoint from `folder`; one that is not there and can be a hub name stays one."""
    if name is None:
        return None
    path = folder / Path(name).expanduser()
    if path.exists():
        return str(path)
    is_path = name.startswith((".", "~")) or ("/" in name and path.parent.is_dir())
    return str(path.absolute()) if is_path else name


_KINDS: dict[tuple[int | str, ...], type[Strict]] = {
    ("recipe",): Recipe,
    ("recipe", "lora"): LoraRecipe,
    ("recipe", "dpo"): DpoRecipe,
    ("recipe", "grpo"): GrpoRecipe,
    ("recipe", "grpo", "rewards"): RewardEntry,
    ("execution",): TrainExecution,
}


def _config_error(path: Path, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    (field, message), hint = first_fault(error), "Fix that field"
    if first["type"] == "extra_forbidden":
        kind = _KINDS.get(tuple(part for part in first["loc"][:-1] if isinstance(part, str)), TrainJob)
        message, hint = "no such setting", did_you_mean(str(first["loc"][-1]), kind.model_fields)
    elif first["type"] == "missing":
        message, hint = "is missing", "Add it"
    elif first["type"] == "too_short":
        message, hint = "is empty", "Name at least one"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ConfigError(f"{field}: {message}{more}" if field else message, where=str(path), hint=hint)
