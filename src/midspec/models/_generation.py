"""Continuing a batch token by token, with a cache that grows and without the rows that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache

from midspec.core.errors import note
from midspec.models._cache import NO_PREFIX, GrowingLayer, Prefix, is_plain, parameters_of
from midspec.models._scoring import Batch, computes_padded, pad
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
    fed, mask, positions = batch
    name = cache_argument(model, fed.device)
    cache = prefix.growing_cache(len(fed), model.config) if name else None
    written: list[list[int]] = [[] for _ in range(len(fed))]
    rows, ended = list(range(len(fed))), set[int]()
    new = slice(None)  # what the cache does not hold; without one, all
    with torch.inference_mode():
        for _ in range(limit):
            logits = model(
                input_ids=fed[:, new],
                attention_mask=mask,
                position_ids=positions[:, new],
                use_cache=cache is not None,
                logits_to_keep=1,
                **({name: cache} if name else {}),
            ).logits[:, -1]
            token = _next_tokens(logits, temperature, [draws[row] for row in rows])
            for row, one in zip(rows, token.tolist(), strict=True):
                if row not in ended:
                    written[row].append(one)
                    if ends.has_ended(written[row]):
                        ended.add(row)
            going = [at for at, row in enumerate(rows) if row not in ended]
            if not going:
                break
            fed = torch.cat([fed, token.unsqueeze(1)], dim=1)
            positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
            is_due = drops_ended and len(rows) - len(going) > _FINISHED_SHARE * len(rows)
            if is_due and (cache is None or all(type(layer) is GrowingLayer for layer in cache.layers)):
                kept = torch.tensor(going, device=fed.device)
                if cache is not None:
                    cache.batch_select_indices(kept)
                fed, positions, mask, rows = fed[kept], positions[kept], mask[kept], [rows[at] for at in going]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            new = slice(None) if cache is None else slice(-1, None)
            if rope_switch is not None and int(positions.max()) == rope_switch:
                # What is kept is of the other positions: computed again, as transformers' own `generate` does.
                positions, new = torch.arange(fed.shape[1], device=fed.device).expand_as(fed), slice(None)
                cache = prefix.growing_cache(len(fed), model.config) if name else None
    return written


def _next_tokens(logits: torch.Tensor, temperature: float, draws: Sequence[torch.Generator]) -> torch.Tensor:
    """Choose one token a row of `logits`, (rows, vocabulary): the likeliest, or drawn with the row's generator."""
    if temperature <= 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(logits.double() / temperature, dim=-1).cpu()
    drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(shares, draws, strict=True)]
    return torch.cat(drawn).to(logits.device)


_CACHE_ARGUMENT: WeakKeyDictionary[torch.nn.Module, str | None] = WeakKeyDictionary()


def cache_argument(model: Any, device: torch.device) -> str | None:
    """Return the name under which a model takes transformers' cache; `None` where it can't go on from one.

    Measured once a model that is not known to: some families have a cache of another class (MiniMax, xLSTM), take it
    under another name and swallow this one, so that each token would see itself alone (Mamba 2, RWKV), or fail behind
    padding (transformers 5.23). They are computed without any, each token with all before it.

    Args:
        model: on `device`.
        device: where to compute.
    """
    if model not in _CACHE_ARGUMENT:
        named = parameters_of(model)
        name = next((one for one in ("past_key_values", "cache_params") if one in named), None)
        if name is not None and not is_plain(model) and not _goes_on(model, name, device):
            name = None
        if name is None:
            kind = model.config.model_type
            what = f"a model of the family {kind} is computed without a cache, each token with all before it: slowly"
            note(what, str(model.config.name_or_path))
        _CACHE_ARGUMENT[model] = name
    return _CACHE_ARGUMENT[model]


def _goes_on(model: Any, name: str, device: torch.device) -> bool:
    n_ids, n_more = int(model.get_input_embeddings().weight.shape[0]), 3
    second = 7 if computes_padded(model, device) else 1
    whole = pad([[at % n_ids for at in range(first, 14)] for first in (1, second)], NO_PREFIX, n_ids // 2, device)
    start = whole.ids.shape[1] - n_more
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            given = {"attention_mask": whole.mask, "position_ids": whole.positions}
            expected = model(input_ids=whole.ids, **given, use_cache=False).logits[:, start:].float()
            single = [part[:, start:].reshape(-1, 1) for part in (whole.ids, whole.positions)]
            alone = model(input_ids=single[0], position_ids=single[1], use_cache=False).logits.view_as(expected).float()
            cache, found = DynamicCache(config=model.config), []
            for at in range(start, start + n_more + 1):
                part = slice(0, at) if at == start else slice(at - 1, at)
                given = {"attention_mask": whole.mask[:, :at], "position_ids": whole.positions[:, part]}
                logits = model(input_ids=whole.ids[:, part], **given, use_cache=True, **{name: cache}).logits
                found.append(logits[:, -1].float())
    except (ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError):
        return False
    finally:
        model.train(training)
    # Rounding adds up over deep layers: what tells is how much of what the tokens before make of them is lost.
    off, past = ((logits - expected).abs().mean() for logits in (torch.stack(found[1:], dim=1), alone))
    return bool(off <= (1e-3 if model.dtype == torch.float32 else 0.3) * past)
