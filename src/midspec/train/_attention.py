"""Attention inside each document of packed rows, and nothing computed between documents.

transformers gives packed rows a mask over all pairs of a row's tokens, and the CPU's attention computes all of them:
eight documents in a row cost eight times what they need. Here the documents are found in the mask function that
transformers hands to every attention implementation, so whatever the model's own mask says (a sliding window, chunks)
holds inside each document. Registered in transformers' attention interface as `DOCUMENT_ATTENTION`.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention, softmax
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from midspec.train._causal import CausalAttention

DOCUMENT_ATTENTION = "midspec_documents"

# Documents are padded to the longest of their group: at most an eighth, or up to 16 tokens, is added.
_LONGEST_SHARE, _SHORT_TOKENS = 0.875, 16
# What changes the scores of a layer in ways that are not computed here.
_UNKNOWN = ("s_aux", "sinks", "position_bias", "cache", "head_mask")

# FlashAttention knows no others; float32 is computed in groups on a GPU too.
_FLASH_DTYPES = (torch.bfloat16, torch.float16)

MaskFunction = Callable[..., torch.Tensor]


class Group(NamedTuple):
    """Documents padded on the right to `n_tokens`; their own mask, (documents, 1, tokens, tokens), if not causal."""

    n_documents: int
    n_tokens: int
    mask: torch.Tensor | None


class Documents(NamedTuple):
    """The documents of a batch, in groups of like length; stands where layers expect their attention mask.

    Attributes:
        groups: from long to short.
        source: the token, counted over the whole batch, that stands at each place of the groups laid end to end.
        place: the inverse: where each token of the batch stands.
        is_whole: the groups are the batch as it is, so nothing has to be moved.
        bounds: where each document begins in the batch, and the end of the last; for kernels of varying lengths.
        window: how many tokens the longest document's last one sees, itself included; 0 where its mask is no window.
    """

    groups: tuple[Group, ...]
    source: torch.Tensor
    place: torch.Tensor
    is_whole: bool
    bounds: torch.Tensor
    window: int


def find_documents(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: MaskFunction | None = None,
    attention_mask: torch.Tensor | None = None,
    **more: Any,
) -> Documents | torch.Tensor | None:
    """Find the documents of a batch in its mask function; transformers calls this once a forward pass.

    A document begins where a token does not see the one before it. Batches with a cache and masks that are composed
    for a model (`use_vmap`) get transformers' own mask.

    Args:
        batch_size: rows.
        q_length: tokens of a row.
        kv_length: tokens that can be seen.
        q_offset: of the first token, in a cache.
        kv_offset: of the first token that can be seen.
        mask_function: of (row, head, token, seen token), each a tensor, whether it is seen.
        attention_mask: (rows, tokens), false for padding.
        **more: what else transformers gives a mask's maker.
    """
    if q_length != kv_length or q_offset or kv_offset or more.get("use_vmap") or mask_function is None:
        given = {} if mask_function is None else {"mask_function": mask_function}
        own: torch.Tensor | None = sdpa_mask(
            batch_size, q_length, kv_length, q_offset, kv_offset, attention_mask=attention_mask, **given, **more
        )
        return own
    device = torch.device(more.get("device", "cpu"))
    rows = torch.arange(batch_size, device=device).view(-1, 1)
    head = torch.zeros((1, 1), dtype=torch.long, device=device)
    tokens = torch.arange(1, q_length, device=device).view(1, -1)
    joined = mask_function(rows, head, tokens, tokens - 1).expand(batch_size, q_length - 1)
    if attention_mask is not None:
        joined = joined & (attention_mask[:, 1:] == attention_mask[:, :-1])
    starts = torch.nn.functional.pad(~joined, (1, 0), value=True).flatten().nonzero().flatten()
    return group_documents(starts, batch_size, q_length, mask_function)


def group_documents(starts: torch.Tensor, batch_size: int, n_tokens: int, mask_function: MaskFunction) -> Documents:
    """Put documents of like length in groups.

    Args:
        starts: where each document begins, counted over the whole batch.
        batch_size: rows.
        n_tokens: of a row.
        mask_function: says what is seen inside a document.
    """
    device = starts.device
    total = batch_size * n_tokens
    bounds = torch.cat([starts, starts.new_tensor([total])])
    lengths = bounds.diff().tolist()
    order = sorted(range(len(lengths)), key=lambda at: (lengths[at], at))
    groups, sources, place, laid = [], [], torch.empty(total, dtype=torch.long, device=device), 0
    while order:
        longest = lengths[order[-1]]
        least = longest * _LONGEST_SHARE if longest > _SHORT_TOKENS else 1
        n = next((n for n, at in enumerate(reversed(order)) if lengths[at] < least), len(order))
        members, order = sorted(order[-n:]), order[:-n]
        begin = starts[members].unsqueeze(1)
        inside = torch.arange(longest, device=device)
        is_real = inside < torch.tensor([lengths[at] for at in members], device=device).unsqueeze(1)
        source = torch.where(is_real, begin + inside, begin)
        place[source[is_real]] = laid + is_real.flatten().nonzero().flatten()
        groups.append(Group(n, longest, _own_mask(begin, longest, n_tokens, is_real, mask_function)))
        sources.append(source.flatten())
        laid += n * longest
    source, window = torch.cat(sources), _window(groups[0])
    is_whole = len(source) == total and bool((source == torch.arange(total, device=device)).all())
    return Documents(tuple(groups), source, place, is_whole, bounds.to(torch.int32), window)


def _own_mask(
    begin: torch.Tensor, length: int, n_tokens: int, is_real: torch.Tensor, mask_function: MaskFunction
) -> torch.Tensor | None:
    """Compute what is seen inside each document of a group; `None` where that is all tokens before, and itself."""
    inside = torch.arange(length, device=begin.device)
    causal = inside.view(1, -1, 1) >= inside.view(1, 1, -1)
    row, offset = (begin // n_tokens).unsqueeze(2), (begin % n_tokens).unsqueeze(2)
    # Padding after a document may lie past the row's end; nobody sees it, and what it sees does not matter.
    last = n_tokens - 1
    seen = mask_function(
        row,
        torch.zeros_like(row),
        (offset + inside.view(1, -1, 1)).clamp(max=last),
        (offset + inside.view(1, 1, -1)).clamp(max=last),
    )
    pairs = is_real.unsqueeze(2) & is_real.unsqueeze(1)
    if bool(((seen == causal) | ~pairs).all()):
        return None
    return torch.where(pairs, seen, causal).unsqueeze(1)


def _window(group: Group) -> int:
    if group.mask is None:
        return group.n_tokens
    seen = group.mask[:1, 0]  # the longest document comes first where documents of a group are sorted
    width = int(seen.sum(-1).max())
    inside = torch.arange(group.n_tokens, device=seen.device)
    back = inside.unsqueeze(1) - inside
    return width if bool((seen == ((back >= 0) & (back < width))).all()) else 0


class _Lay(torch.autograd.Function):
    """The rows of a table laid out in groups, padding with them; the gradient is that of each row's own place."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, source: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(place)
        return table.index_select(0, source)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (place,) = ctx.saved_tensors
        return grads[0].index_select(0, place), None, None


