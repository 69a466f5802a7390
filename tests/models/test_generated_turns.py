"""What a model generates and scores: prompts that open reasoning, ends without a name, ends that are no tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from midspec.core.records import Message
from midspec.models import LanguageModel, find_checkpoint, open_checkpoint

from . import chat_templates as t
from .conftest import byte_level

ASK = [Message(role="user", content="Hello there")]
OPTIONS = ["today", "the assistant"]


def opened(folder: Path, tokenizer: Any, **generation: Any) -> LanguageModel:
    """A tiny random model with this tokenizer; `generation` stands in its generation_config.json."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if generation:
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return open_checkpoint(find_checkpoint(str(folder)), device="cpu")


def says(model: LanguageModel, text: str) -> None:
    """Make the model say a text, one token after the other; in a batch the first row alone ever ends."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    n_prompt = len(model.template.encode([model.template.render(ASK, add_generation_prompt=True)])[0].ids)

    def speak(_module: Any, _args: Any, named: dict[str, Any], output: Any) -> Any:
        at = int(named["position_ids"][0, -1]) + 1 - n_prompt
        output.logits[:] = 0
        output.logits[:1, -1, ids[at % len(ids)]] = 9
        output.logits[1:, -1, ids[0]] = 9
        return output

    model.model.register_forward_hook(speak, with_kwargs=True)


@pytest.mark.parametrize("template", [t.R1, t.QWQ, t.PHI3], ids=["r1", "qwq", "phi 3"])
def test_a_model_whose_prompt_is_no_prefix_of_an_answered_chat_generates_and_scores(
    tmp_path: Path, template: str
) -> None:
    marks = ["<|User|>", "<|Assistant|>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]
    model = opened(tmp_path, byte_level(template, bos_token="<bos>", eos_token="<eos>", unnamed=marks))
    [answer] = model.generate([ASK], max_new_tokens=4)
    assert answer.text.startswith("<think>\n") == (template is not t.PHI3)
    prompt = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello there"}], add_generation_prompt=True, return_dict=False
    )
    before = "" if template is t.PHI3 else "\n</think>\n\n"
    for option, score in zip(OPTIONS, model.option_logprobs([ASK] * 2, OPTIONS), strict=True):
        head = [*prompt, *model.tokenizer(before, add_special_tokens=False)["input_ids"]]
        said = model.tokenizer(option, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logprobs = torch.log_softmax(model.model(torch.tensor([head + said])).logits[0], dim=-1)
        by_hand = sum(float(logprobs[len(head) + at - 1, token]) for at, token in enumerate(said))
        assert score.n_tokens == len(said)
        assert score.logprob == pytest.approx(by_hand, abs=1e-4)


def test_an_option_behind_a_prompt_that_ends_with_a_space_is_scored_behind_that_space(tmp_path: Path) -> None:
    model = opened(tmp_path, byte_level(t.PLAIN, eos_token="<eos>"))
    prompt = model.tokenizer("### User: Hello there\n### Assistant: ")["input_ids"]
    said = model.tokenizer("the assistant")["input_ids"]
    with torch.no_grad():
        logprobs = torch.log_softmax(model.model(torch.tensor([prompt + said])).logits[0], dim=-1)
    by_hand = sum(float(logprobs[len(prompt) + at - 1, token]) for at, token in enumerate(said))
    [score] = model.option_logprobs([ASK], ["the assistant"])
    assert (score.n_tokens, score.logprob) == (len(said), pytest.approx(by_hand, abs=1e-4))


def gemma(folder: Path) -> LanguageModel:
    turns = ["<start_of_turn>", "<end_of_turn>"]
    return opened(folder, byte_level(t.GEMMA, bos_token="<bos>", eos_token="<eos>", unnamed=turns))


def listed(folder: Path) -> LanguageModel:
    tokenizer = byte_level(t.CHATML, eos_token="<|im_end|>", unnamed=["<|im_start|>", "<|eom|>"])
    eom = tokenizer.convert_tokens_to_ids("<|eom|>")
    return opened(folder, tokenizer, eos_token_id=[tokenizer.eos_token_id, eom])


def no_token(folder: Path) -> LanguageModel:
    return opened(folder, byte_level(t.CHATML, eos_token="<eos>"))


def no_end(folder: Path) -> LanguageModel:
    return opened(folder, byte_level(t.PLAIN, eos_token="<eos>"))


@pytest.mark.parametrize(
    ("make", "end"),
    [
        (gemma, "<end_of_turn>"),
        (gemma, "<eos>"),
        (listed, "<|eom|>"),
        (no_token, "<|im_end|>"),
        (no_token, "<eos>"),
        (no_end, "\n### User:"),
    ],
)
def test_an_answer_stops_where_its_turn_ends(tmp_path: Path, make: Callable[[Path], LanguageModel], end: str) -> None:
    model = make(tmp_path)
    says(model, f"the assistant{end} and on")
    [answer] = model.generate([ASK], max_new_tokens=60)
    assert (answer.text, answer.stop_reason) == ("the assistant", "stop")
    assert answer.n_tokens == len(model.tokenizer(f"the assistant{end}", add_special_tokens=False)["input_ids"])
    [cut] = model.generate([ASK], max_new_tokens=2)
    assert cut.stop_reason == "length"


def test_what_a_row_says_after_a_text_that_ends_it_does_not_count(tmp_path: Path) -> None:
    model = no_token(tmp_path)
    says(model, "you<|im_end|> and on")
    alone = model.generate([ASK], max_new_tokens=40)
    beside = model.generate([ASK, ASK], max_new_tokens=40)
    assert beside[0] == alone[0]
    assert (alone[0].text, beside[1].stop_reason) == ("you", "length")
