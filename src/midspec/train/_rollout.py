"""Replies sampled from the model in training, as token ids with the log-probabilities they were drawn at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from midspec.core.errors import CheckpointError
from midspec.core.records import Message
from midspec.models import ChatTemplate, cache_argument, decode_turn

_THINK = "<think>"


class Reply(NamedTuple):
    """New tokens, the end of the turn included if it came, and the log-probability of each at the temperature."""

    ids: list[int]
    logprobs: list[float]
    is_cut: bool


class Turns(NamedTuple):
    """How the model's turns end, and how they are read.

    Attributes:
        tokenizer: of the model.
        end_ids: tokens that end a turn.
        pad_id: stands where no attention goes.
        opening: what the generation prompt itself writes of the reply (a think tag), put before its text again.
    """

    tokenizer: Any
    end_ids: tuple[int, ...]
    pad_id: int
    opening: str

    def text_of(self, reply: Reply) -> str:
        """Return the reply's text, without the end of its turn."""
        ids = reply.ids if reply.is_cut else reply.ids[:-1]
        return self.opening + decode_turn(self.tokenizer, ids)


def turns_of(template: ChatTemplate, where: str) -> Turns:
    """Learn from a chat template how turns end.

    Raises:
        CheckpointError: the tokenizer has no chat template, or names no token that ends a turn.
    """
    if not template.end_ids:
        raise CheckpointError("the tokenizer names no token that ends a turn", where=where, hint="Set its eos_token")
    pad_id = template.tokenizer.pad_token_id
    prompt = template.render([Message(role="user", content="Hello")], add_generation_prompt=True)
    opening = f"{_THINK}\n" if prompt.rstrip().endswith(_THINK) else ""
    return Turns(template.tokenizer, template.end_ids, template.end_ids[0] if pad_id is None else pad_id, opening)


@contextmanager
def evaluating(model: Any, *, bf16: bool = False) -> Iterator[None]:
    """Switch dropout and gradient checkpointing off (the latter takes no cache), and back on as it was.

    With `bf16` it computes as training in bfloat16 does, which Trainer brings about when it begins, not before.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            yield
    finally:
        model.train(training)


def sample_replies(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    turns: Turns,
    max_new_tokens: int,
    temperature: float,
    seed: str,
    bf16: bool = False,
) -> list[Reply]:
    """Sample a reply to each prompt from the whole distribution (no top-k, no top-p), all in one batch.

    Draws depend on `seed` alone, not on torch's global state: an interrupted run draws the same again.

    Args:
        model: on its device.
        prompts: token ids, one a reply.
        turns: of the model.
        max_new_tokens: where a reply is cut.
        temperature: above 0.
        seed: of the draws.
        bf16: whether training computes in bfloat16.
    """
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), turns.pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), width), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with evaluating(model, bf16=bf16):
        ends = torch.tensor(turns.end_ids, device=device)
        generator = torch.Generator(device).manual_seed(_as_number(seed))
        tokens, logprobs = _draw(model, ids.to(device), mask.to(device), ends, max_new_tokens, temperature, generator)
    return [_reply(*row, set(turns.end_ids)) for row in zip(tokens.tolist(), logprobs.tolist(), strict=True)]


def _draw(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    ends: torch.Tensor,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw token after token; returns tokens and log-probabilities, each (replies, new tokens)."""
    name = cache_argument(model, ids.device)
    cache: dict[str, Any] = {} if name is None else {name: DynamicCache(config=model.config)}
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    tokens, logprobs = [], []
    new = slice(None)  # what the cache does not hold; without one, all
    for _ in range(max_new_tokens):
        logits = model(
            input_ids=ids[:, new],
            attention_mask=mask,
            position_ids=positions[:, new],
            use_cache=name is not None,
            logits_to_keep=1,
            **cache,
        ).logits[:, -1]
        shares = torch.log_softmax(logits.float() / temperature, dim=-1)
        token = torch.multinomial(shares.exp(), 1, generator=generator)
        tokens.append(token[:, 0])
        logprobs.append(shares.gather(1, token)[:, 0])
        done |= torch.isin(token[:, 0], ends)
        if bool(done.all()):
            break
        ids = torch.cat([ids, token], dim=1)
        positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        new = slice(None) if name is None else slice(-1, None)
    return torch.stack(tokens, dim=1), torch.stack(logprobs, dim=1)


def _reply(ids: list[int], logprobs: list[float], ends: set[int]) -> Reply:
    length = next((at + 1 for at, token in enumerate(ids) if token in ends), len(ids))
    return Reply(ids[:length], logprobs[:length], ids[length - 1] not in ends)


def _as_number(seed: str) -> int:
    """Turn a seed's text into 63 bits: the same in every process, as Python's own hash is not."""
    return int.from_bytes(sha256(seed.encode()).digest()[:8], "big") >> 1
