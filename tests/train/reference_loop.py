"""The training loop again, flat, to hold the real one against: slow, and meant to be read.

It shares with the real run only where the run starts (the weights) and which documents make an update. Everything
else is written out: every document goes through the model alone, so there is no packing, no padding, no mask and
no micro-batch that could be wrong; the loss, the clipping, the schedule and AdamW are spelt out from their
formulas (Loshchilov and Hutter, 2019, for AdamW). A test demands that both give the same losses, gradient norms
and weights, update for update.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from midspec.train._checkpoint import open_start, open_tokenizer
from midspec.train._job import Recipe, TrainJob
from midspec.train._pack import Piece
from midspec.train._plan import plan_training


class ReferenceRun(NamedTuple):
    """The model after its last update, and for every update: mean loss, gradient norm before clipping, rate."""

    model: Any
    losses: list[float]
    grad_norms: list[float]
    rates: list[float]


class Moments(NamedTuple):
    """AdamW's running means of one weight's gradient and of its square."""

    first: torch.Tensor
    second: torch.Tensor


def run_reference(job: TrainJob) -> ReferenceRun:
    """Train as `train` would, in float32 on the CPU, without saving anything.

    Args:
        job: the job; dropout must be 0, for two loops can't draw the same dropout.
    """
    tokenizer = open_tokenizer(job)
    updates = plan_training(job, tokenizer).updates
    model = open_start(job, tokenizer, dtype=torch.float32)
    model.train()

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [Moments(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    losses, grad_norms, rates = [], [], []

    for number, rows in enumerate(updates):
        documents = [piece for row in rows for piece in row]

        # What is predicted in the whole update: the loss is a mean over these, not over rows or documents.
        n_predicted = sum(int(document.supervised.sum()) for document in documents)

        for weight in weights:
            weight.grad = None
        total = 0.0
        for document in documents:
            summed = summed_loss(model, document)
            if summed is not None:
                share = summed / n_predicted
                share.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                total += share.item()

        gradients = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
        shrink = min(1.0, job.recipe.max_grad_norm / (norm + 1e-6))
        rate = rate_at(job.recipe, number, len(updates))

        with torch.no_grad():
            for weight, gradient, moment in zip(weights, gradients, moments, strict=True):
                step(weight, gradient * shrink, moment, rate, number + 1, job.recipe)

        losses.append(total)
        grad_norms.append(norm)
        rates.append(rate)

    return ReferenceRun(model.eval(), losses, grad_norms, rates)


def summed_loss(model: Any, document: Piece) -> torch.Tensor | None:
    """The summed negative log-likelihood of a document's trained-on tokens; `None` when it has none.

    The document is alone in its batch. The logits at one place predict the token at the next.
    """
    ids = torch.tensor(document.ids, dtype=torch.long).unsqueeze(0)
    logits = model(input_ids=ids, use_cache=False).logits[0]
    total = None
    for place in range(1, ids.shape[1]):
        if document.supervised[place]:
            loss = -torch.log_softmax(logits[place - 1], dim=-1)[ids[0, place]]
            total = loss if total is None else total + loss
    return total


def rate_at(recipe: Recipe, number: int, n_updates: int) -> float:
    """The learning rate of update `number`, counted from 0."""
    by_share = round(recipe.warmup_fraction * n_updates)
    n_warmup = min(by_share if recipe.warmup_updates is None else recipe.warmup_updates, n_updates - 1)

    if number < n_warmup:
        return recipe.learning_rate * (number + 1) / n_warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    turn = math.pi * (number - n_warmup) / (n_updates - n_warmup)
    low = recipe.learning_rate * recipe.final_lr_fraction
    return low + (recipe.learning_rate - low) * (1 + math.cos(turn)) / 2


def step(
    weight: torch.Tensor, gradient: torch.Tensor, moment: Moments, rate: float, count: int, recipe: Recipe
) -> None:
    """One AdamW step in place; matrices decay, vectors (norms, biases) don't. `count` is 1 for the first."""
    if weight.ndim >= 2:
        weight -= rate * recipe.weight_decay * weight

    moment.first.mul_(recipe.beta1).add_((1 - recipe.beta1) * gradient)
    moment.second.mul_(recipe.beta2).add_((1 - recipe.beta2) * gradient**2)

    mean = moment.first / (1 - recipe.beta1**count)
    spread = torch.sqrt(moment.second / (1 - recipe.beta2**count))
    weight -= rate * mean / (spread + 1e-8)
