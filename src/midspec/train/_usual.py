"""Settings of training that are far from what anybody uses, or are not used: told before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from midspec.train._job import Recipe


class _Bounds(NamedTuple):
    """Values from `low` to `high` are not told; `usual` is what most recipes have."""

    low: float
    high: float
    usual: str


# Wider than what is usual: the nano world's tiny models take 3e-3, a row of theirs 96 tokens.
_BOUNDS = {
    "learning_rate": _Bounds(
        1e-7,
        2e-2,
        "1e-5 to 1e-3 with LoRA, 1e-6 to 1e-4 for all weights, to 1e-2 for a tiny model from scratch",
    ),
    "weight_decay": _Bounds(0, 1, "0 to 0.1"),
    "beta1": _Bounds(0.5, 0.99, "0.9"),
    "beta2": _Bounds(0.9, 1, "0.95 to 0.999"),
    "max_grad_norm": _Bounds(0.01, 1000, "0.3 to 5"),
    "n_epochs": _Bounds(1, 50, "1 to 5"),
    "warmup_fraction": _Bounds(0, 0.5, "0 to 0.1"),
    "rows_per_update": _Bounds(1, 8192, "1 to 512"),
    "row_tokens": _Bounds(32, 262_144, "512 to 32,768; about 100 to 200 in the nano world"),
    "lora.r": _Bounds(1, 1024, "8 to 256"),
    "lora.dropout": _Bounds(0, 0.5, "0 to 0.1"),
    "dpo.beta": _Bounds(0.001, 10, "0.01 to 0.5"),
    "grpo.temperature": _Bounds(0.1, 2, "0.6 to 1.2"),
    "grpo.beta": _Bounds(0, 1, "0 to 0.1"),
    "grpo.group_size": _Bounds(2, 256, "4 to 64"),
}
_SCALES = _Bounds(0.1, 32, "1 to 2")


def unusual_settings(recipe: Recipe, stage: str | None = None) -> tuple[str, ...]:
    """Say which settings of a recipe are far outside what is usual, or are not used, a sentence each.

    Args:
        recipe: of a stage.
        stage: which; `None` for a recipe of several.
    """
    return (*_unusual(recipe), *_unused(recipe, stage))


def _unused(recipe: Recipe, stage: str | None) -> Iterator[str]:
    given = recipe.model_fields_set
    if "lora" in given and "method" not in given:
        yield "lora is set, and method is full, so that all weights are trained: set method to lora, or leave lora out"
    if recipe.schedule == "constant" and recipe.final_lr_fraction:
        yield "final_lr_fraction is not used, as schedule is constant: set schedule to cosine, or leave it out"
    if recipe.warmup_updates is not None and "warmup_fraction" in given:
        yield "warmup_fraction is not used, as warmup_updates is set: leave one of them out"
    if stage in ("dpo", "grpo") and recipe.n_epochs > 1:
        yield f"n_epochs is not used: {stage} goes through its data as often as n_updates needs. Leave it out"


def _unusual(recipe: Recipe) -> Iterator[str]:
    for path, bounds in _BOUNDS.items():
        section, _, name = path.rpartition(".")
        if section == "lora" and recipe.method != "lora":
            continue
        holder = getattr(recipe, section) if section else recipe
        value = None if holder is None else getattr(holder, name)
        if value is not None and not bounds.low <= value <= bounds.high:
            yield f"{path} {value:,g} is far from what is usual ({bounds.usual}): correct it, unless it is meant"
    scale = recipe.lora.alpha / recipe.lora.r
    if recipe.method == "lora" and not _SCALES.low <= scale <= _SCALES.high:
        what = f"lora.alpha {recipe.lora.alpha} is {scale:.3g} times lora.r {recipe.lora.r}"
        yield f"{what}, and usual is {_SCALES.usual} times: correct it, unless it is meant"
    n_updates, n_warmup = recipe.n_updates, recipe.warmup_updates
    if n_updates is not None and n_warmup is not None and n_warmup > n_updates // 2:
        yield (
            f"warmup_updates {n_warmup:,} of n_updates {n_updates:,}: the learning rate is hardly reached; "
            "usual is a tenth at most"
        )
