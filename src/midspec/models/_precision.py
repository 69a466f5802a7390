"""Which numbers to compute with on this machine: float32, or bfloat16 where that is measured to be faster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from midspec.core.records import Checkpoint
from midspec.models._open import OPENING_ERRORS, open_config

# From here on matrix products take most of an update: a Qwen3 of width 256 trains 1.9 times as fast in bfloat16 (with
# AVX-512 BF16). Narrower models spend their time elsewhere, and their results are compared bit for bit.
MIN_HIDDEN = 256
_SIZE, _ROUNDS = 1024, 3
# Processors without units for bfloat16 are 0.03 to 0.9 times as fast with it, those with them 3 to 16 times.
_WORTH = 1.5


def pick_dtype(device: torch.device, hidden_size: int) -> torch.dtype:
    """Choose the numbers that a model is computed with: bfloat16 on a GPU, on a CPU where it is faster.

    Args:
        device: where the model is computed.
        hidden_size: of the model; under 256 it is float32 on a CPU.
    """
    if device.type == "cuda":
        return torch.bfloat16
    if device.type != "cpu" or hidden_size < MIN_HIDDEN:
        return torch.float32
    return torch.bfloat16 if _bfloat16_gain(torch.get_num_threads()) >= _WORTH else torch.float32


@cache
def _bfloat16_gain(_n_threads: int) -> float:
    """Measure how many times as fast a matrix product is in bfloat16; under 0.2 s, once a process.

    What the processor says it has is no guide: with the same flags one machine was 4.5 times as fast, another 30
    times as slow.
    """
    return _product_seconds(torch.float32) / _product_seconds(torch.bfloat16)


def _product_seconds(dtype: torch.dtype) -> float:
    """Measure the least CPU time of a square matrix product; a quarter of it first, and that alone where it is slow."""
    spent = _timed(_SIZE // 4, dtype) * 4**3
    if spent > 0.2:
        return spent
    return min(_timed(_SIZE, dtype) for _ in range(_ROUNDS))


def _timed(size: int, dtype: torch.dtype) -> float:
    left = torch.ones((size, size), dtype=dtype)
    with torch.inference_mode():
        left[:64, :64] @ left[:64, :64]  # loads the kernel
        start = time.process_time()
        left @ left
        return max(time.process_time() - start, 1e-6)


def hidden_size_of(checkpoint: Checkpoint) -> int:
    """Read the hidden size of a checkpoint's model from its configuration; 0 where it does not say."""
    config = _config_of(checkpoint)
    return 0 if config is None else int(getattr(config.get_text_config(), "hidden_size", 0) or 0)


def window_of(checkpoint: Checkpoint) -> int | None:
    """Read for how many tokens a checkpoint's model was made; `None` where its configuration sets no bound."""
    config = _config_of(checkpoint)
    return None if config is None else window_in(config)


def window_in(config: Any) -> int | None:
    """Return for how many tokens a model of this configuration was made; `None` where it sets no bound."""
    text = config.get_text_config()
    bound = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    if not isinstance(bound, int) or bound <= 0:
        return None
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    scaling = scaling if isinstance(scaling, Mapping) else {}
    # Some name the length before it was stretched, and by how much.
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if isinstance(original, int) and isinstance(factor, int | float):
        return max(bound, int(original * factor))
    return bound


def rope_switch_in(config: Any) -> int | None:
    """Return beyond how many tokens a model takes other positions for a whole batch (longrope); `None` for most.

    transformers (5.23) chooses them by the longest row of a batch: what stands on both sides is to be kept apart.
    """
    text = config.get_text_config()
    found = getattr(text, "rope_parameters", None)
    ropes = [found, *found.values()] if isinstance(found, Mapping) else []  # one for each type of layer, or one for all
    for rope in ropes:
        if isinstance(rope, Mapping) and rope.get("rope_type") == "longrope":
            original = rope.get("original_max_position_embeddings")
            return original if isinstance(original, int) else None
    return None


def _config_of(checkpoint: Checkpoint) -> Any | None:
    try:
        return open_config(checkpoint.model)
    except OPENING_ERRORS:  # it is said when the model is opened
        return None


def fold_rows_for_logits(model: Any) -> None:
    """Have the output layer of a model in bfloat16 see its states in one piece, so that a batch is one product.

    torch 2.13 makes one product a row of states that are cut out of others (the last ones of each prompt), and on a CPU
    in bfloat16 one copy of the weights a row: 6.9 GB for 128 prompts of SmolLM2-135M.
    """
    head = model.get_output_embeddings()
    if head is not None and model.dtype == torch.bfloat16:
        head.register_forward_pre_hook(lambda _, states: (states[0].contiguous(), *states[1:]))
