"""Every parent opens as what it is, or is refused in one line before any work."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midspec.core.errors import CheckpointError
from midspec.models import find_checkpoint, load_model, load_tokenizer, quiet

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


def test_a_tokenizer_that_brings_code_is_refused_too(saved: Saved) -> None:
    folder = saved("llama")
    path = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    (folder / "tokenization_own.py").write_text("raise SystemExit('this code ran')")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="needs code of its own, which is not run"):
        load_tokenizer(str(folder))
