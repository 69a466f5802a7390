"""What many sequences begin with, computed once: a whole spec before each of a thousand questions, say.

A transformer's keys and values of a position hang on what stands before it alone. So the beginning that all sequences
of a call share goes through the model once, and every batch continues from its keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

__all__ = ["NO_PREFIX", "Prefix", "common_length", "computed"]

# Under this many tokens a second, shorter pass costs more than it saves.
_WORTH_TOKENS = 64
_CACHE_BYTES = 512 * 2**20


class Prefix(NamedTuple):
    """The shared beginning's keys and values by layer, each (1, heads, `length`, size); none where `length` is 0."""

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, n_rows: int) -> DynamicCache:
        """A cache of its own for a batch of `n_rows` sequences that begin so."""
        return DynamicCache([(_each(keys, n_rows), _each(values, n_rows)) for keys, values in self.layers])

    def most_rows(self, width: int) -> int:
        """How many sequences of `width` further tokens fit the memory that a batch's copies may take."""
        n_bytes = sum(part.element_size() * part.numel() for layer in self.layers for part in layer)
        return max(1, int(_CACHE_BYTES // max(1.0, n_bytes * (1 + width / max(1, self.length)))))


NO_PREFIX = Prefix(0, ())


def _each(part: torch.Tensor, n_rows: int) -> torch.Tensor:
    """`part` for every row of a batch, without a copy."""
    return part.expand(n_rows, -1, -1, -1)


def common_length(sequences: Sequence[list[int]], keep: Sequence[int]) -> int:
    """How many tokens all `sequences` begin with; 0 where sharing them is not worth a pass.

    Args:
        sequences: token ids.
        keep: for each sequence, how many of its last tokens must stay out of what is shared (at least 1).
    """
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)  # what these two share, all that sort between them share
    most = min(len(ids) - kept for ids, kept in zip(sequences, keep, strict=True))
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, (first, last)))
    )
    length = min(length, most)
    return length if length >= _WORTH_TOKENS else 0


def computed(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """The keys and values of `ids`; `NO_PREFIX` for a model whose layers keep anything but all of them.

    (A sliding window forgets, a recurrent layer keeps a state: what those hold can't be continued row by row.)
    """
    cache = DynamicCache(config=model.config)
    if not ids or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return NO_PREFIX
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    return Prefix(len(ids), tuple((layer.keys, layer.values) for layer in cache.layers))
