"""The loss of a small decoder and its gradients, computed in one pass without autograd's bookkeeping.

A model of 350,000 weights spends more of an update between its matrix products than in them: on masks over all pairs
of a row's tokens, on rotary embeddings and norms of many small steps, on logits that nothing is learnt from. Here the
same sums are made with less: no token after the last that is learnt from, attention inside each document alone, the
first layer's projections once for each different token, the last layer only where something is predicted. What is
computed is the form that Llama has (arXiv 2302.13971) and most decoders since: RMSNorm before rotary attention, and
before a gated SiLU. Whether a model is of that form is not read off its name: `_probe.py` compares loss and gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear, silu

from midspec.train._decoder_layout import Laid, lay_out

_LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION_PARTS, _GATED_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}
# The rotary embeddings of these depend on the length of the row.
_VARYING_ROPE = {"dynamic", "longrope"}
_PER_LAYER = 9

_silu_backward = torch.ops.aten.silu_backward
_softmax_backward = torch.ops.aten._softmax_backward_data  # noqa: SLF001  # it has no other name


class Decoder(NamedTuple):
    """The weights of a model and their shapes.

    Attributes:
        weights: embedding; of each layer its norm, query, key, value, output, second norm, gate, up, down; last norm;
            head, unless it is the embedding.
        n_layers: how many.
        n_heads: of queries.
        n_kv: heads of keys and values.
        head_size: of each head.
        scaling: of the scores.
        eps: of the norms.
        padding_id: a token whose embedding is not trained, where there is one.
        turns: (positions, half a head), complex: the rotation of each position.
        pairs: the order of the rows of query, key and value weights in which the two that are turned together are
            neighbours; `unpaired` is its inverse.
        unpaired: see there.
    """

    weights: tuple[torch.Tensor, ...]
    n_layers: int
    n_heads: int
    n_kv: int
    head_size: int
    scaling: float
    eps: float
    padding_id: int | None
    turns: torch.Tensor
    pairs: torch.Tensor
    unpaired: torch.Tensor

    def gradients(
        self, inputs: Mapping[str, torch.Tensor], n_supervised: torch.Tensor | int
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Compute the summed cross-entropy of a packed batch's supervised tokens, and its gradient for each weight.

        Args:
            inputs: as `collate` makes them of packed rows.
            n_supervised: supervised tokens of the whole update, by which both are divided.
        """
        with torch.no_grad():
            if (laid := lay_out(inputs, self.turns, self.n_heads, self.n_kv)) is None:
                return torch.zeros(()), [torch.zeros_like(weight) for weight in self.weights]
            return _loss_and_gradients(self, laid, float(n_supervised))

    def add_gradients(self, inputs: Mapping[str, torch.Tensor], n_supervised: torch.Tensor | int) -> torch.Tensor:
        """Add the gradients to those of the weights; returns the loss. See `gradients`."""
        loss, gradients = self.gradients(inputs, n_supervised)
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return loss


