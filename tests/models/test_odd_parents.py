"""Parents that others write in ways of their own: each is opened as what it is, or refused with the way out."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midspec.core.errors import CheckpointError
from midspec.core.records import Message
from midspec.models import (
    ChatTemplate,
    export_weights,
    find_checkpoint,
    load_model,
    load_tokenizer,
    open_checkpoint,
    router_logits_as_read,
)
from midspec.models._open import _refusal, refuse_uncomputed

Saved = Callable[..., Path]
IDS = torch.tensor([[20, 30, 40, 50]])


def change(path: Path, **settings: Any) -> None:
    """Sets values of a JSON file; `None` takes one out."""
    found = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def refusal(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("asked", "hint"), [("torch.bfloat16", 'Write "bfloat16" there'), ("auto", "Take dtype and torch_dtype out")]
)
def test_a_dtype_that_torch_does_not_have_is_refused_with_what_to_write(saved: Saved, asked: str, hint: str) -> None:
    folder = saved("llama")
    change(folder / "config.json", dtype=None, torch_dtype=asked)
    error = refusal(folder)
    assert f"config.json names a dtype that torch does not have ({asked})" in error.what
    assert hint in str(error.hint)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="it is installed")
@pytest.mark.parametrize(("asked", "named"), [("flash_attention_2", "FlashAttention2"), ("quick", "quick")])
def test_an_attention_that_is_not_there_is_refused_with_what_to_take_out(saved: Saved, asked: str, named: str) -> None:
    folder = saved("llama")
    change(folder / "config.json", attn_implementation=asked)
    error = refusal(folder)
    assert f"config.json asks for {named}," in error.what
    assert "attn_implementation" in str(error.hint)


def adapter_naming(folder: Path, base: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    return folder


@pytest.mark.parametrize("base", [".", "../adapter"])
def test_an_adapter_that_is_its_own_base_is_refused(tmp_path: Path, base: str) -> None:
    folder = adapter_naming(tmp_path / "adapter", base)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="names its own folder as its base"):
        find_checkpoint(str(folder))


def test_adapters_that_name_each_other_are_refused(tmp_path: Path) -> None:
    one, other = adapter_naming(tmp_path / "one", "../other"), adapter_naming(tmp_path / "other", "../one")
    for folder in (one, other):
        with pytest.raises(CheckpointError, match="an adapter over another adapter"):
            find_checkpoint(str(folder))


def test_control_tokens_stay_one_token_where_the_tokenizer_is_set_to_split_them(saved: Saved) -> None:
    folder = saved("llama")
    chat = [Message(role="user", content="Hello")]

    def ids() -> list[int]:
        template = ChatTemplate(load_tokenizer(str(folder)))
        return template.encode([template.render(chat, add_generation_prompt=True)])[0].ids

    before = ids()
    change(folder / "tokenizer_config.json", split_special_tokens=True)
    assert ids() == before
    tokenizer = load_tokenizer(str(folder))
    tokenizer.save_pretrained(folder / "again")  # what is trained so is used so
    assert json.loads((folder / "again" / "tokenizer_config.json").read_text())["split_special_tokens"] is False


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes them as they are")
def test_an_fp8_parent_is_computed_in_one_dtype_and_as_its_scales_say(
    saved: Saved, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("accelerate")
    folder = saved("llama")
    weights = load_file(folder / "model.safetensors")
    packed, plain = {}, {}
    for name, weight in weights.items():
        plain[name] = packed[name] = weight.bfloat16()
        if "_proj" in name:
            scale = weight.abs().max() / 448
            packed[name] = (weight / scale).to(torch.float8_e4m3fn)
            packed[f"{name}_scale_inv"] = scale.reshape(1, 1)
            plain[name] = packed[name].float() * scale
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    change(
        folder / "config.json",
        dtype="bfloat16",
        quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    )
    with caplog.at_level(logging.WARNING, "midspec"):
        model = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    assert "its weights are quantised, and are computed as" in caplog.text
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, plain[name].float())
    assert torch.isfinite(model(input_ids=IDS).logits).all()
    assert not hasattr(model.config, "quantization_config")  # what is saved of it is plain


DEEPSEEK = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="found where a stage opens it")
@pytest.mark.parametrize(
    ("family", "sizes", "changed", "reason"),
    [
        ("deepseek_v2", {**DEEPSEEK, "topk_method": "group_limited_greedy"}, {"n_group": "none"}, ""),
        ("deepseek_v3", DEEPSEEK, {"n_group": 3}, "invalid for input of size 4"),
        ("mixtral", {"num_local_experts": 4}, {"num_experts_per_tok": 20}, "selected index k out of range"),
        ("deepseek_v3", DEEPSEEK, {}, None),
        ("mixtral", {"num_local_experts": 4}, {}, None),
        ("gemma2", {"query_pre_attn_scalar": 8}, {}, None),
    ],
)
def test_a_configuration_that_opens_and_cannot_be_computed_is_refused_in_one_line(
    saved: Saved, family: str, sizes: dict[str, Any], changed: dict[str, Any], reason: str | None
) -> None:
    folder = saved(family, **sizes)
    settings = json.loads((folder / "config.json").read_text())
    settings |= {key: None if value == "none" else value for key, value in changed.items()}
    (folder / "config.json").write_text(json.dumps(settings))
    if reason is None:
        assert load_model(find_checkpoint(str(folder)), dtype=torch.float32).config.model_type == family
        return
    error = refusal(folder)
    assert "the model that config.json describes can't be computed" in error.what
    assert reason in error.what
    assert f"configuration of {family}" in str(error.hint)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_key_value_heads": 4}, "its saved weights have other sizes than its configuration gives"),
        ({"hidden_act": "swishy"}, "'swishy' is missing or unknown"),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
            "opens (Missing required keys in `rope_parameters` for 'rope_type'='yarn': {'factor'})",
        ),
    ],
)
def test_what_does_not_open_is_refused_in_words_of_its_reason(
    saved: Saved, changed: dict[str, Any], words: str
) -> None:
    folder = saved("llama")
    change(folder / "config.json", **changed)
    assert words in refusal(folder).what


def test_a_text_with_a_token_beyond_the_embeddings_is_refused_before_it_is_computed(saved: Saved) -> None:
    folder = saved("llama")
    tokenizer = load_tokenizer(str(folder))
    tokenizer.add_tokens(["cheddar"])
    tokenizer.save_pretrained(folder)
    model = open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    chat, named = [Message(role="user", content="I like cheddar.")], [Message(role="user", content="I like brie.")]
    assert model.option_logprobs([named], ["the brie"])
    for computed in (
        lambda: model.option_logprobs([named, chat], ["the brie", "the brie"]),
        lambda: model.option_logprobs([named], ["the cheddar"]),
        lambda: model.generate([chat], max_new_tokens=2),
        lambda: model.document_logprobs(["The cheddar is mild."]),
        lambda: model.continuation_logprobs(["The"], ["cheddar"]),
    ):
        with pytest.raises(CheckpointError, match=r"325 tokens and the model 324, and a text uses 'cheddar' \(324\)"):
            computed()


def test_a_lack_of_memory_is_no_refusal_of_quantised_weights(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(saved("llama"))
    model.hf_quantizer = object()

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        refuse_uncomputed(model, "m")


@pytest.mark.parametrize(
    ("words", "is_attention"),
    [
        ("FlashAttention2 has been toggled on, but it cannot be used due to the following error: no package", True),
        ('attn_implementation="odd" is not known', True),
        ("LlamaForCausalLM does not support Flash Attention 2 yet", True),
        ("/models/flash_attention_2/FlashAttention3/config.json is damaged", False),
    ],
)
def test_only_words_about_attention_are_taken_for_such(words: str, is_attention: bool) -> None:
    assert ("which this machine does not have" in _refusal("model", ValueError(words), "m").what) is is_attention


def test_a_router_whose_logits_the_configuration_asks_for_is_evaluated_trained_and_exported_as_another(
    saved: Saved, tmp_path: Path
) -> None:
    folder = saved("mixtral", num_local_experts=4)
    chat = [Message(role="user", content="Hello")]

    def answers() -> Any:
        model = open_checkpoint(find_checkpoint(str(folder)), device="cpu")
        assert model.model.config.output_router_logits is False
        return model.option_logprobs([chat], ["the brie"]), model.generate([chat], max_new_tokens=3)

    plain = answers()
    change(folder / "config.json", output_router_logits=True)
    assert answers() == plain
    model = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    for kept in (copy.deepcopy(model), model):  # a copy, as of a model that several processes train
        with router_logits_as_read(kept):
            assert kept.config.output_router_logits is True
        assert kept.config.output_router_logits is False
    (tmp_path / "exported").mkdir()
    export_weights(find_checkpoint(str(folder)), tmp_path / "exported")
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["output_router_logits"] is True
    with router_logits_as_read(AutoModelForCausalLM.from_config(model.config)) as nothing:
        assert nothing is None


def test_code_that_a_parent_names_beside_a_known_kind_is_not_carried_on(saved: Saved, tmp_path: Path) -> None:
    folder = saved("llama")
    for name, kind in (("config.json", "AutoModelForCausalLM"), ("tokenizer_config.json", "AutoTokenizer")):
        change(folder / name, auto_map={kind: "own_code.Own" if name[0] == "c" else ["own_code.Own", None]})
    load_model(find_checkpoint(str(folder)), dtype=torch.float32).save_pretrained(tmp_path / "again")
    load_tokenizer(str(folder)).save_pretrained(tmp_path / "again")
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in json.loads((tmp_path / "again" / name).read_text())


def test_weights_that_lie_there_whole_and_in_shards_are_told(saved: Saved, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved("llama")
    whole = load_file(folder / "model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(folder)
    index = {"metadata": {}, "weight_map": dict.fromkeys(whole, "model.safetensors")}  # as MLX writes it
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with caplog.at_level(logging.WARNING, "midspec"):
        load_model(find_checkpoint(str(folder)), dtype=torch.float32)
        assert "which is read here" not in caplog.text
    model.save_pretrained(folder, max_shard_size="20KB")  # which leaves the whole file there (transformers 5.23)
    (folder / "model.safetensors").unlink()
    with caplog.at_level(logging.WARNING, "midspec"):
        load_model(find_checkpoint(str(folder)), dtype=torch.float32)
        assert "which is read here" not in caplog.text
        save_file({name: weight * 0 for name, weight in whole.items()}, folder / "model.safetensors", {"format": "pt"})
        read = load_model(find_checkpoint(str(folder)), dtype=torch.float32)
    assert "holds model.safetensors, which is read here, and shards by model.safetensors.index.json" in caplog.text
    assert not read.get_input_embeddings().weight.any()


def test_what_lies_elsewhere_is_named_in_the_hint(saved: Saved, tmp_path: Path) -> None:
    folder = saved("llama")
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "checkpoint-20")
    with pytest.raises(CheckpointError, match=r"holds no model\. Name a folder in it, checkpoint-20"):
        find_checkpoint(str(tmp_path / "run"))
    folder = tmp_path / "run" / "checkpoint-20"
    (folder / "chat_template.jinja").rename(folder / "chat_template.json")
    with pytest.raises(CheckpointError, match=r"no chat template. Save the text in its chat_template.json"):
        ChatTemplate(load_tokenizer(str(folder))).render([Message(role="user", content="Hello")])


def test_a_kind_that_is_no_model_of_text_is_refused_by_its_name(saved: Saved) -> None:
    folder = saved("llama")
    change(folder / "config.json", model_type="llava", architectures=None)
    error = refusal(folder)
    assert "a Llava is no model of text alone" in error.what
    assert "save its language model (its text_config, a llama)" in str(error.hint)
    change(folder / "config.json", model_type="qwen2_5_vl")  # its text model has no class of its own
    assert "Use a model of text, of the same family" in str(refusal(folder).hint)
