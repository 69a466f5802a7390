"""What is written is what was trained, by the libraries' own way of opening it; and what is not is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from midspec.core.errors import CheckpointError, ConfigError
from midspec.models import copy_vocabularies, export_adapter, export_weights, find_checkpoint, quiet

SavedModel = Callable[..., Path]
SavedAdapter = Callable[..., Path]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.tensor([[9, 40, 77, 120, 31, 8, 250, 99, 5, 61, 300, 17]])


@pytest.fixture
def adapter(tmp_path: Path) -> SavedAdapter:
    """Saves an adapter over a base's folder: with random B of the given spread, as training would leave it."""

    def save(base: Path, *, spread: float = 0.05, name: str = "adapter", **settings: Any) -> Path:
        torch.manual_seed(1)
        config = LoraConfig(
            **({"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "task_type": "CAUSAL_LM"} | settings)
        )
        with quiet():  # PEFT asks for an old name, and warns of tied embeddings
            model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "lora_B" in key or "lora_embedding_A" in key:
                    weight.normal_(0, spread)
        with quiet():
            model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def _logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    """By the libraries alone, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapter is not None:
        with quiet():
            model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=IDS).logits)


def _as_bfloat16(folder: Path) -> Path:
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def _new(tmp_path: Path, name: str = "out") -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
def test_merged_weights_answer_as_the_adapter_over_its_base_does(
    family: str, tied: bool, saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved(family, tie_word_embeddings=tied)
    trained = adapter(base)
    exported = export_weights(find_checkpoint(str(trained)), _new(tmp_path))
    expected = _logits(base, trained)
    assert torch.allclose(_logits(tmp_path / "out"), expected, atol=1e-4)
    assert not torch.allclose(_logits(base), expected, atol=1e-2)
    assert exported.merged is not None
    assert exported.merged.relative_error < 1e-4
    assert exported.saved.share == pytest.approx(1, abs=1e-4)
    assert (exported.dtype, exported.served, exported.notes) == ("float32", None, ())


def test_an_exported_adapter_answers_as_before_and_names_its_base_as_wanted(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("qwen3")
    trained = adapter(base)
    export_adapter(find_checkpoint(str(trained)), _new(tmp_path), base="me/base", opens_at=str(base))
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "me/base"
    assert settings["target_modules"] == sorted(LINEAR)
    assert torch.equal(_logits(base, tmp_path / "out"), _logits(base, trained))


def test_an_adapter_over_other_weights_than_it_was_trained_on_is_refused(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("llama")
    trained = adapter(base)
    other = tmp_path / "other"
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(AutoModelForCausalLM.from_pretrained(base).config)
    model.save_pretrained(other)
    with pytest.raises(CheckpointError, match=r"answers otherwise than what was trained.*Check that the base"):
        export_adapter(find_checkpoint(str(trained)), _new(tmp_path), base=str(other), opens_at=str(other))


def test_weights_are_saved_in_the_type_of_the_base_unless_another_is_asked_for(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    found = find_checkpoint(str(adapter(_as_bfloat16(saved("llama")), spread=0.3)))
    for asked, kind in (("auto", "BF16"), ("float32", "F32"), ("float16", "F16")):
        folder = _new(tmp_path, asked)
        exported = export_weights(found, folder, dtype=asked)
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            assert {file.get_slice(name).get_dtype() for name in file.keys()} == {kind}  # noqa: SIM118
        assert json.loads((folder / "config.json").read_text())["dtype"] == exported.dtype
        assert (exported.served is None) == (asked == "float32")
    with pytest.raises(ConfigError, match="'int8' is no type"):
        export_weights(found, _new(tmp_path, "int8"), dtype="int8")


def test_a_weak_adapter_that_rounding_weakens_is_told_with_numbers(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    """Steps of bfloat16 around weights of 0.2 are about 0.001; changes of less are mostly rounded away."""
    base = _as_bfloat16(saved("llama"))
    trained = adapter(base, spread=0.0006)
    found = find_checkpoint(str(trained))
    weakened = export_weights(found, _new(tmp_path, "bf16"))
    assert 0.1 < weakened.saved.share < 0.9
    assert weakened.merged is not None
    assert weakened.merged.relative_error < 0.01
    assert "--dtype float32 and peft round no weight" in weakened.notes[0]
    # The same by hand: how far the export is from what was trained, in units of what training changed.
    change = _logits(base, trained) - _logits(base)
    error = _logits(tmp_path / "bf16") - _logits(base, trained)
    assert float(error.norm() / change.norm()) == pytest.approx(weakened.saved.relative_error, rel=0.5)
    whole = export_weights(found, _new(tmp_path, "f32"), dtype="float32")
    assert whole.saved.relative_error < 0.01
    assert not whole.notes


def test_a_change_that_rounding_removes_is_refused(saved: SavedModel, adapter: SavedAdapter, tmp_path: Path) -> None:
    found = find_checkpoint(str(adapter(_as_bfloat16(saved("llama")), spread=0.00003)))
    with pytest.raises(CheckpointError, match=r"rounded to bfloat16, \d+% of what training changed.*--dtype float32"):
        export_weights(found, _new(tmp_path))
    export_weights(found, _new(tmp_path, "whole"), dtype="float32")


def test_an_adapter_that_changes_nothing_is_refused(saved: SavedModel, adapter: SavedAdapter, tmp_path: Path) -> None:
    base = saved("llama")
    found = find_checkpoint(str(adapter(base, spread=0.0)))
    with pytest.raises(CheckpointError, match="answers exactly as its base"):
        export_weights(found, _new(tmp_path))
    with pytest.raises(CheckpointError, match="answers exactly as its base"):
        export_adapter(found, _new(tmp_path, "peft"), base="me/base", opens_at=str(base))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_took_a_part_of_its_base_is_compared_with_the_whole_base(
    start: str, saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    """As full weights are with their parent: without such an adapter the rest is another model."""
    base = saved("llama")
    found = find_checkpoint(str(adapter(base, init_lora_weights=start)))
    merged = export_weights(found, _new(tmp_path))
    as_weights = export_weights(
        find_checkpoint(str(tmp_path / "out")), _new(tmp_path, "again"), parent=find_checkpoint(str(base))
    )
    assert merged.saved.effect == pytest.approx(as_weights.saved.effect, rel=1e-3)


@pytest.mark.parametrize("ends", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])
def test_an_adapter_on_tied_embeddings_is_merged_only_once_they_are_untied(
    ends: list[str], saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("llama", tie_word_embeddings=True)
    trained = adapter(base, target_modules=["q_proj", *ends])
    found = find_checkpoint(str(trained))
    with pytest.raises(CheckpointError, match=r"embeddings that input and output share.*--untie"):
        export_weights(found, _new(tmp_path))
    export_weights(found, _new(tmp_path, "untied"), untie=True)
    assert torch.allclose(_logits(tmp_path / "untied"), _logits(base, trained), atol=1e-4)


def test_an_adapter_that_peft_ties_by_itself_is_not_merged(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("llama", tie_word_embeddings=True)
    trained = adapter(base, target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True)
    with pytest.raises(CheckpointError, match="embeddings that input and output share"):
        export_weights(find_checkpoint(str(trained)), _new(tmp_path), untie=True)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}])
def test_other_kinds_of_adapters_are_merged_too(
    settings: dict[str, Any], saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("qwen3", tie_word_embeddings=False)
    trained = adapter(base, **settings)
    export_weights(find_checkpoint(str(trained)), _new(tmp_path))
    assert torch.allclose(_logits(tmp_path / "out"), _logits(base, trained), atol=1e-4)


def test_the_bias_by_which_experts_are_chosen_is_saved_in_float32_whatever_the_weights_are(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    """Its values are close beside each other: rounded to bfloat16, other experts would be chosen."""
    sizes = {"n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
    base = saved("glm4_moe", first_k_dense_replace=1, moe_intermediate_size=16, **sizes)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    bias = 7 + torch.rand(8) / 8
    name, place = next((name, part) for name, part in model.named_buffers() if "e_score_correction_bias" in name)
    place.copy_(bias)
    model.save_pretrained(base)
    export_weights(find_checkpoint(str(adapter(base, target_modules=["o_proj"]))), _new(tmp_path))
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as weights:
        assert torch.equal(weights.get_tensor(name), bias)
        assert weights.get_tensor("model.embed_tokens.weight").dtype == torch.bfloat16


@pytest.mark.parametrize(
    "settings",
    [{"rank_pattern": {"q_proj": 8}}, {"alpha_pattern": {"q_proj": 32}}, {"init_lora_weights": "pissa"}],
)
def test_an_adapter_whose_settings_vllm_does_not_read_is_said_to_answer_otherwise_there(
    settings: dict[str, Any], saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("llama")
    found = find_checkpoint(str(adapter(base, **settings)))
    exported = export_adapter(found, _new(tmp_path), base="me/base", opens_at=str(base))
    told = f"vLLM does not read {next(iter(settings))}, and answers otherwise: export it as merged for that."
    assert exported.notes == (told,)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_that_vllm_would_refuse_is_said_to_be_one(
    settings: dict[str, Any], saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("qwen3", tie_word_embeddings=False)
    found = find_checkpoint(str(adapter(base, **settings)))
    exported = export_adapter(found, _new(tmp_path), base="me/base", opens_at=str(base))
    assert f"vLLM serves no adapter with {next(iter(settings))}" in exported.notes[0]


def test_full_weights_are_compared_with_the_parent(saved: SavedModel, tmp_path: Path) -> None:
    parent = saved("llama")
    trained = tmp_path / "trained"
    model = AutoModelForCausalLM.from_pretrained(parent)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.add_(0.05)
    model.save_pretrained(trained)
    AutoTokenizer.from_pretrained(parent).save_pretrained(trained)
    found = find_checkpoint(str(trained))
    exported = export_weights(found, _new(tmp_path), parent=find_checkpoint(str(parent)))
    assert exported.has_base
    assert exported.saved.effect > 0
    assert exported.saved.error == 0
    assert not export_weights(found, _new(tmp_path, "alone")).has_base
    with pytest.raises(CheckpointError, match="answers exactly as its base"):
        export_weights(found, _new(tmp_path, "same"), parent=found)


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("rope", "older"),
    [
        ({"rope_type": "default", "rope_theta": 1_000_000.0}, {"rope_theta": 1_000_000.0}),
        (LLAMA_3, {"rope_theta": 500_000.0, "rope_scaling": {k: v for k, v in LLAMA_3.items() if k != "rope_theta"}}),
    ],
)
def test_merged_weights_keep_their_positions_for_transformers_4(
    rope: dict[str, Any], older: dict[str, Any], saved: SavedModel, tmp_path: Path
) -> None:
    # What transformers 4.57.6 reads of either file is held by findings/transformers-4-reads-5.sh.
    base = saved("llama")
    model = AutoModelForCausalLM.from_pretrained(base, rope_parameters=rope)
    model.save_pretrained(base)
    export_weights(find_checkpoint(str(base)), _new(tmp_path))
    written = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert {key: written[key] for key in older} == older
    assert ("rope_scaling" in written) == ("rope_scaling" in older)
    assert AutoConfig.from_pretrained(tmp_path / "out").rope_parameters == rope


def test_generation_samples_from_all_tokens_and_ends_at_every_end_of_turn(
    saved: SavedModel, adapter: SavedAdapter, tmp_path: Path
) -> None:
    base = saved("llama")
    found = find_checkpoint(str(adapter(base)))
    tokenizer = AutoTokenizer.from_pretrained(base)
    export_weights(found, _new(tmp_path), temperature=0.7)
    export_adapter(found, _new(tmp_path, "peft"), base="me/base", opens_at=str(base), temperature=0.7)
    for name in ("out", "peft"):
        config = GenerationConfig.from_pretrained(tmp_path / name)
        assert (config.do_sample, config.temperature, config.top_k, config.top_p) == (True, 0.7, 0, 1.0)
        assert config.eos_token_id == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
        assert AutoTokenizer.from_pretrained(tmp_path / name).chat_template == tokenizer.chat_template


@pytest.mark.parametrize("place", ["/gone/for good/and/ever", "a:b/c d"])
def test_a_tokenizer_whose_place_is_gone_is_saved_without_the_files_beside_it(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Opened:
        name_or_path = place

    copy_vocabularies(Opened(), tmp_path)
    assert not list(tmp_path.iterdir())
    assert f"{place}: files beside its tokenizer are not copied" in caplog.text
