"""Causal attention whose gradients are made by products of blocks, for bfloat16 on a CPU.

The backward of torch's CPU attention takes 1.5 to 5 times as long in bfloat16 as these products do on matrix units,
most for short documents, and its error is larger.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

# Queries of a block: fewer make products slower, more compute more scores that are not seen.
BLOCK_QUERIES = 192


class CausalAttention(torch.autograd.Function):
    """Attention of every token to itself and those before."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """Compute torch's attention of (documents, heads, tokens, size); a key's head may serve several of queries."""
        ctx.save_for_backward(query, key, value)
        ctx.scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=key.shape[1] != query.shape[1]
        )

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the weights of a block of queries at a time again, and the gradients from them."""
        query, key, value = ctx.saved_tensors
        n, n_heads, n_tokens, size = query.shape
        n_key_heads = key.shape[1]
        # Queries that share a key's head are rows of one matrix.
        shared = (n, n_key_heads, n_heads // n_key_heads, n_tokens, size)
        queries, grad = query.reshape(shared), grads[0].reshape(shared)
        keys, values = (part.reshape(-1, n_tokens, size) for part in (key, value))
        grad_queries = query.new_empty((n, n_tokens, n_heads, size)).transpose(1, 2).view(shared)
        exact = torch.promote_types(query.dtype, torch.float32)
        grad_keys, grad_values = torch.zeros_like(keys, dtype=exact), torch.zeros_like(values, dtype=exact)
        unseen = query.new_full((min(BLOCK_QUERIES, n_tokens),) * 2, -math.inf).triu_(1)
        with torch.autocast(query.device.type, enabled=False):
            for start in range(0, n_tokens, BLOCK_QUERIES):
                end = min(start + BLOCK_QUERIES, n_tokens)
                rows, grad_rows = (part[..., start:end, :].reshape(len(keys), -1, size) for part in (queries, grad))
                seen, width = keys[:, :end], end - start
                scores = _scaled(rows, seen.transpose(1, 2), ctx.scaling)
                scores.view(len(keys), -1, width, end)[..., start:].add_(unseen[:width, :width])
                weights = torch.softmax(scores, -1)
                grad_weights = torch.bmm(grad_rows, values[:, :end].transpose(1, 2))
                grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)  # noqa: SLF001
                grad_queries[..., start:end, :] = _scaled(grad_scores, seen, ctx.scaling).view(*shared[:3], width, size)
                grad_keys[:, :end] += _scaled(grad_scores.transpose(1, 2), rows, ctx.scaling)
                grad_values[:, :end] += torch.bmm(weights.transpose(1, 2), grad_rows)
        return (
            grad_queries.view(query.shape),
            grad_keys.view(key.shape).to(key.dtype),
            grad_values.view(value.shape).to(value.dtype),
            None,
        )


def _scaled(one: torch.Tensor, other: torch.Tensor, scale: float) -> torch.Tensor:
    """Multiply batches of matrices, and by `scale`, in one pass."""
    return torch.baddbmm(one.new_empty(()), one, other, beta=0, alpha=scale)
