"""Continuing a batch token by token, with a cache that grows and without the rows that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from midspec.models._cache import GrowingLayer, Prefix
from midspec.models._scoring import Batch
from midspec.models._turn_ends import TurnEnding

# Finished rows leave a batch once they are this share of it: leaving copies what the cache holds of the others.
_FINISHED_SHARE = 0.2


def continue_batch(
    model: Any,
    batch: Batch,
    prefix: Prefix,
    *,
    ends: TurnEnding,
    limit: int,
    temperature: float,
    draws: Sequence[torch.Generator],
    rope_switch: int | None = None,
    drops_ended: bool,
) -> list[list[int]]:
    """Sample what follows each row of a batch, up to the end of its turn, which is included if it came.

    Args:
        model: on the batch's device.
        batch: the prompts after the prefix, padded on the left.
        prefix: what all prompts begin with.
        ends: what ends a turn.
        limit: the most new tokens of a row.
        temperature: 0 takes the likeliest token.
        draws: one generator a row, for sampling.
        rope_switch: beyond how many tokens the model takes other positions; rows that grow beyond it are of one length,
            and have no prefix.
        drops_ended: whether rows that have ended leave the batch.
    """
    ids, mask, positions = batch
    cache = prefix.growing_cache(len(ids), model.config)
    written: list[list[int]] = [[] for _ in range(len(ids))]
    rows, ended = list(range(len(ids))), set[int]()
    fed = ids
    with torch.inference_mode():
        for _ in range(limit):
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            token = _next_tokens(logits, temperature, [draws[row] for row in rows])
            for row, new in zip(rows, token.tolist(), strict=True):
                if row not in ended:
                    written[row].append(new)
                    if ends.has_ended(written[row]):
                        ended.add(row)
            going = [at for at, row in enumerate(rows) if row not in ended]
            if not going:
                break
            ids, positions = token.unsqueeze(1), positions[:, -1:] + 1
            fed = torch.cat([fed, ids], dim=1)
            n_ended = len(rows) - len(going)
            is_due = drops_ended and n_ended > _FINISHED_SHARE * len(rows)
            if is_due and all(type(layer) is GrowingLayer for layer in cache.layers):
                kept = torch.tensor(going, device=ids.device)
                cache.batch_select_indices(kept)
                ids, positions, mask, rows = ids[kept], positions[kept], mask[kept], [rows[at] for at in going]
                fed = fed[kept]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if rope_switch is not None and int(positions.max()) == rope_switch:
                # What is kept is of the other positions: computed again, as transformers' own `generate` does.
                ids, positions = fed, torch.arange(fed.shape[1], device=ids.device).expand_as(fed)
                cache = prefix.growing_cache(len(ids), model.config)
    return written


def _next_tokens(logits: torch.Tensor, temperature: float, draws: Sequence[torch.Generator]) -> torch.Tensor:
    """Choose one token a row of `logits`, (rows, vocabulary): the likeliest, or drawn with the row's generator."""
    if temperature <= 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(logits.double() / temperature, dim=-1).cpu()
    drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(shares, draws, strict=True)]
    return torch.cat(drawn).to(logits.device)
