"""Keys and values that are kept: of a beginning that sequences share, and of a batch while it is being continued."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from inspect import signature
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_CACHE_BYTES = 512 * 2**20
_ROOM_TOKENS = 64


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """A cache layer with room for what comes, so that a token more does not copy all that came before."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values, each (rows, heads, tokens, size), and return all."""
        held = 0 if self._room is None else self.keys.shape[-2]
        n_tokens = held + key_states.shape[-2]
        if self._room is None or n_tokens > self._room[0].shape[-2]:
            shapes = [(*part.shape[:2], n_tokens + _ROOM_TOKENS, part.shape[3]) for part in (key_states, value_states)]
            room = key_states.new_empty(shapes[0]), value_states.new_empty(shapes[1])
            if self._room is not None:
                for part, old in zip(room, (self.keys, self.values), strict=True):
                    part[:, :, :held] = old
            self._room, self.dtype, self.device = room, key_states.dtype, key_states.device
            self.is_initialized = True
        for part, new in zip(self._room, (key_states, value_states), strict=True):
            part[:, :, held:n_tokens] = new
        self.keys, self.values = (part[:, :, :n_tokens] for part in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some of the rows."""
        if self._room is not None:
            n_tokens = self.keys.shape[-2]
            self._room = (self._room[0][indices], self._room[1][indices])
            self.keys, self.values = (part[:, :, :n_tokens] for part in self._room)


class Prefix(NamedTuple):
    """A shared prefix's keys and values by layer, each (1, heads, `length`, size); none where `length` is 0."""

    length: int
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, n_rows: int) -> DynamicCache:
        """Make a cache for a batch of `n_rows` sequences that begin with the prefix, without a copy."""
        return DynamicCache(
            [(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1)) for keys, values in self.layers]
        )

    def growing_cache(self, n_rows: int, config: Any) -> DynamicCache:
        """Make a cache for a batch that begins with the prefix and is continued token by token."""
        cache = DynamicCache(config=config)
        if all(type(layer) is DynamicLayer for layer in cache.layers):
            cache.layers = [GrowingLayer() for _ in cache.layers]
        for layer, (keys, values) in zip(cache.layers, self.layers, strict=False):
            layer.update(keys.expand(n_rows, -1, -1, -1), values.expand(n_rows, -1, -1, -1))
        return cache

    def most_rows(self, width: int) -> int:
        """Return how many sequences of `width` further tokens fit the memory that a batch's copies may take."""
        n_bytes = sum(part.element_size() * part.numel() for layer in self.layers for part in layer)
        return max(1, int(_CACHE_BYTES // max(1.0, n_bytes * (1 + width / max(1, self.length)))))


NO_PREFIX = Prefix(0, ())


def keeps_all(config: Any) -> bool:
    """Return whether every layer keeps the keys and values of all tokens.

    (A sliding window forgets, a recurrent layer keeps a state: what those hold can't be continued row by row.)
    """
    return layer_kinds(config) <= {DynamicLayer}


def layer_kinds(config: Any) -> set[type]:
    """Return what the layers of a model keep; of a family whose cache can't be made, `object`."""
    with suppress(ValueError, LookupError, AttributeError, TypeError):
        return {type(layer) for layer in DynamicCache(config=config).layers}
    return {object}


def parameters_of(model: Any) -> set[str]:
    """Return what a model's forward names, below its adapter; the rest is swallowed by most."""
    return set(signature(getattr(model, "get_base_model", lambda: model)().forward).parameters)


def is_plain(model: Any) -> bool:
    """Return whether all that a model keeps are keys and values in transformers' own cache, at given positions."""
    named = {"position_ids", "past_key_values"}
    return layer_kinds(model.config) <= {DynamicLayer, DynamicSlidingWindowLayer} and named <= parameters_of(model)


def common_length(sequences: Sequence[list[int]], keep: Sequence[int], worth_tokens: int) -> int:
    """Return how many tokens all `sequences` begin with; 0 where sharing them is not worth a pass.

    Args:
        sequences: token ids.
        keep: for each sequence, how many of its last tokens must stay out of what is shared (at least 1).
        worth_tokens: under so many, a second, shorter pass costs more than it saves.
    """
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)  # what these two share, all that sort between them share
    most = min(len(ids) - kept for ids, kept in zip(sequences, keep, strict=True))
    length = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(map(len, (first, last)))
    )
    length = min(length, most)
    return length if length >= worth_tokens else 0


def compute_prefix(model: Any, ids: Sequence[int], device: torch.device) -> Prefix:
    """Compute the keys and values of `ids`; `NO_PREFIX` for a model whose layers keep anything but all of them."""
    if not ids or not keeps_all(model.config):
        return NO_PREFIX
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1
        )
    return Prefix(len(ids), tuple((layer.keys, layer.values) for layer in cache.layers))