def find_decoder(model: Any, n_positions: int) -> Decoder | None:
    """Find the parts of a model, all of it trained in float32; `None` where it has others, or they do more.

    Args:
        model: a causal language model.
        n_positions: tokens of a row.
    """
    base = getattr(model, "model", None)
    layers, rotary = getattr(base, "layers", None), getattr(base, "rotary_emb", None)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if base is None or not layers or rotary is None or not all(_is_plain(layer) for layer in layers):
        return None
    config, attention = model.config, layers[0].self_attn
    size, n_kv = getattr(attention, "head_dim", None), getattr(config, "num_key_value_heads", None)
    varying = (getattr(config, "rope_parameters", None) or {}).get("rope_type") in _VARYING_ROPE
    if size is None or n_kv is None or size % 2 or varying or getattr(config, "attention_dropout", 0):
        return None
    weights = [embedding.weight]
    for layer in layers:
        parts, gated = layer.self_attn, layer.mlp
        weights += [layer.input_layernorm.weight]
        weights += [part.weight for part in (parts.q_proj, parts.k_proj, parts.v_proj, parts.o_proj)]
        weights += [layer.post_attention_layernorm.weight]
        weights += [part.weight for part in (gated.gate_proj, gated.up_proj, gated.down_proj)]
    weights += [base.norm.weight] if head.weight is embedding.weight else [base.norm.weight, head.weight]
    trained = {id(weight) for weight in model.parameters() if weight.requires_grad and weight.dtype == torch.float32}
    if trained != {id(weight) for weight in weights} or {id(weight) for weight in model.parameters()} != trained:
        return None
    cos, sin = rotary(torch.zeros(1, 1), torch.arange(n_positions).unsqueeze(0))
    turned, n_turned = size // 2, (config.num_attention_heads + n_kv) * size
    pairs = torch.arange(n_turned + n_kv * size)
    pairs[:n_turned] = pairs[:n_turned].view(-1, 2, turned).transpose(1, 2).reshape(-1)
    return Decoder(
        weights=tuple(weights),
        n_layers=len(layers),
        n_heads=config.num_attention_heads,
        n_kv=n_kv,
        head_size=size,
        scaling=attention.scaling,
        eps=config.rms_norm_eps,
        padding_id=embedding.padding_idx,
        turns=torch.complex(cos[0, :, :turned].contiguous(), sin[0, :, :turned].contiguous()),
        pairs=pairs,
        unpaired=torch.argsort(pairs),
    )


def _is_plain(layer: Any) -> bool:
    """Return whether a layer has the parts of Llama's, linear ones without bias."""
    names = {name for name, _ in layer.named_children()}
    if names != _LAYER_PARTS:
        return False
    own = dict(layer.self_attn.named_children()) | dict(layer.mlp.named_children())
    own.pop("act_fn", None)
    is_linear = all(type(part) is torch.nn.Linear and part.bias is None for part in own.values())
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    has_weights = all(getattr(norm, "weight", None) is not None for norm in norms)  # OLMo's have none
    return is_linear and has_weights and set(own) == _ATTENTION_PARTS | _GATED_PARTS


class _Normed(NamedTuple):
    """The output of a norm, and what its gradient needs."""

    out: torch.Tensor
    even: torch.Tensor
    by: torch.Tensor
    weight: torch.Tensor


def _norm(states: torch.Tensor, weight: torch.Tensor, eps: float) -> _Normed:
    by = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    by.square_().div_(states.shape[-1]).add_(eps).rsqrt_()
    even = states * by
    return _Normed(even * weight, even, by, weight)


