"""The loss of a micro-batch: the summed cross-entropy of its supervised tokens, over those of the whole update.

Computed here for every class of model, as some classes average over each micro-batch by themselves. Where it can be,
the vocabulary's logits are never whole: they are made for a chunk of supervised tokens at a time, together with
their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from midspec.train._compiled import compile_parts
from midspec.train._pack import IGNORED

# Bytes of a chunk's logits on a CPU: what is larger than 32 MiB glibc gives back to the system each time, and 64 MiB of
# new pages take 0.1 s. Smaller chunks read the head's weights more often, and add to their gradient more often: with
# 152,000 tokens a chunk of 16 Mi logits holds 110 places, and a GPU then mostly adds; there it takes 1 GiB in float32.
CHUNK_BYTES = 32 * 2**20
_GPU_CHUNK_LOGITS = 256 * 2**20

# Logits of a block: 4 MiB in float32, about what a core's cache holds. The passes over a chunk that follow its product
# take a fifth of the time block by block: 33 against 166 ms for 341 places of 49,152 tokens in bfloat16.
_BLOCK_LOGITS = 2**20


def chunk_logits(device: torch.device, dtype: torch.dtype) -> int:
    """Return how many logits are made at a time on a device, in these numbers."""
    return _GPU_CHUNK_LOGITS if device.type == "cuda" else CHUNK_BYTES // dtype.itemsize


class Head(NamedTuple):
    """The layer that makes logits, and what the model does to them: multiply by `scale`, bound by `softcap`.

    With `is_compiled` their loss and gradient are made by one compiled kernel.
    """

    layer: torch.nn.Linear
    scale: float
    softcap: float | None
    is_compiled: bool = False


def find_head(model: Any) -> Head | None:
    """Find the layer that makes logits and what follows it; `None` where it is no plain linear layer.

    The names are those of transformers' configurations: `final_logit_softcapping` (Gemma), `logit_scale` (Cohere),
    `logits_scaling` (Granite). A family that does otherwise is found out by comparing losses (`_probe.py`).
    """
    layer = model.get_output_embeddings()
    if type(layer) is not torch.nn.Linear:
        return None
    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0
    divisor = getattr(config, "logits_scaling", None) or 1.0
    return Head(layer, float(scale) / float(divisor), getattr(config, "final_logit_softcapping", None))


def token_loss(
    model: Any, inputs: Mapping[str, torch.Tensor], n_supervised: torch.Tensor | int, head: Head | None
) -> torch.Tensor:
    """Compute the summed cross-entropy of a batch's supervised tokens, divided by `n_supervised`.

    Args:
        model: may be wrapped (for several devices, say).
        inputs: `input_ids`, `labels` and what else goes to the model; each (rows, tokens).
        n_supervised: supervised tokens of the whole update.
        head: computes the logits in chunks; `None` takes the model's own, whole.
    """
    labels = functional.pad(inputs["labels"], (0, 1), value=IGNORED)[..., 1:]
    given = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
    if head is None:
        logits = model(**given).logits.float()
        targets = labels.reshape(-1).to(logits.device)
        loss = functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets, reduction="sum")
        return loss / n_supervised
    with _losses_at(head, labels) as losses:
        model(**given)
    (loss,) = losses
    return loss / n_supervised


def as_one_row(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put all rows of a batch in one, as kernels for sequences of varying lengths want it; padded batches stay."""
    if "attention_mask" in inputs:
        return dict(inputs)
    return {name: value.reshape(1, -1) for name, value in inputs.items()}


