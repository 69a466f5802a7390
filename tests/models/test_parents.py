"""Every parent opens as what it is, or is refused in one line before any work."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midspec.core.errors import CheckpointError
from midspec.models import (
    base_apart,
    find_checkpoint,
    load_model,
    load_tokenizer,
    open_checkpoint,
    open_config,
    quiet,
    window_of,
)

Saved = Callable[..., Path]


def adapter_over(base: Path, name: str, folder: Path, **settings: Any) -> Path:
    """An adapter whose weights are drawn, and which names its base as `name`."""
    chosen = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", "init_lora_weights": False} | settings
    with quiet():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**chosen))
        model.save_pretrained(folder)
    change(folder, base_model_name_or_path=name)
    return folder


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def opened(folder: Path) -> Any:
    return load_model(find_checkpoint(str(folder)), dtype=torch.float32)


IDS = torch.tensor([[20, 30, 40, 50]])


def test_a_relative_base_is_taken_from_the_adapters_own_folder(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = saved("llama")
    place = tmp_path / "shelf"
    place.mkdir()
    shutil.copytree(base, place / "base")
    beside = adapter_over(base, "../base", place / "adapter")
    monkeypatch.chdir("/")
    assert find_checkpoint(str(beside)).model == str((place / "base").resolve())
    within = adapter_over(base, "base", place / "other")
    shutil.copytree(base, within / "base")
    assert find_checkpoint(str(within)).model == str((within / "base").resolve())
    assert caplog.text == ""
    monkeypatch.chdir(place)  # where another folder of that name lies
    with caplog.at_level(logging.WARNING, "midspec"):
        assert find_checkpoint(str(within)).model == str((within / "base").resolve())
    assert f"and not {(place / 'base').resolve()}" in caplog.text


def test_a_base_that_only_the_working_folder_has_is_found_there(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = saved("llama")
    adapter = adapter_over(base, "llama", tmp_path / "deep" / "adapter")
    monkeypatch.chdir(base.parent)
    assert find_checkpoint(str(adapter)).model == "llama"


def test_an_adapter_in_the_old_format_scores_as_the_new_one_and_is_checked_as_well(
    saved: Saved, tmp_path: Path
) -> None:
    base = saved("llama")
    adapter = adapter_over(base, str(base), tmp_path / "adapter")
    expected = opened(adapter)(IDS).logits
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    assert torch.equal(opened(adapter)(IDS).logits, expected)
    torch.save(dict(list(weights.items())[1:]), adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="1 are missing or too many"):
        opened(adapter)


def test_an_adapter_in_the_old_format_that_runs_code_is_refused(saved: Saved, tmp_path: Path) -> None:
    base = saved("llama")
    adapter = adapter_over(base, str(base), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"weight": Path("anything")}, adapter / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="the adapter does not open") as caught:
        opened(adapter)
    assert "\n" not in str(caught.value)


def test_a_setting_that_this_peft_does_not_know_is_refused_unless_it_is_off(saved: Saved, tmp_path: Path) -> None:
    base = saved("llama")
    adapter = adapter_over(base, str(base), tmp_path / "adapter")
    change(adapter, later_switch=False, later_list=[], later_map=None)
    opened(adapter)
    change(adapter, new_scaling_rule="double")
    with pytest.raises(CheckpointError, match=r"PEFT [\d.]+ knows no setting new_scaling_rule: double") as caught:
        opened(adapter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [PromptTuningConfig, PrefixTuningConfig])
def test_an_adapter_that_puts_tokens_before_a_text_is_refused(saved: Saved, tmp_path: Path, kind: type) -> None:
    """transformers gives its logits with those tokens among them, and a cache would get them anew at every step."""
    base = saved("llama")
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base)
        get_peft_model(model, kind(task_type="CAUSAL_LM", num_virtual_tokens=3)).save_pretrained(tmp_path / "adapter")
    change(tmp_path / "adapter", base_model_name_or_path=str(base))
    with pytest.raises(CheckpointError, match="puts tokens of its own before a text"):
        opened(tmp_path / "adapter")


@pytest.mark.parametrize(
    "settings",
    [{"alora_invocation_tokens": [5, 6]}, {"use_qalora": True}, {"arrow_config": {"top_k": 2}}],
    ids=lambda settings: next(iter(settings)),
)
def test_an_adapter_with_a_setting_that_scoring_would_leave_out_is_refused(
    saved: Saved, tmp_path: Path, settings: dict[str, Any]
) -> None:
    adapter = adapter_over(base := saved("llama"), str(base), tmp_path / "adapter")
    change(adapter, **settings)
    with pytest.raises(CheckpointError, match=next(iter(settings))) as caught:
        opened(adapter)
    assert caught.value.where == str(adapter / "adapter_config.json")
    change(adapter, **dict.fromkeys(settings))
    opened(adapter)


@pytest.mark.parametrize("settings", [{"layer_replication": [[0, 2], [1, 2]]}, {"kasa_config": {}}], ids=str)
def test_an_adapter_that_changes_its_base_is_compared_with_the_base_itself(
    saved: Saved, tmp_path: Path, settings: dict[str, Any]
) -> None:
    base, more = saved("llama"), settings
    if "kasa_config" in settings:
        if not hasattr(peft, "KasaConfig"):
            pytest.skip("this PEFT has no KaSA, and refuses an adapter of it")
        more = {"kasa_config": peft.KasaConfig()}
    adapter = adapter_over(base, str(base), tmp_path / "adapter", init_lora_weights=True, **more)
    model = opened(adapter)
    with torch.no_grad():
        of_base = load_model(find_checkpoint(str(base)), dtype=torch.float32)(input_ids=IDS).logits
        with model.disable_adapter():
            left = model(input_ids=IDS).logits
    assert not torch.allclose(left, of_base, atol=1e-3)  # PEFT's own way to the base does not lead there
    assert base_apart(find_checkpoint(str(adapter))) == find_checkpoint(str(base))


def test_an_adapter_without_weights_is_refused(saved: Saved, tmp_path: Path) -> None:
    base = saved("llama")
    adapter = adapter_over(base, str(base), tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the adapter has no weights"):
        opened(adapter)


def settings(name: str, **values: Any) -> Callable[[Path], None]:
    """A change of values in a JSON file of a folder."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | values))

    return damage


