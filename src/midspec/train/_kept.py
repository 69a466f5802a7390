"""Checkpoints that are part of a stage's result: the model after as many updates as the recipe names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from midspec.train._checkpoint import save_model, writing
from midspec.train._job import KEPT_PREFIX, TrainJob


class KeepCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Saves the model after each of the recipe's `keep_updates`, whole and ready to be opened.

    A run that was interrupted and goes on from before such an update saves it again, with the same weights.

    Args:
        job: names the updates.
        tokenizer: is saved beside the weights.
        folder: of the stage's result; the checkpoints are folders in it.
    """

    def __init__(self, job: TrainJob, tokenizer: Any, folder: Path) -> None:
        self._updates = frozenset(job.recipe.keep_updates)
        self._tokenizer = tokenizer
        self._folder = folder

    def on_step_end(self, *context: Any, model: Any, **_: Any) -> None:
        _arguments, state, _control = context
        if state.global_step not in self._updates:
            return
        place = self._folder / f"{KEPT_PREFIX}{state.global_step}"
        draft = place.with_name(f".{place.name}")
        for folder in (draft, place):
            shutil.rmtree(folder, ignore_errors=True)
        draft.mkdir()
        config, generation = model.config, model.generation_config
        use_cache = config.use_cache
        with writing(self._folder):
            save_model(model, self._tokenizer, draft)
        for other in [path for path in draft.iterdir() if path.is_dir()]:
            shutil.rmtree(other)  # PEFT saves the adapter that TRL keeps as DPO's reference too, as `ref/`
        # Saving sets both for whoever opens the checkpoint; the training goes on with its own.
        config.use_cache, model.generation_config = use_cache, generation
        # Only a whole checkpoint has its name.
        draft.rename(place)


def kept_files(job: TrainJob, folder: Path) -> tuple[str, ...]:
    """Return the files of the kept checkpoints that are part of the result, in the folder of a finished stage.

    The file that names the place of an adapter's base is left out, as in `save_model`.
    """
    files = []
    for n_updates in job.recipe.keep_updates:
        place = folder / f"{KEPT_PREFIX}{n_updates}"
        files += [path for path in sorted(place.iterdir()) if path.name not in _left_out(place)]
    return tuple(str(path.relative_to(folder)) for path in files)


def _left_out(place: Path) -> frozenset[str]:
    from midspec.models import find_checkpoint

    found = find_checkpoint(str(place))
    names_place = found.adapter is not None and Path(found.model).expanduser().is_dir()
    return frozenset({"adapter_config.json"} if names_place else ())