@contextmanager
def _losses_at(head: Head, labels: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Have the head's layer keep the loss of what it is given within it, and return a column of zeros for logits.

    The model is called as a whole, whatever wraps it, and the layer where the model calls it.
    """
    losses: list[torch.Tensor] = []

    def compute(hidden: torch.Tensor) -> torch.Tensor:
        flat = labels.reshape(-1)
        places = (flat != IGNORED).nonzero().flatten()
        states = hidden.reshape(-1, hidden.shape[-1])
        if len(places) < len(flat):
            states = states.index_select(0, places.to(hidden.device))
        targets = flat[places].to(hidden.device)
        layer = head.layer
        loss: torch.Tensor = LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
            states, layer.weight, layer.bias, targets, head.scale, head.softcap, head.is_compiled
        )
        losses.append(loss)
        return hidden.new_zeros((*hidden.shape[:-1], 1))

    head.layer.forward = compute  # type: ignore[method-assign, assignment]  # of this one layer
    try:
        yield losses
    finally:
        del head.layer.forward


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of a linear layer's outputs, whose gradients are computed on the way forward, by chunks.

    As in Cut Your Losses (arXiv 2411.09009) and Liger Kernel's fused linear cross-entropy, without their kernels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        scale: float,
        softcap: float | None,
        is_compiled: bool = False,
    ) -> torch.Tensor:
        """Sum the loss over `hidden`, (tokens, size), with `weight`, (vocabulary, size), and `targets`, (tokens,)."""
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        with torch.autocast(kind, enabled=False), torch.no_grad():
            states, matrix = hidden.to(dtype), weight.to(dtype)
            offset = None if bias is None else bias.to(dtype)
            loss = torch.zeros((), dtype=_sum_dtype(hidden.device), device=hidden.device)
            grad_hidden = torch.empty_like(hidden) if needs_hidden else None
            grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
            grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs_bias else None
            step = max(1, chunk_logits(hidden.device, dtype) // len(weight))
            for start in range(0, len(states), step):
                rows = slice(start, start + step)
                logits = functional.linear(states[rows], matrix, offset)
                if not (needs_hidden or needs_weight or needs_bias):
                    for block, at in _blocks(logits, targets[rows]):
                        loss += functional.cross_entropy(_bounded(block.float(), scale, softcap), at, reduction="sum")
                    continue
                if is_compiled:
                    one, logits = _compiled_gradient()(logits, targets[rows], scale, softcap)
                    loss += one
                for block, at in () if is_compiled else _blocks(logits, targets[rows]):
                    numbers = block.float()
                    loss += _cross_entropy_gradient(numbers, at, scale, softcap)
                    block.copy_(numbers)
                if grad_hidden is not None:
                    grad_hidden[rows] = logits @ matrix
                if grad_weight is not None:
                    _add_product(grad_weight, logits.T, states[rows])
                if grad_bias is not None:
                    grad_bias += logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return loss.float()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Scale the gradients that were computed on the way forward."""
        return (*(None if grad is None else grad * grads[0] for grad in ctx.saved_tensors), None, None, None, None)


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add a product of short numbers to a float32 matrix; on a GPU while it is made, else in a pass of its own."""
    # Since torch 2.8, and for a GPU alone.
    is_short = left.dtype != total.dtype
    if is_short and left.device.type == "cuda" and hasattr(torch.ops.aten.addmm, "dtype_out"):
        torch.addmm(total, left, right, out_dtype=total.dtype, out=total)
    else:
        total += left @ right


def _blocks(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield a chunk's logits and targets, few places at a time on a CPU."""
    n = len(targets) if logits.device.type == "cuda" else max(1, _BLOCK_LOGITS // logits.shape[1])
    yield from zip(torch.split(logits, n), torch.split(targets, n), strict=True)


def _sum_dtype(device: torch.device) -> torch.dtype:
    """Return the numbers that losses are summed in, so that blocks and chunks give one sum; MPS has no longer ones."""
    return torch.float32 if device.type == "mps" else torch.float64


def _bounded(logits: torch.Tensor, scale: float, softcap: float | None) -> torch.Tensor:
    """Return what the model makes of its head's outputs; in place."""
    if scale != 1:
        logits.mul_(scale)
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _cross_entropy_gradient(
    logits: torch.Tensor, targets: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    """Sum the cross-entropy, and put its gradient for the head's outputs in the place of `logits`."""
    bounded = _bounded(logits, scale, softcap)
    slope = None if softcap is None else 1 - (bounded / softcap).square()
    # A log-softmax takes four times as long as a softmax; the sum of exponentials follows from the most likely token.
    highest, at_target = bounded.amax(-1, keepdim=True), bounded.gather(1, targets.unsqueeze(1))
    weights = torch.softmax(bounded, dim=-1, out=logits)
    loss = (highest - at_target - weights.amax(-1, keepdim=True).log()).sum(dtype=_sum_dtype(logits.device))
    logits[torch.arange(len(targets), device=logits.device), targets] -= 1
    if slope is not None:
        logits.mul_(slope)
    if scale != 1:
        logits.mul_(scale)
    return loss


@cache
def _compiled_gradient() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    return compile_parts(_loss_and_gradient)


def _loss_and_gradient(
    logits: torch.Tensor, targets: torch.Tensor, scale: float, softcap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed cross-entropy and its gradient for the head's outputs, in their numbers."""
    bounded = logits.float() * scale
    if softcap is not None:
        bounded = softcap * torch.tanh(bounded / softcap)
    total = torch.logsumexp(bounded, -1, keepdim=True)
    loss = (total - bounded.gather(1, targets.unsqueeze(1))).sum()
    places = torch.arange(logits.shape[1], device=logits.device)
    gradient = torch.exp(bounded - total) - (places == targets.unsqueeze(1)).float()
    if softcap is not None:
        gradient = gradient * (1 - (bounded / softcap).square())
    return loss, (gradient * scale).to(logits.dtype)
