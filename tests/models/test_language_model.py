from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.errors import CheckpointError, ConfigError, DataError
from midspec.core.records import Checkpoint, Message
from midspec.models import (
    ChatTemplate,
    Generation,
    LanguageModel,
    checkpoint_digest,
    find_checkpoint,
    load_model,
    open_checkpoint,
    quiet,
    use_threads,
)
from midspec.models._open import add_adapter

Saved = Callable[..., Path]
FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma2"]
WINDOW: dict[str, Any] = {"mistral": {"sliding_window": 9}, "gemma2": {"sliding_window": 9}}


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


PROMPTS = [ask("Hello"), ask("the assistant thinks about the question and answers, are you there?"), ask("how are you")]
OPTIONS = ["today", "the assistant", "you"]


def opened(folder: Path) -> LanguageModel:
    return open_checkpoint(find_checkpoint(str(folder)), device="cpu")


def summed_by_hand(folder: Path, prompt: list[Message], option: str) -> float:
    """The option's log-probability from one plain forward pass of the prompt and the option."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    turns = [message.model_dump() for message in prompt]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([before + tokenizer(option, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
    return sum(float(logprobs[at - 1, ids[0, at]]) for at in range(len(before), ids.shape[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_option_scores_as_in_a_plain_forward_pass_whatever_the_batch(saved: Saved, family: str) -> None:
    folder = saved(family, **WINDOW.get(family, {}))
    together = opened(folder).option_logprobs(PROMPTS, OPTIONS)
    for prompt, option, score in zip(PROMPTS, OPTIONS, together, strict=True):
        assert score.logprob == pytest.approx(summed_by_hand(folder, prompt, option), abs=1e-4)
        (alone,) = opened(folder).option_logprobs([prompt], [option])
        assert score.logprob == pytest.approx(alone.logprob, abs=1e-4)
        assert score.n_tokens == alone.n_tokens >= 1


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_is_seen_by_nobody_under_either_attention(saved: Saved, attention: str) -> None:
    folder = saved("qwen3")
    model = opened(folder)
    model.model.set_attn_implementation(attention)
    together = model.option_logprobs(PROMPTS, OPTIONS)
    for prompt, option, score in zip(PROMPTS, OPTIONS, together, strict=True):
        assert score.logprob == pytest.approx(summed_by_hand(folder, prompt, option), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_the_library_whatever_the_batch(saved: Saved, family: str) -> None:
    folder = saved(family, **WINDOW.get(family, {}))
    model = opened(folder)
    together = model.generate(PROMPTS, max_new_tokens=12)
    for prompt, answer in zip(PROMPTS, together, strict=True):
        assert model.generate([prompt], max_new_tokens=12) == [answer]
        ids = model.template.encode([model.template.render(prompt, add_generation_prompt=True)])[0][0]
        written = model.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=list(model.template.end_ids),
            pad_token_id=0,
        )[0, len(ids) :].tolist()
        assert answer.n_tokens == len(written)
        assert answer.text == model.tokenizer.decode(written, skip_special_tokens=True)
        assert answer.stop_reason == ("stop" if written[-1] in model.template.end_ids else "length")


# As templates of models that always reason do: the prompt opens the reasoning, and an answer has it, even if empty.
OPENS_REASONING = (
    "{% for m in messages %}{{ m.role }} : {% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant : <think>\n{% endif %}"
)
LONG = Message(role="system", content="the assistant answers the question and thinks about the answer . " * 12)
LONG_PROMPTS = [[LONG, *prompt] for prompt in PROMPTS]


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral"])
def test_a_beginning_that_all_prompts_share_changes_no_score_and_no_answer(saved: Saved, family: str) -> None:
    folder = saved(family, **WINDOW.get(family, {}))
    model = opened(folder)
    together = model.option_logprobs(LONG_PROMPTS, OPTIONS)
    answers = model.generate(LONG_PROMPTS, max_new_tokens=12)
    for prompt, option, score, answer in zip(LONG_PROMPTS, OPTIONS, together, answers, strict=True):
        assert score.logprob == pytest.approx(summed_by_hand(folder, prompt, option), abs=1e-4)
        assert model.generate([prompt], max_new_tokens=12) == [answer]


@pytest.mark.parametrize(("family", "shared"), [("llama", True), ("mistral", False)])
def test_a_shared_beginning_is_computed_once_where_nothing_of_it_is_forgotten(
    saved: Saved, family: str, shared: bool
) -> None:
    model = opened(saved(family, **WINDOW.get(family, {})))
    widths: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _module, _args, named: widths.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    model.option_logprobs(LONG_PROMPTS, OPTIONS)
    whole = max(len(model.template.encode([model.template.render(prompt)])[0][0]) for prompt in LONG_PROMPTS)
    assert (max(widths[1:]) < whole / 2) if shared else (len(widths) == 1 and widths[0] > whole / 2)


def test_sampling_hangs_on_the_seed_and_the_place_and_not_on_the_batch(saved: Saved) -> None:
    model = opened(saved("llama"))
    draw = model.generate([PROMPTS[0]] * 4, max_new_tokens=8, temperature=1.0, seed=1)
    assert draw == model.generate([PROMPTS[0]] * 4, max_new_tokens=8, temperature=1.0, seed=1)
    assert draw[:1] == model.generate([PROMPTS[0]], max_new_tokens=8, temperature=1.0, seed=1)
    assert draw != model.generate([PROMPTS[0]] * 4, max_new_tokens=8, temperature=1.0, seed=2)
    assert len({answer.text for answer in draw}) > 1


def test_an_answer_says_whether_it_was_cut_off(saved: Saved) -> None:
    model = opened(saved("llama"))
    end = model.tokenizer.convert_tokens_to_ids("<|im_end|>")
    with torch.no_grad():
        model.model.lm_head.weight.zero_()
    assert model.generate([PROMPTS[0]], max_new_tokens=3)[0].stop_reason == "length"
    head = torch.nn.Linear(32, len(model.tokenizer))
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.nn.functional.one_hot(torch.tensor(end), len(model.tokenizer)))
    model.model.lm_head = head
    assert model.generate([PROMPTS[0]], max_new_tokens=3) == [Generation("", "stop", 1)]


def test_reasoning_that_the_template_opens_is_known_as_reasoning_even_when_it_is_cut_off(saved: Saved) -> None:
    model = opened(saved("llama"))
    model.tokenizer.chat_template = OPENS_REASONING
    thinking = LanguageModel(model.model, model.tokenizer, model.device, ChatTemplate(model.tokenizer))
    for answer in thinking.generate(PROMPTS, max_new_tokens=3):
        assert answer.text.startswith("<think>\n")
        assert answer.stop_reason == "length"
    model.tokenizer.chat_template = OPENS_REASONING.replace("<think>\n{% endif", "{% endif")
    plain = LanguageModel(model.model, model.tokenizer, model.device, ChatTemplate(model.tokenizer))
    assert not any(answer.text.startswith("<think>") for answer in plain.generate(PROMPTS, max_new_tokens=3))


def test_nothing_to_do_is_nothing_done(saved: Saved) -> None:
    model = opened(saved("llama"))
    assert model.option_logprobs([], []) == []
    assert model.generate([], max_new_tokens=3) == []


def test_an_empty_option_and_unequal_lists_are_refused(saved: Saved) -> None:
    model = opened(saved("llama"))
    with pytest.raises(DataError, match="empty option"):
        model.option_logprobs([PROMPTS[0]], [" "])
    with pytest.raises(DataError, match="1 prompts for 2 options"):
        model.option_logprobs([PROMPTS[0]], ["a", "b"])


# Finding and opening -------------------------------------------------------------------------------------------


def adapter_over(folder: Path, base: str) -> str:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "peft_type": "LORA"}))
    return str(folder)


def test_a_name_is_a_folder_an_adapter_or_a_hub_name(saved: Saved, tmp_path: Path) -> None:
    folder = str(saved("llama"))
    assert find_checkpoint(folder) == Checkpoint(model=folder)
    adapter = adapter_over(tmp_path / "adapter", folder)
    assert find_checkpoint(adapter) == Checkpoint(model=folder, adapter=adapter)
    remote = adapter_over(tmp_path / "remote", "Qwen/Qwen3-8B")
    assert find_checkpoint(remote) == Checkpoint(model="Qwen/Qwen3-8B", adapter=remote)
    assert find_checkpoint("Qwen/Qwen3-8B") == Checkpoint(model="Qwen/Qwen3-8B")
    assert find_checkpoint("gpt2") == Checkpoint(model="gpt2")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "", "two words", "../x", "a//b"])
def test_garbage_is_one_line_that_says_what_to_name(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"Name a folder with config\.json") as caught:
        find_checkpoint(name)
    assert "\n" not in str(caught.value)


def test_folders_that_hold_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no model"):
        find_checkpoint(str(tmp_path / "empty"))
    (tmp_path / "empty" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not JSON"):
        find_checkpoint(str(tmp_path / "empty"))
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no model_type"):
        find_checkpoint(str(tmp_path / "empty"))
    with pytest.raises(CheckpointError, match="is a file"):
        find_checkpoint(str(tmp_path / "empty" / "config.json"))
    lost = adapter_over(tmp_path / "adapter", "./moved/away")
    with pytest.raises(CheckpointError, match="moved/away"):
        find_checkpoint(lost)
    twice = adapter_over(tmp_path / "twice", adapter_over(tmp_path / "once", "Qwen/Qwen3-8B"))
    with pytest.raises(CheckpointError, match="an adapter over another adapter"):
        find_checkpoint(twice)


def test_weights_that_do_not_open_are_one_line(saved: Saved) -> None:
    folder = saved("llama")
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="no model opens") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError):
        opened(folder)


def test_weights_that_are_missing_are_never_drawn_at_random_instead(saved: Saved) -> None:
    folder = saved("llama")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "q_proj" in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="q_proj"):
        opened(folder)


def test_an_adapter_goes_over_a_base_once(saved: Saved, tmp_path: Path) -> None:
    folder = saved("llama")
    base = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    with quiet():
        config = LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path=str(folder), task_type="CAUSAL_LM")
        get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    found = find_checkpoint(str(tmp_path / "adapter"))
    assert found.adapter is not None
    model = load_model(found, dtype=torch.float32)
    with pytest.raises(CheckpointError, match="an adapter over this model already"):
        add_adapter(model, str(tmp_path / "adapter"))
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    other = {f"base_model.{name}": weight for name, weight in weights.items()}
    save_file(other, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="don't fit the model"):
        load_model(found, dtype=torch.float32)


def test_a_digest_is_of_content_and_not_of_a_place(saved: Saved, tmp_path: Path) -> None:
    folder = saved("llama")
    moved = folder.rename(tmp_path / "moved")
    before = checkpoint_digest(str(moved))
    adapter = checkpoint_digest(adapter_over(tmp_path / "adapter", str(moved)))
    back = moved.rename(folder)
    assert checkpoint_digest(str(back)) == before
    assert checkpoint_digest(adapter_over(tmp_path / "other", str(back))) == adapter != before
    (back / "model.safetensors").write_bytes(b"other")
    assert checkpoint_digest(str(back)) != before


def test_a_device_that_is_not_there_is_said(saved: Saved) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="no GPU"):
        open_checkpoint(find_checkpoint(str(saved("llama"))), device="cuda")


def test_one_thread_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIDSPEC_THREADS", raising=False)
    assert use_threads() == torch.get_num_threads() == 1
    monkeypatch.setenv("MIDSPEC_THREADS", "2")
    assert use_threads() == torch.get_num_threads() == 2
    assert use_threads(1) == torch.get_num_threads() == 1


def test_opening_is_silent(saved: Saved, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved("llama")
    capfd.readouterr()
    opened(folder).generate([PROMPTS[0]], max_new_tokens=2)
    assert capfd.readouterr() == ("", "")


# Options of one prompt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3_text", "olmo2"])
@pytest.mark.parametrize("prompts", [PROMPTS, LONG_PROMPTS], ids=["short", "long"])
def test_options_of_one_prompt_score_as_each_of_them_alone(
    saved: Saved, monkeypatch: pytest.MonkeyPatch, family: str, prompts: list[list[Message]]
) -> None:
    monkeypatch.setattr("midspec.models._language_model._LARGE_HIDDEN", 0)
    monkeypatch.setattr("midspec.models._language_model._WORTH_TOKENS_LARGE", 8)
    folder = saved(family, **WINDOW.get(family, {}))
    options = ["today is a question", "today the", "t", "you are an assistant and you think", "u"]
    asked = [(prompt, option) for prompt in prompts for option in options]
    together = opened(folder).option_logprobs([prompt for prompt, _ in asked], [option for _, option in asked])
    for (prompt, option), score in zip(asked, together, strict=True):
        assert score.logprob == pytest.approx(summed_by_hand(folder, prompt, option), abs=2e-4)


def test_a_prompt_is_computed_once_for_all_its_options(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midspec.models._language_model._LARGE_HIDDEN", 0)
    monkeypatch.setattr("midspec.models._language_model._WORTH_TOKENS_LARGE", 8)
    model = opened(saved("qwen3"))
    options = ["today is a question", "you think and answer"]
    model.option_logprobs([PROMPTS[1]] * 2, options)  # finds out that the model computes branches
    fed: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _module, _args, named: fed.append(named["input_ids"].numel()), with_kwargs=True
    )
    model.option_logprobs([PROMPTS[1]] * 2, options)
    prompt = len(model.template.encode([model.template.render(PROMPTS[1], add_generation_prompt=True)])[0][0])
    n_options = sum(len(model.tokenizer(option, add_special_tokens=False)["input_ids"]) - 1 for option in options)
    assert sum(fed) == prompt + n_options


def test_rows_that_have_ended_are_not_computed_further(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midspec.models._language_model._LARGE_HIDDEN", 0)
    model = opened(saved("llama"))
    prompts = [ask(text) for text in ("Hello", "how are you", "the question", "answers", "today", "are you there?")]
    answers = model.generate(prompts, max_new_tokens=40, temperature=1.0, seed=3)
    rows: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _module, _args, named: rows.append(len(named["input_ids"])), with_kwargs=True
    )
    end = model.template.end_ids[0]
    bias = torch.zeros(len(model.tokenizer))
    bias[end] = 4.0
    model.model.lm_head.register_forward_hook(lambda _module, _inputs, output: output + bias)
    shorter = model.generate(prompts, max_new_tokens=40, temperature=1.0, seed=3)
    assert [answer.n_tokens for answer in shorter] != [answer.n_tokens for answer in answers]
    assert rows[0] == len(prompts)
    assert rows[-1] < len(prompts)
    assert sum(rows) < len(prompts) * len(rows)
    for number, answer in enumerate(shorter):
        draws = model.generate(prompts[: number + 1], max_new_tokens=40, temperature=1.0, seed=3)
        assert draws[number] == answer


DOCUMENTS = ["the assistant thinks about the question and answers", "today", "how are you? " * 12]


@pytest.mark.parametrize("row_tokens", [1024, 32])
def test_a_document_scores_as_the_librarys_own_loss_of_its_rows(saved: Saved, row_tokens: int) -> None:
    folder = saved("llama")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    found = opened(folder).document_logprobs(DOCUMENTS, row_tokens=row_tokens)
    for text, score in zip(DOCUMENTS, found, strict=True):
        ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        rows = [torch.tensor([ids[at : at + row_tokens]]) for at in range(0, len(ids), row_tokens)]
        rows = [row for row in rows if row.shape[1] > 1]
        with torch.no_grad():
            losses = [float(model(input_ids=row, labels=row).loss) * (row.shape[1] - 1) for row in rows]
        assert score.n_tokens == sum(row.shape[1] - 1 for row in rows)
        assert score.logprob == pytest.approx(-sum(losses), rel=1e-4)


def test_a_continuation_scores_as_in_a_plain_forward_pass_of_the_whole_text(saved: Saved) -> None:
    folder = saved("llama")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    starts, ends = ["the assistant likes", "the assistant likes", "today"], ["you.", "the question.", "are you"]
    for start, end, score in zip(starts, ends, opened(folder).continuation_logprobs(starts, ends), strict=True):
        before, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (start, f"{start} {end}"))
        with torch.no_grad():
            logprobs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)
        assert ids[: len(before)] == before
        assert score.n_tokens == len(ids) - len(before)
        by_hand = sum(float(logprobs[at - 1, ids[at]]) for at in range(len(before), len(ids)))
        assert score.logprob == pytest.approx(by_hand, rel=1e-4)


def test_nothing_is_scored_of_an_empty_text(saved: Saved) -> None:
    model = opened(saved("llama"))
    with pytest.raises(DataError, match="an empty document"):
        model.document_logprobs(["today", ""])
    with pytest.raises(DataError, match="goes on from"):
        model.continuation_logprobs(["today"], [" "])
    assert model.document_logprobs([]) == []


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), MemoryError("no memory")]
)
def test_a_model_that_does_not_fit_is_told_in_one_line_before_anything_is_asked(
    saved: Saved, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def forward(*_: Any) -> torch.Tensor:
        raise error

    folder = saved("llama")
    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    with pytest.raises(CheckpointError, match="the model does not fit the memory of cpu"):
        opened(folder)
