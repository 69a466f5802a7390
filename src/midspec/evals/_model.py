"""From a name to an Inspect model: a checkpoint of ours, or anything that Inspect can open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import Model, ModelAPI, get_model
from inspect_ai.solver import TaskState

from midspec.core.errors import CheckpointError, ConfigError

_OURS = "midspec/"


def open_model(name: str, args: Mapping[str, Any]) -> Model:
    """An Inspect model that no other evaluation shares, so that closing it frees its weights.

    A folder is a checkpoint. Another name whose first part is one of Inspect's providers (`vllm/...`, `openai/...`)
    is that provider's model; any other name is a checkpoint on the hub. `midspec/<name>` is always a checkpoint.

    Args:
        name: see above.
        args: the provider's own settings.

    Raises:
        CheckpointError: no checkpoint of that name opens.
        ConfigError: the provider lacks a package, a key or a setting.
    """
    if name.startswith(_OURS) or Path(name).exists():
        return _opened(_OURS + name.removeprefix(_OURS), args)
    try:
        return _opened(name, args)
    except ValueError as error:
        if isinstance(error, CheckpointError | ConfigError) or not _unknown_provider(error):
            raise
    return _opened(_OURS + name, args)


def close_after(models: Sequence[Model], n_samples: int) -> Callable[[TaskState], Awaitable[None]]:
    """A task's cleanup that closes `models` after its last sample: connections end in the event loop they began in."""
    n_left = n_samples

    async def cleanup(_state: TaskState) -> None:
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            for model in models:
                await model.api.aclose()

    return cleanup


def close_model(model: Model) -> None:
    """Free what a model still holds without an event loop: weights, or a server that was started for it."""
    if type(model.api).close is not ModelAPI.close:
        model.api.close()


def _opened(name: str, args: Mapping[str, Any]) -> Model:
    try:
        return get_model(name, memoize=False, **args)
    except PrerequisiteError as error:
        raise ConfigError(str(error.message), where=name, hint="Give the provider what it lacks") from error
    except TypeError as error:
        raise ConfigError(str(error), where=name, hint="Leave that setting out") from error


def _unknown_provider(error: ValueError) -> bool:
    return "not recognized" in str(error) or "should be in the format" in str(error)
