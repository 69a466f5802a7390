"""Models that take other positions for long rows (longrope): no row changes what another is computed with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midspec.core.records import Message
from midspec.models import find_checkpoint, open_checkpoint

SWITCH = 40


@pytest.fixture
def model(saved: Callable[..., Path]) -> Any:
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0, 4.0, 8.0, 16.0],
        "original_max_position_embeddings": SWITCH,
    }
    folder = saved("phi3", rope_parameters=rope, original_max_position_embeddings=SWITCH, max_position_embeddings=256)
    return open_checkpoint(find_checkpoint(str(folder)), device="cpu")


def asks(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


SHORT = [asks("how are you"), asks("how are you today"), asks("think")]
LONG = [asks("how are you today " * 8), asks("think about " * 12)]


def test_scores_of_short_rows_are_the_same_beside_long_ones(model: Any) -> None:
    prompts, options = [*SHORT, *LONG, SHORT[0]], ["the assistant"] * 5 + ["the assistant " + "answers " * 12]
    together = model.option_logprobs(prompts, options)
    for prompt, option, score in zip(prompts, options, together, strict=True):
        assert model.option_logprobs([prompt], [option])[0].logprob == pytest.approx(score.logprob, abs=1e-4)
    texts = ["hello there", "the assistant answers " * 20]
    alone = [model.document_logprobs([text])[0].logprob for text in texts]
    assert [score.logprob for score in model.document_logprobs(texts)] == pytest.approx(alone, abs=1e-3)


def test_a_beginning_that_rows_share_is_not_taken_from_the_other_side(model: Any) -> None:
    shared = "think about the question and answer " * 2
    prompts = [asks(shared + "Hello"), asks(shared + "today " * 20)]
    options = ["yes", "no"]
    together = model.option_logprobs(prompts, options)
    for prompt, option, score in zip(prompts, options, together, strict=True):
        assert model.option_logprobs([prompt], [option])[0].logprob == pytest.approx(score.logprob, abs=1e-4)


def test_answers_that_grow_beyond_the_switch_are_those_of_transformers_alone_or_together(model: Any) -> None:
    prompts, limit = [*SHORT, *LONG], 40
    together = model.generate(prompts, max_new_tokens=limit)
    n_crossed = 0
    for prompt, answer in zip(prompts, together, strict=True):
        assert model.generate([prompt], max_new_tokens=limit) == [answer]
        [(ids, _)] = model.template.encode([model.template.render(prompt, add_generation_prompt=True)])
        theirs = model.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones((1, len(ids)), dtype=torch.long),
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=list(model.template.end_ids),
            pad_token_id=0,
        )[0, len(ids) :].tolist()
        n_crossed += len(ids) <= SWITCH < len(ids) + len(theirs) - 1
        assert answer.n_tokens == len(theirs)
        assert model.tokenizer.decode(theirs, skip_special_tokens=True) == answer.text
    assert n_crossed
