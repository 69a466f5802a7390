"""Adapters that PEFT would read otherwise than they were made, and weights that are passed over in silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midspec.core.errors import CheckpointError, note
from midspec.core.records import Checkpoint
from midspec.models import checkpoint_digest, find_checkpoint, load_model, quiet, weights_digest
from midspec.models._adapter_files import refuse_settings

Saved = Callable[..., Path]
IDS = torch.tensor([[20, 30, 40, 50]])
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True}


def adapter(base: Path, folder: Path, **settings: Any) -> torch.Tensor:
    """Saves an adapter with random weights over a base; gives its logits."""
    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", **({"target_modules": ["q_proj"]} | settings))
    with quiet():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
        for name, weight in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(weight, 0, 0.1)
        model.save_pretrained(folder)
    with torch.no_grad():
        return torch.as_tensor(model(input_ids=IDS).logits)


def change(path: Path, **settings: Any) -> None:
    found = json.loads(path.read_text()) | settings
    path.write_text(json.dumps({key: value for key, value in found.items() if value != ""}))


@pytest.mark.parametrize("inner", [16, 32, 24], ids=["gate_up square", "down square", "none square"])
def test_experts_of_an_older_peft_are_refused_whether_their_sizes_fit_or_not(
    saved: Saved, tmp_path: Path, inner: int
) -> None:
    base, folder = saved("qwen3_moe", moe_intermediate_size=inner, **EXPERTS), tmp_path / "adapter"
    expected = adapter(base, folder, target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
    found = find_checkpoint(str(folder))
    for version in ("0.21.2", "0.19.0.dev0@UNKNOWN", *([""] if inner == 24 else [])):
        change(folder / "adapter_config.json", peft_version=version)
        with torch.no_grad():
            assert torch.equal(load_model(found, dtype=torch.float32).eval()(input_ids=IDS).logits, expected)
    for version in ("0.18.1", "0.17.0"):
        change(folder / "adapter_config.json", peft_version=version)
        with pytest.raises(CheckpointError, match=rf"experts \(.*down_proj\) as PEFT {version} saved them.*Merge it"):
            load_model(found, dtype=torch.float32)


def test_an_older_adapter_without_experts_opens(saved: Saved, tmp_path: Path) -> None:
    expected = adapter(saved("llama"), tmp_path / "adapter")
    change(tmp_path / "adapter" / "adapter_config.json", peft_version="0.15.2")
    with torch.no_grad():
        model = load_model(find_checkpoint(str(tmp_path / "adapter")), dtype=torch.float32).eval()
        assert torch.equal(model(input_ids=IDS).logits, expected)


def test_a_revision_of_a_base_on_the_hub_is_refused_as_the_newest_is_opened(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "adapter"
    adapter(saved("llama"), folder)
    change(folder / "adapter_config.json", revision="step-1000")
    refuse_settings(folder)  # a folder has no revisions
    change(folder / "adapter_config.json", base_model_name_or_path="some/base")
    with pytest.raises(CheckpointError, match=r"over revision step-1000 of some/base.*--revision"):
        refuse_settings(folder)
    for harmless in ("main", "0a1b2c"):
        change(folder / "adapter_config.json", revision=harmless)
        newest = str(tmp_path / "snapshots" / "0a1b2c" / "config.json")
        monkeypatch.setattr("midspec.models._adapter_files.try_to_load_from_cache", lambda *_, at=newest: at)
        refuse_settings(folder)
    (tmp_path / "beside").mkdir()
    change(folder / "adapter_config.json", base_model_name_or_path="../beside", revision="step-1000")
    refuse_settings(folder)


def test_a_base_that_is_no_longer_the_one_that_was_trained_over_is_told(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base, folder = saved("llama"), tmp_path / "adapter"
    adapter(base, folder)
    record = {"execution": {"extra": {"base_weights": weights_digest(str(base))}}}
    (folder / "record.json").write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING, "midspec"):
        before = checkpoint_digest(str(folder))
        # Saved by another version, downloaded with more files beside, moved: the weights are the same.
        change(base / "config.json", transformers_version="4.57.1")
        (base / "chat_template.jinja").write_text("{{ messages }}")
        (base / "consolidated.safetensors").write_bytes(b"the same in another form")
        base = base.rename(tmp_path / "moved")
        change(folder / "adapter_config.json", base_model_name_or_path=str(base))
        checkpoint_digest(str(folder))
        (tmp_path / "model.gguf").touch()
        assert weights_digest(str(tmp_path / "model.gguf")) is None
        assert not caplog.records
        weights = {name: weight + 1 for name, weight in load_file(base / "model.safetensors").items()}
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
        assert checkpoint_digest(str(folder)) != before
    assert f"its base {base} has other weights than when the adapter was trained" in caplog.text


LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
NEXT = {"layer_types": ["linear_attention", "full_attention"], **LINEAR, "moe_intermediate_size": 16, **EXPERTS}


@pytest.mark.parametrize(
    ("family", "sizes", "name", "is_told"),
    [
        ("qwen3_next", NEXT, "mtp.layers.0.mlp.up_proj.weight", True),
        ("glm4_moe", {"n_routed_experts": 2, "num_experts_per_tok": 1}, "model.layers.46.eh_proj.weight", True),
        ("gpt_neox", {}, "gpt_neox.layers.0.attention.bias", False),
        ("llama", {}, "model.layers.0.self_attn.rotary_emb.inv_freq", False),
    ],
)
def test_weights_that_text_is_computed_without_are_told_and_buffers_of_older_versions_are_not(
    saved: Saved,
    caplog: pytest.LogCaptureFixture,
    family: str,
    sizes: dict[str, Any],
    name: str,
    is_told: bool,
) -> None:
    base = saved(family, **sizes)
    weights = load_file(base / "model.safetensors") | {name: torch.ones(2)}
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    note.cache_clear()
    with caplog.at_level(logging.WARNING, "midspec"):
        load_model(find_checkpoint(str(base)), dtype=torch.float32)
    assert (f"1 of its weights are left out, as text is computed without them ({name}, say)" in caplog.text) is is_told


@pytest.mark.parametrize(
    ("family", "block", "names"),
    [("qwen3_moe", "mlp", "gate_proj up_proj down_proj"), ("mixtral", "block_sparse_moe", "w1 w3 w2")],
)
def test_an_adapter_with_weights_for_each_expert_opens_over_layers_that_hold_all_of_them(
    saved: Saved, tmp_path: Path, family: str, block: str, names: str
) -> None:
    """As transformers 4 trained it; the reference adds each update to its part of the layer."""
    inner = 24 if family == "qwen3_moe" else 64
    base = saved(
        family, **(EXPERTS | {"moe_intermediate_size": inner} if family == "qwen3_moe" else {"num_local_experts": 4})
    )
    reference = AutoModelForCausalLM.from_pretrained(base).eval()
    torch.manual_seed(3)
    weights = {}
    with torch.no_grad():
        for layer in range(2):
            experts = reference.model.layers[layer].mlp.experts
            for expert in range(4):
                updates = []
                for name, (n_in, n_out) in zip(names.split(), [(32, inner), (32, inner), (inner, 32)], strict=True):
                    down, up = torch.randn(2, n_in) * 0.2, torch.randn(n_out, 2) * 0.2
                    place = f"base_model.model.model.layers.{layer}.{block}.experts.{expert}.{name}"
                    weights |= {f"{place}.lora_A.weight": down, f"{place}.lora_B.weight": up}
                    updates.append(2 * up @ down)
                experts.gate_up_proj[expert] += torch.cat(updates[:2])
                experts.down_proj[expert] += updates[2]
        expected = reference(input_ids=IDS).logits
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": names.split()}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(base)}))
    found = find_checkpoint(str(folder))
    with torch.no_grad():
        torch.testing.assert_close(load_model(found, dtype=torch.float32).eval()(input_ids=IDS).logits, expected)
    del weights[next(iter(weights))]
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"don't fit the model|does not open"):
        load_model(found, dtype=torch.float32)


def test_an_adapter_that_was_trained_after_tokens_were_added_enlarges_its_base(
    saved: Saved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base, folder = saved("llama"), tmp_path / "adapter"
    torch.manual_seed(1)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base)
        n_before = len(model.get_input_embeddings().weight)
        model.resize_token_embeddings(n_before + 3)
        config = LoraConfig(
            target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM"
        )
        trained = get_peft_model(model, config).eval()
        for weight in trained.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, 0, 0.2)
        trained.save_pretrained(folder)
    ids = torch.tensor([[20, n_before + 2, 40]])
    with torch.no_grad(), caplog.at_level(logging.WARNING, "midspec"):
        opened = load_model(find_checkpoint(str(folder)), dtype=torch.float32).eval()
        assert torch.equal(opened(input_ids=ids).logits, trained(input_ids=ids).logits)
        with opened.disable_adapter(), trained.disable_adapter():
            assert torch.equal(opened(input_ids=ids).logits, trained(input_ids=ids).logits)
    assert f"its base has {n_before} embeddings, and {n_before + 3} are the adapter's" in caplog.text
    # PEFT compares with the base that is named there, to tell whether embeddings are part of the adapter.
    change(folder / "adapter_config.json", base_model_name_or_path="a/base-that-is-not-here")
    with torch.no_grad():
        opened = load_model(Checkpoint(model=str(base), adapter=str(folder)), dtype=torch.float32).eval()
        assert torch.equal(opened(input_ids=ids).logits, trained(input_ids=ids).logits)


def test_embeddings_that_were_saved_beside_an_adapter_are_part_of_it(saved: Saved, tmp_path: Path) -> None:
    base, folder = saved("llama"), tmp_path / "adapter"
    with quiet():
        config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        trained = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
        torch.nn.init.normal_(trained.get_input_embeddings().weight, 0, 0.2)
        trained.save_pretrained(folder, save_embedding_layers=True)
    with torch.no_grad():
        opened = load_model(find_checkpoint(str(folder)), dtype=torch.float32).eval()
        assert torch.equal(opened(input_ids=IDS).logits, trained(input_ids=IDS).logits)


def test_an_adapter_of_a_whole_model_with_towers_is_refused_over_its_language_model(
    saved: Saved, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    adapter(saved("llama"), folder)
    weights = load_file(folder / "adapter_model.safetensors")
    renamed = {
        name.replace(".model.layers", ".model.language_model.layers"): weight for name, weight in weights.items()
    }
    save_file(renamed, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="trained on the whole model"):
        load_model(find_checkpoint(str(folder)), dtype=torch.float32)
