"""Pointwise parts of a model as one kernel each on a GPU: gates of feed-forward parts and rotary embeddings.

Eager torch reads and writes all states once for every step of such a formula. Whole layers are not compiled: packed
documents have other lengths in each batch, and each batch would be compiled anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch.nn import functional

from midspec.train._forwards import computed_by

_BACKEND = "inductor"  # other ones in tests: where there is no GPU there may be no compiler either

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "SiLUActivation": functional.silu,
    "SiLU": functional.silu,
    "GELUTanh": partial(functional.gelu, approximate="tanh"),
}
_GATED = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_ROTARY = "apply_rotary_pos_emb"


def compile_parts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors of any length; errors come when it is first called."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=True, backend=_BACKEND)
    return compiled


@contextmanager
def compiled_parts(model: Any) -> Iterator[int]:
    """Compute gates and rotary embeddings by compiled kernels within it; gives the number of parts."""
    modules = {type(module).__module__ for module in model.modules()}
    rotary = [module for name in sorted(modules) if _ROTARY in vars(module := sys.modules[name])]
    with ExitStack() as stack:
        n_gates = stack.enter_context(computed_by(model, _is_gated, _feed_forward))
        for module in rotary:
            own = getattr(module, _ROTARY)
            stack.callback(setattr, module, _ROTARY, own)
            setattr(module, _ROTARY, _rotation(own))
        yield n_gates + len(rotary)


def _is_gated(module: Any) -> bool:
    """Return whether a layer is a gated feed-forward part (arXiv 2002.05202) with an activation that is known here."""
    parts = dict(module.named_children())
    return set(parts) == _GATED and type(parts["act_fn"]).__name__ in _ACTIVATIONS and "forward" not in vars(module)


def _feed_forward(module: Any, states: torch.Tensor) -> torch.Tensor:
    product = _product(type(module.act_fn).__name__)(module.gate_proj(states), module.up_proj(states))
    output: torch.Tensor = module.down_proj(product)
    return output


@cache
def _product(activation: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    function = _ACTIVATIONS[activation]

    def product(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return function(gate) * up

    return compile_parts(product)


@cache
def _rotation(own: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a family's own function of queries and keys, whose results get the numbers of what they were made of.

    They lie in memory token by token, as kernels for varying lengths want them.
    """

    def rotation(query: torch.Tensor, key: torch.Tensor, *args: Any, **more: Any) -> tuple[torch.Tensor, torch.Tensor]:
        queries, keys = own(query, key, *args, **more)
        return _by_token(queries.to(query.dtype)), _by_token(keys.to(key.dtype))

    return compile_parts(rotation)


def _by_token(states: torch.Tensor) -> torch.Tensor:
    return states.transpose(1, 2).contiguous().transpose(1, 2)
