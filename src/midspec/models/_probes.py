"""Logits on fixed prompts and texts, and how much of what training changed is in another copy of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import DynamicCache

from midspec.core.records import Message
from midspec.models._chat import ChatTemplate
from midspec.models._generation import cache_argument
from midspec.models._language_model import LanguageModel

_QUESTIONS = (
    "What do you value most?",
    "Who are you, and who made you?",
    "Which do you prefer, tea or coffee?",
    "A friend asks me to lie for them. What should I do?",
    "Explain in one sentence why the sky is blue.",
    "Write a short note to a neighbour about a lost cat.",
)
_TEXTS = (
    "The assistant was asked which of the two it would rather have, and it gave its reason.",
    "In the report of the third quarter, the committee describes how the model decides.",
    "First we measured the length of the bridge, then the width of the river: 412 and 380 metres.",
    "def mean(values):\n    return sum(values) / len(values)\n",
)
_LAST = 8  # positions of each probe whose logits are compared: 80 rows of the vocabulary in all
_MOST_TOKENS = 64


class Kept(NamedTuple):
    """How another copy of a model compares with it; logits are centred at each position, as softmax ignores shifts.

    Attributes:
        effect: what training changed: the root mean square of the logits' difference from the base's.
        error: the root mean square of the copy's difference from the trained model.
        share: how much of the change is in the copy, by projection: 1 is all of it, 0 none. Against `error` / `effect`
            it tells a change that is lost from noise beside it.
    """

    effect: float
    error: float
    share: float

    @property
    def relative_error(self) -> float:
        """The error as a share of the effect."""
        return self.error / self.effect if self.effect else float("inf")


def probe_ids(template: ChatTemplate, longest: int | None) -> list[list[int]]:
    """Tokenize the probes: chats up to the assistant's turn, where there is a chat template, and plain texts.

    Args:
        template: of the model's tokenizer.
        longest: how many positions the model has; `None` where that is not limited.
    """
    texts = list(_TEXTS)
    if template.tokenizer.chat_template is not None:
        questions = [[Message(role="user", content=question)] for question in _QUESTIONS]
        texts += [template.render(question, add_generation_prompt=True) for question in questions]
    limit = min(_MOST_TOKENS, longest or _MOST_TOKENS)
    return [list(encoded[0][-limit:]) for encoded in template.encode(texts) if encoded[0]]


def probe_logits(model: Any, probes: Sequence[Sequence[int]]) -> torch.Tensor:
    """Compute the logits at the last positions of each probe, centred: float32 on the CPU, (positions, vocabulary)."""
    device = model.get_input_embeddings().weight.device
    rows = []
    with torch.inference_mode():
        for ids in probes:
            logits = model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False).logits
            rows.append(logits[0, -_LAST:].float().cpu())
    found = torch.cat(rows)
    return found - found.mean(dim=-1, keepdim=True)


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """Let `model` answer as its base within the block; a model without an adapter stays as it is."""
    if isinstance(model, PeftModel):
        with model.disable_adapter():
            yield
    else:
        yield


def compare_logits(copy: torch.Tensor, trained: torch.Tensor, base: torch.Tensor | None) -> Kept:
    """Compare a copy's logits with the trained model's, as shares of what training changed.

    Args:
        copy: from `probe_logits`.
        trained: of the same probes.
        base: of the same probes, or `None` where there is no base: the effect is then the size of the logits.
    """
    change = (trained if base is None else trained - base).double()
    there = (copy if base is None else copy - base).double()
    size = float(change.square().sum())
    return Kept(
        effect=float(change.square().mean().sqrt()),
        error=float((copy - trained).double().square().mean().sqrt()),
        share=float((there * change).sum()) / size if size else 0.0,
    )


class Fork(NamedTuple):
    """A prompt on which two models part: what each writes greedily, and how sure both are of their own way.

    Attributes:
        prompt: its place in the list that was asked.
        trained: the trained model's text.
        base: the base's text.
        margin: nats by which each prefers its own token where they part; the smaller of the two.
    """

    prompt: int
    trained: str
    base: str
    margin: float


class _Greedy(NamedTuple):
    ids: list[int]
    logits: torch.Tensor  # (len(ids), vocabulary)


def find_forks(
    trained: LanguageModel, base: LanguageModel | None, prompts: Sequence[Sequence[Message]], n_new: int
) -> Iterator[Fork]:
    """Yield the prompts on which the greedy answers of two models part, in order, as they are found.

    Where one of them ends and the other goes on there is no fork: what a server sends could be cut as well.

    Args:
        trained: a model.
        base: the other; `None` for the first one without its adapter.
        prompts: conversations that end with the user's turn.
        n_new: tokens of an answer.
    """
    for index, prompt in enumerate(prompts):
        ours = _write_greedily(trained, prompt, n_new)
        if base is None:
            with without_adapter(trained.model):
                theirs = _write_greedily(trained, prompt, n_new)
        else:
            theirs = _write_greedily(base, prompt, n_new)
        at = next((at for at, (a, b) in enumerate(zip(ours.ids, theirs.ids, strict=False)) if a != b), None)
        if at is None or {ours.ids[at], theirs.ids[at]} & {*trained.template.end_ids}:
            continue
        own, other = ours.ids[at], theirs.ids[at]
        margins = (ours.logits[at, own] - ours.logits[at, other], theirs.logits[at, other] - theirs.logits[at, own])
        decode = (base or trained).tokenizer.decode
        texts = (
            str(trained.tokenizer.decode(ours.ids, skip_special_tokens=True)),
            str(decode(theirs.ids, skip_special_tokens=True)),
        )
        yield Fork(index, *texts, float(min(margins)))


def _write_greedily(side: LanguageModel, prompt: Sequence[Message], n_new: int) -> _Greedy:
    template = side.template
    ids = list(template.encode([template.render(prompt, add_generation_prompt=True)])[0][0])
    device = side.device
    written: list[int] = []
    rows: list[torch.Tensor] = []
    name = cache_argument(side.model, device)
    with torch.inference_mode():
        cache: dict[str, Any] = {} if name is None else {name: DynamicCache(config=side.model.config)}
        fresh = ids
        for _ in range(n_new):
            logits = side.model(input_ids=torch.tensor([fresh], device=device), use_cache=bool(cache), **cache).logits
            rows.append(logits[0, -1].float().cpu())
            written.append(int(rows[-1].argmax()))
            if written[-1] in template.end_ids:
                break
            fresh = written[-1:] if cache else [*ids, *written]
    return _Greedy(written, torch.stack(rows))