def content(name: str, data: bytes) -> Callable[[Path], None]:
    """Another content of a file in a folder; of the weights, in place of the safetensors."""

    def damage(folder: Path) -> None:
        if name == "pytorch_model.bin":
            (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(data)

    return damage


BPE = {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
DAMAGES = {
    "a size that is text": settings("config.json", hidden_size="32"),
    "no attention heads": settings("config.json", num_attention_heads=0),
    "a negative vocabulary": settings("config.json", vocab_size=-4),
    "a type that torch has not": settings("config.json", dtype="bf16"),
    "layers that are not as many as said": settings("config.json", model_type="qwen3", layer_types=["full_attention"]),
    "no number of positions": settings("config.json", max_position_embeddings=None),
    "an empty .bin": content("pytorch_model.bin", b""),
    "a .bin that is a pointer of git-lfs": content("pytorch_model.bin", POINTER),
    "safetensors that are one": content("model.safetensors", POINTER),
    "merges of unknown tokens": settings("tokenizer.json", model=BPE, added_tokens=[]),
    "an unknown pre-tokenizer": settings("tokenizer.json", pre_tokenizer={"type": "Nope"}),
    "ends that are text": settings("generation_config.json", eos_token_id="</s>"),
    "ends in a list in a list": settings("generation_config.json", eos_token_id=[[1]]),
    "generation settings that are no JSON": content("generation_config.json", b"{"),
    "generation settings that are a list": content("generation_config.json", b"[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_parent_with_a_damaged_file_is_refused_in_one_line(saved: Saved, damage: Callable[[Path], None]) -> None:
    folder = saved("llama")
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in caught.value.where


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma"])
def test_a_parent_without_a_tokenizer_is_refused(saved: Saved, family: str) -> None:
    """Of some families transformers 5.23 makes a tokenizer of special tokens alone, to which every text is nothing."""
    folder = saved(family)
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(CheckpointError, match="there is no tokenizer"):
        load_tokenizer(str(folder))


def test_weights_that_the_model_has_no_place_for_are_told(saved: Saved, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved("llama")
    settings("config.json", num_hidden_layers=1)(folder)
    with caplog.at_level(logging.WARNING, "midspec"):
        opened(folder)
    assert "9 of its weights are no part of the model and are left out (model.layers.1." in caplog.text


def test_an_adapter_that_changes_nothing_is_told(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = saved("llama")
    adapter = adapter_over(base, str(base), tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    with caplog.at_level(logging.WARNING, "midspec"):
        opened(adapter)
        assert caplog.text == ""
        save_file({name: weight * ("lora_A" in name) for name, weight in weights.items()}, path)
        opened(adapter)
    assert "the adapter changes nothing" in caplog.text


def test_code_that_a_checkpoint_brings_is_never_run_and_never_asked_about(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved("llama")
    path = folder / "config.json"
    own = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "own", "auto_map": own}))
    (folder / "configuration_own.py").write_text("raise SystemExit('this code ran')")
    (folder / "modeling_own.py").write_text("raise SystemExit('this code ran')")

    def asked(*_: object) -> str:
        raise AssertionError("a question on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(CheckpointError, match="needs code of its own, which is not run") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    asks: list[object] = []
    monkeypatch.setattr("builtins.input", asks.append)
    assert window_of(find_checkpoint(str(folder))) is None
    with pytest.raises(ValueError, match="custom code"):
        open_config(str(folder))
    assert not asks


def test_a_tokenizer_that_brings_code_is_refused_too(saved: Saved) -> None:
    folder = saved("llama")
    path = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    (folder / "tokenization_own.py").write_text("raise SystemExit('this code ran')")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="needs code of its own, which is not run"):
        load_tokenizer(str(folder))