class _Restore(torch.autograd.Function):
    """The rows of the batch out of the groups, in their order; padding has no gradient."""

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(place)
        ctx.n_places = len(table)
        return table.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (place,) = ctx.saved_tensors
        laid = grads[0].new_zeros((ctx.n_places, grads[0].shape[1]))
        return laid.index_copy_(0, place, grads[0]), None


def document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Documents | torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention inside each document; the signature is that of transformers' attention interface.

    Args:
        module: the layer.
        query: (rows, heads, tokens, size).
        key: as `query`, with as many heads as the model has for keys.
        value: as `key`.
        attention_mask: what `find_documents` returned.
        dropout: the share of attention weights to drop.
        scaling: of the scores; one by the root of the size when not given.
        softcap: bounds the scores (Gemma 2).
        **more: what else a layer says; what is not known here is refused.

    Raises:
        NotImplementedError: the layer asks for what is not computed here.
    """
    unknown = [name for name in _UNKNOWN if more.get(name) is not None]
    if unknown:
        raise NotImplementedError(f"attention with {', '.join(unknown)}")
    if not isinstance(attention_mask, Documents):
        if softcap is not None:
            raise NotImplementedError("attention with softcap under a mask over whole rows")
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return output
    # Under autocast rotary embeddings leave queries and keys in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if query.device.type == "cuda" and query.dtype in _FLASH_DTYPES:
        return _varying_lengths(query, key, value, attention_mask, dropout, scaling, softcap), None
    return _grouped(query, key, value, attention_mask, dropout, scaling, softcap), None


def _grouped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    dropout: float,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Compute attention group by group; returns (rows, tokens, heads, size)."""
    n_rows, n_heads, n_tokens, _ = query.shape
    laid = []
    for part in (query, key, value):
        table = part.transpose(1, 2).reshape(n_rows * n_tokens, -1)
        if not documents.is_whole:
            table = _Lay.apply(table, documents.source, documents.place)  # type: ignore[no-untyped-call]
        laid.append(table)
    sizes = [group.n_documents * group.n_tokens for group in documents.groups]
    outputs = []
    for group, *tables in zip(documents.groups, *(torch.split(table, sizes) for table in laid), strict=True):
        parts = [
            table.view(group.n_documents, group.n_tokens, part.shape[1], part.shape[3]).transpose(1, 2)
            for table, part in zip(tables, (query, key, value), strict=True)
        ]
        queries = parts[0]
        if query.dtype == torch.bfloat16 and group.mask is None and not dropout and softcap is None:
            out = CausalAttention.apply(*parts, scaling)  # type: ignore[no-untyped-call]
        elif softcap is None:
            out = scaled_dot_product_attention(
                queries,
                parts[1],
                parts[2],
                attn_mask=group.mask,
                dropout_p=dropout,
                scale=scaling,
                is_causal=group.mask is None,
                enable_gqa=key.shape[1] != n_heads,
            )
        else:
            keys, values = (repeat_kv(part, n_heads // part.shape[1]) for part in parts[1:])
            out = _capped(queries, keys, values, group.mask, dropout, scaling, softcap)
        outputs.append(out.transpose(1, 2).reshape(group.n_documents * group.n_tokens, -1))
    together = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if not documents.is_whole:
        together = _Restore.apply(together, documents.place)  # type: ignore[no-untyped-call]
    return together.view(n_rows, n_tokens, n_heads, -1)


def _capped(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    dropout: float,
    scaling: float | None,
    softcap: float,
) -> torch.Tensor:
    """Compute attention whose scores are bounded by `softcap` (Gemma 2, arXiv 2408.00118)."""
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    weights = softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1, dtype=torch.float32)
    return torch.dropout(weights.to(query.dtype), dropout, train=dropout > 0) @ value


def _varying_lengths(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    dropout: float,
    scaling: float | None,
    softcap: float | None,
) -> torch.Tensor:
    """Compute attention by torch's FlashAttention for sequences of varying lengths (GPU, half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    if dropout or softcap is not None or not documents.window:
        raise NotImplementedError("attention with dropout, softcap or chunks on a GPU")
    longest = documents.groups[0].n_tokens
    window = documents.window - 1 if documents.window < longest else -1
    queries, keys, values = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    bounds, known = documents.bounds, signature(varlen_attn).parameters
    # Before torch 2.12 heads of keys may be fewer without saying so.
    shared: dict[str, Any] = {"enable_gqa": query.shape[1] != key.shape[1]} if "enable_gqa" in known else {}
    out = varlen_attn(
        queries, keys, values, bounds, bounds, longest, longest, scale=scaling, window_size=(window, 0), **shared
    )
    assert isinstance(out, torch.Tensor)
    return out.view(query.shape[0], query.shape[2], query.shape[1], -1)


def register() -> None:
    """Make `DOCUMENT_ATTENTION` a name that `set_attn_implementation` takes."""
    AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
    AttentionMaskInterface.register(DOCUMENT_ATTENTION, find_documents)
