"""Weights in a checkpoint's files that transformers leaves out without a word, as a model computes text without them.

They are those of layers that predict further tokens (MTP, for a server's speculative decoding), and the towers of a
model for images and sound whose language model is opened by itself (Qwen 3.5).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter

from midspec.core.errors import CheckpointError, note

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_FILES = (INDEX, WHOLE, "pytorch_model.bin.index.json")
_SCALE = re.compile(r"weight_(?:scale|packed|zero_point)|\.(?:scales|qzeros|qweight)$")  # of weights, not of caches
QUANTISED = "Use the model's checkpoint in bfloat16, or install what it names"
_PARTS = re.compile(r"(?:^|[._])(?:mtp|nextn|visual|vision|audio|talker|token2wav|code2wav)")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def left_out(model: Any, place: str) -> set[str]:
    """Return the names of such weights.

    Args:
        model: as it was opened.
        place: the folder or hub name that it was opened from.
    """
    patterns = getattr(model, "_keys_to_ignore_on_load_unexpected", None)
    if not patterns:
        return set()
    ignored = re.compile("|".join(f"(?:{pattern})" for pattern in sorted(patterns)))
    # What was learnt, and no buffer of an older version (masks, angles of positions).
    return {name for name in _saved(place) if ignored.search(name) and _is_other_part(model, name)}


def _is_other_part(model: Any, name: str) -> bool:
    n_layers = getattr(model.config.get_text_config(), "num_hidden_layers", sys.maxsize)
    layer = _LAYER.search(name)
    return bool(_PARTS.search(name)) or (layer is not None and int(layer[1]) >= n_layers)


def take_as_plain(model: Any, unused: Collection[str], where: str) -> None:
    """Take the mark of quantised weights out of a model that was opened as a plain one.

    Args:
        model: as it was opened.
        unused: names in its files that are no part of it.
        where: it is.

    Raises:
        CheckpointError: scales of its weights are among them (NVIDIA's modelopt): they were read without.
    """
    if scales := [name for name in unused if _SCALE.search(name) and not _is_other_part(model, name)]:
        what = f"its weights are quantised in a way that transformers does not read ({min(scales)}, say)"
        raise CheckpointError(what, where=where, hint=QUANTISED)
    note(f"its weights are quantised, and are computed as {model.dtype}", where)
    if hasattr(model.config, "quantization_config"):  # what is saved of it is plain
        del model.config.quantization_config
    # Saving turns back what loading did: transformers 5.23 gives plain weights of gpt-oss the names of quantised ones.
    renamings = [step for step in model._weight_conversions or () if not isinstance(step, WeightConverter)]  # noqa: SLF001
    model._weight_conversions = [  # noqa: SLF001
        *renamings,
        *(step for step in get_model_conversion_mapping(model, add_legacy=False) if isinstance(step, WeightConverter)),
    ]


def is_saved_twice(folder: Path) -> bool:
    """Return whether a folder has weights in one file and an index of others; MLX writes an index of the one file."""
    with suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return (folder / WHOLE).is_file() and set(index["weight_map"].values()) != {WHOLE}
    return False


def _saved(place: str) -> set[str]:
    for file in _FILES:
        path: Any = Path(place) / file if Path(place).exists() else try_to_load_from_cache(place, file)
        if not isinstance(path, str | Path) or not Path(path).is_file():
            continue
        if file.endswith(".json"):
            return set(json.loads(Path(path).read_text(encoding="utf-8")).get("weight_map", {}))
        with safe_open(path, framework="pt") as weights:
            return set(weights.keys())
    return set()