def _norm_back(normed: _Normed, grad: torch.Tensor, passing: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the norm's input, to which that of the path around it is added, and of its weight."""
    moved = grad * normed.even
    grad_weight = moved.sum(0)
    share = torch.mv(moved, normed.weight).div_(-moved.shape[-1]).unsqueeze(1)
    grad = torch.mul(grad, normed.weight, out=moved).addcmul_(normed.even, share)
    return grad.mul_(normed.by) if passing is None else passing.addcmul_(grad, normed.by), grad_weight


class _Attended(NamedTuple):
    """What the gradient of attention needs: its input, its weights, and of each group queries, keys, values, shares."""

    normed: _Normed
    weight: torch.Tensor
    groups: Sequence[tuple[torch.Tensor, ...]]


def _attend(
    decoder: Decoder, laid: Laid, normed: _Normed, weights: Sequence[torch.Tensor], *, spread: bool
) -> tuple[torch.Tensor, _Attended]:
    """Compute attention inside each document, before its output projection: (tokens, heads x size).

    Args:
        decoder: the shapes.
        laid: the tokens.
        normed: what the layer is given.
        weights: of queries, keys and values.
        spread: `normed` is of the distinct tokens, each of which may stand at many places.
    """
    size, n_turned = decoder.head_size, (decoder.n_heads + decoder.n_kv) * decoder.head_size
    weight = torch.cat(tuple(weights)).index_select(0, decoder.pairs)
    weight[: decoder.n_heads * size].mul_(decoder.scaling)
    projected = linear(normed.out, weight)
    if spread:
        projected = projected.index_select(0, laid.ids)
    torch.view_as_complex(projected[:, :n_turned].view(len(projected), -1, size // 2, 2)).mul_(laid.turns)
    parts = torch.split(projected.view(-1, size).index_select(0, laid.padded), laid.sizes)
    output, groups = projected.new_empty((len(laid.answers), size)), []
    outputs = torch.split(output, laid.sizes[::3])
    for at, group in enumerate(laid.groups):
        n = group.n_documents * decoder.n_kv
        query, key, value = (part.view(n, -1, size) for part in parts[3 * at : 3 * at + 3])
        scores = torch.bmm(query, key.transpose(1, 2))
        scores.view(-1, group.n_tokens, group.n_tokens).add_(group.unseen)
        shares = torch.softmax(scores, -1)
        torch.bmm(shares, value, out=outputs[at].view(query.shape))
        groups.append((query, key, value, shares))
    output = output.index_select(0, laid.unanswered).view(len(laid.ids), -1)
    return output, _Attended(normed, weight, groups)


def _attend_back(
    decoder: Decoder, laid: Laid, attended: _Attended, grad: torch.Tensor, *, spread: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the gradients of what `_attend` was given and of its three weights.

    Args:
        decoder: the shapes.
        laid: the tokens.
        attended: from `_attend`.
        grad: (tokens + 1, heads x size), the last row zeros.
        spread: see `_attend`.
    """
    size, n_turned = decoder.head_size, (decoder.n_heads + decoder.n_kv) * decoder.head_size
    answers = torch.split(grad.view(-1, size).index_select(0, laid.answers), laid.sizes[::3])
    grads = grad.new_empty((len(laid.padded), size))
    parts = torch.split(grads, laid.sizes)
    for at, (query, key, value, shares) in enumerate(attended.groups):
        answer = answers[at].view(query.shape)
        to_query, to_key, to_value = parts[3 * at : 3 * at + 3]
        torch.bmm(shares.transpose(1, 2), answer, out=to_value.view(value.shape))
        scores = _softmax_backward(torch.bmm(answer, value.transpose(1, 2)), shares, -1, torch.float32)
        torch.bmm(scores, key, out=to_query.view(query.shape))
        torch.bmm(scores.transpose(1, 2), query, out=to_key.view(key.shape))
    projected = grads.index_select(0, laid.unpadded).view(len(laid.ids), -1)
    torch.view_as_complex(projected[:, :n_turned].view(len(projected), -1, size // 2, 2)).mul_(laid.back)
    if spread:
        projected = _sum_by_id(laid, projected)
    grad_weight = projected.t() @ attended.normed.out
    grad_weight[: decoder.n_heads * size].mul_(decoder.scaling)
    widths = [decoder.n_heads * size, decoder.n_kv * size, decoder.n_kv * size]
    return projected @ attended.weight, list(torch.split(grad_weight.index_select(0, decoder.unpaired), widths))


def _sum_by_id(laid: Laid, rows: torch.Tensor) -> torch.Tensor:
    return rows.new_zeros((len(laid.distinct), rows.shape[1])).index_add_(0, laid.ids, rows)


class _Gated(NamedTuple):
    """What the gradient of a layer's second half needs."""

    context: torch.Tensor
    normed: _Normed
    gate: torch.Tensor
    up: torch.Tensor
    opened: torch.Tensor
    inner: torch.Tensor


def _gate(states: torch.Tensor, context: torch.Tensor, weights: Sequence[torch.Tensor], eps: float) -> tuple[Any, ...]:
    """Add attention's output and then the gated layers'; returns the states and what `_gate_back` needs."""
    to_output, second_norm, to_gate, to_up, to_down = weights
    states = torch.addmm(states, context, to_output.t())
    normed = _norm(states, second_norm, eps)
    gate, up = linear(normed.out, to_gate), linear(normed.out, to_up)
    opened = silu(gate)
    inner = opened * up
    return torch.addmm(states, inner, to_down.t()), _Gated(context, normed, gate, up, opened, inner)


def _gate_back(
    gated: _Gated, grad: torch.Tensor, weights: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the gradient of the states and those of the five weights."""
    _, _, to_gate, to_up, to_down = weights
    grad_down = grad.t() @ gated.inner
    inner = grad @ to_down
    up = inner * gated.opened
    gate = _silu_backward(inner.mul_(gated.up), gated.gate)
    out = gated.normed.out
    grad_gate, grad_up = gate.t() @ out, up.t() @ out
    grad, grad_norm = _norm_back(gated.normed, (gate @ to_gate).addmm_(up, to_up), grad)
    return grad, [grad.t() @ gated.context, grad_norm, grad_gate, grad_up, grad_down]


def _loss_and_gradients(decoder: Decoder, laid: Laid, n_supervised: float) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Compute the loss and the gradient of each weight."""
    weights = decoder.weights
    embedding, last_norm = weights[0], weights[1 + _PER_LAYER * decoder.n_layers]
    head = weights[-1] if len(weights) == 2 + _PER_LAYER * decoder.n_layers + 1 else embedding
    layers = [weights[1 + _PER_LAYER * at : 1 + _PER_LAYER * (at + 1)] for at in range(decoder.n_layers)]
    seen = embedding.index_select(0, laid.distinct)
    states, kept = seen.index_select(0, laid.ids), []
    for at, layer in enumerate(layers):
        normed = _norm(states if at else seen, layer[0], decoder.eps)
        context, attended = _attend(decoder, laid, normed, layer[1:4], spread=not at)
        if at == decoder.n_layers - 1:
            states, context = states.index_select(0, laid.places), context.index_select(0, laid.places)
        states, gated = _gate(states, context, layer[4:], decoder.eps)
        kept.append((attended, gated))
    final = _norm(states, last_norm, decoder.eps)
    logprobs = torch.log_softmax(linear(final.out, head), -1)
    targets = laid.targets.unsqueeze(1)
    loss = logprobs.gather(1, targets).sum().div_(-n_supervised)
    error = logprobs.exp_().scatter_add_(1, targets, logprobs.new_full(targets.shape, -1.0)).div_(n_supervised)
    grad_head = error.t() @ final.out
    grad, grad_last = _norm_back(final, error @ head, None)
    grads: list[torch.Tensor] = [grad_last] if head is embedding else [grad_last, grad_head]
    for at, layer in reversed(list(enumerate(layers))):
        attended, gated = kept.pop()
        grad, own = _gate_back(gated, grad, layer[4:])
        answer = grad.new_empty((len(laid.ids) + 1, layer[4].shape[1]))
        if at == decoder.n_layers - 1:
            answer.zero_().index_copy_(0, laid.places, grad @ layer[4])
            grad = grad.new_zeros((len(laid.ids), grad.shape[1])).index_copy_(0, laid.places, grad)
        else:
            torch.mm(grad, layer[4], out=answer[:-1])
            answer[-1].zero_()
        inner, projections = _attend_back(decoder, laid, attended, answer, spread=not at)
        grad, grad_norm = _norm_back(attended.normed, inner, grad if at else _sum_by_id(laid, grad))
        grads = [grad_norm, *projections, *own, *grads]
    if decoder.padding_id is not None:
        grad.masked_fill_((laid.distinct == decoder.padding_id).unsqueeze(1), 0)
    grad_embedding = grad_head if head is embedding else torch.zeros_like(embedding)
    return loss, [grad_embedding.index_add_(0, laid.distinct, grad), *grads]
