"""An adapter reaches what was meant, on every architecture, or is refused with the names that this one has."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from midspec.core.errors import CheckpointError, ConfigError
from midspec.models import quiet, refuse_uncomputed
from midspec.train import LoraRecipe, Recipe, TrainJob, train
from midspec.train._adapter import add_fresh_adapter, layer_weights, targeted
from midspec.train._checks import refuse_unopened
from midspec.train._probe import Computation

MakeJob = Callable[..., TrainJob]
SIZES: dict[str, Any] = {
    "vocab_size": 46,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
QWEN_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "head_dim": 8,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "phi3": {},
    "phi": {"num_key_value_heads": 4},
    "starcoder2": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "glm4": {"head_dim": 8},
    "mixtral": EXPERTS,
    "gpt_oss": EXPERTS | {"head_dim": 8, "sliding_window": 16},
    "qwen2_moe": QWEN_EXPERTS | {"shared_expert_intermediate_size": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "modernbert-decoder": {"bos_token_id": 2},  # its output head is called its decoder
}
WHOLE = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "mistral": {},
}


def fresh(family: str, sizes: dict[str, Any], lora: LoraRecipe) -> Any:
    torch.manual_seed(0)
    with quiet():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(SIZES | sizes)))
    return add_fresh_adapter(model, lora, "base")


@pytest.mark.parametrize("family", WHOLE)
def test_the_default_names_reach_every_matrix_of_the_usual_families(family: str) -> None:
    adapted = fresh(family, WHOLE[family], LoraRecipe(r=2))
    assert len(targeted(adapted)) == 7 * SIZES["num_hidden_layers"]


@pytest.mark.parametrize("family", FAMILIES)
def test_default_names_that_leave_out_layers_are_refused_with_the_names_that_there_are(family: str) -> None:
    with pytest.raises(ConfigError, match=r"would reach \d+% of the weights.*Name what there is, \w+") as caught:
        fresh(family, FAMILIES[family], LoraRecipe(r=2))
    assert caught.value.where == "recipe.lora.target_modules"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in {"mixtral", "gpt_oss", "qwen2_moe"}])
def test_all_linear_reaches_every_matrix_and_not_the_head(family: str) -> None:
    adapted = fresh(family, FAMILIES[family], LoraRecipe(r=2, target_modules="all-linear"))
    assert not any("lm_head" in name or "embed" in name for name in targeted(adapted))
    with quiet():
        plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(SIZES | FAMILIES[family])))
    assert targeted(adapted) == set(layer_weights(plain))


def test_peft_itself_reaches_the_experts_of_mixtral() -> None:
    """PEFT 0.21 turns "all-linear" into Mixtral's fused experts, and its router, but no other mixture's."""
    reached = targeted(fresh("mixtral", FAMILIES["mixtral"], LoraRecipe(r=2, target_modules="all-linear")))
    assert {name.partition("layers.0.")[2] for name in reached if "layers.0.mlp" in name} == {
        "mlp.experts.gate_up_proj",
        "mlp.experts.down_proj",
        "mlp.gate.weight",
    }


@pytest.mark.parametrize("family", ["gpt_oss", "qwen2_moe"])
def test_fused_experts_are_reached_as_parameters(family: str) -> None:
    with pytest.raises(ConfigError, match=r"target_parameters: .*experts\.gate_up_proj, experts\.down_proj"):
        fresh(family, FAMILIES[family], LoraRecipe(r=2, target_modules="all-linear"))
    names = ("experts.gate_up_proj", "experts.down_proj")
    lora = LoraRecipe(r=2, target_modules="all-linear", target_parameters=names)
    reached = targeted(fresh(family, FAMILIES[family], lora))
    assert sum(name.endswith(names) for name in reached) == 4
    assert any(name.endswith("q_proj") for name in reached)


def test_gpt2s_layers_are_named(tmp_path: Path) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    with pytest.raises(ConfigError, match="Name what there is, c_attn, c_proj, c_fc, or all-linear"):
        fresh("gpt2", sizes, LoraRecipe(r=2))
    assert len(targeted(fresh("gpt2", sizes, LoraRecipe(r=2, target_modules=("c_attn",))))) == 2


@pytest.mark.parametrize("family", ["mamba", "falcon_mamba"])
def test_names_that_peft_bars_in_a_family_are_not_offered(family: str) -> None:
    sizes = {"state_size": 8, "num_key_value_heads": 4}
    with pytest.raises(ConfigError, match=r"Name what there is, in_proj, x_proj, dt_proj$"):
        fresh(family, sizes, LoraRecipe(r=2, target_modules="all-linear"))
    assert targeted(fresh(family, sizes, LoraRecipe(r=2, target_modules=("in_proj",))))


def test_an_adapter_on_layers_that_are_computed_otherwise_is_refused() -> None:
    """DeepSeek V4's grouped output projection is a linear layer by its class, and takes other shapes."""
    model = fresh("llama", {}, LoraRecipe(r=2))
    layer = model.base_model.model.model.layers[0].self_attn.o_proj
    refuse_uncomputed(model, "base")
    layer.lora_A["default"] = torch.nn.Linear(8, 2)
    with pytest.raises(CheckpointError, match=r"can't be computed with this adapter .* no plain linear layers"):
        refuse_uncomputed(model, "base")


@pytest.mark.parametrize(
    ("kind", "is_opened"), [("mllama_text_model", False), ("llama", True), ("llama4_text", True), ("gemma4", True)]
)
def test_all_weights_of_a_part_that_has_no_class_of_its_own_are_refused(kind: str, is_opened: bool) -> None:
    """Llama 3.2 Vision's text part is opened out of the whole, and would be saved as what nothing opens."""
    model = SimpleNamespace(config=AutoConfig.for_model(kind))
    if is_opened:
        refuse_unopened(model, "base")
        return
    with pytest.raises(CheckpointError, match=r"all weights of a MllamaText would be saved .*method to lora"):
        refuse_unopened(model, "base")


def test_a_name_that_matches_nothing_is_refused_beside_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"layers: no qq_proj\. Name what there is, q_proj, k_proj"):
        fresh("llama", {}, LoraRecipe(r=2, target_modules=("qq_proj", "v_proj")))


def test_a_pattern_is_taken_as_peft_takes_it() -> None:
    lora = LoraRecipe(r=2, target_modules=r".*layers\.1\..*(q_proj|v_proj)")
    assert targeted(fresh("llama", {}, lora)) == {f"model.layers.1.self_attn.{name}_proj" for name in "qv"}
    with pytest.raises(ConfigError, match="no such adapter can be added"):
        fresh("llama", {}, LoraRecipe(r=2, target_modules="nowhere.*"))
    with pytest.raises(ConfigError, match="no such adapter can be added"):
        fresh("llama", {}, LoraRecipe(r=2, target_modules="*("))


def test_names_that_only_some_layers_have_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "midspec"):
        fresh("lfm2", FAMILIES["lfm2"], LoraRecipe(r=2, target_modules=("q_proj", "w1")))
    assert "of 2 layers, q_proj are in 1" in caplog.text


def multimodal() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {name: value for name, value in SIZES.items() if name != "bos_token_id"}
    text |= {"vocab_size": 400, "head_dim": 8, "query_pre_attn_scalar": 8}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision |= {"image_size": 28, "patch_size": 14}
    marks = {"boi_token_index": 390, "eoi_token_index": 391, "image_token_index": 392}
    torch.manual_seed(0)
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **marks)
    )


@pytest.mark.parametrize("names", [LoraRecipe().target_modules, "all-linear", r".*(q_proj|fc1)"])
def test_text_puts_no_adapter_on_the_tower_for_images(names: Any) -> None:
    reached = targeted(add_fresh_adapter(multimodal(), LoraRecipe(r=2, target_modules=names), "base"))
    assert reached
    assert all("language_model" in name for name in reached)


# A parent's adapter --------------------------------------------------------------------------------------------


@pytest.fixture
def base(tiny_model: Callable[..., Any], tokenizer_folder: Path, tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def parent(base: Path, **settings: Any) -> Path:
    """An adapter as others make it, with all weights drawn."""
    folder = base.parent / "adapter"
    chosen = {"r": 3, "lora_alpha": 5, "task_type": "CAUSAL_LM", "init_lora_weights": False} | settings
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base)
        get_peft_model(model, LoraConfig(**chosen)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


FULL_NAMES = [f"model.layers.{layer}.self_attn.{name}_proj" for layer in (0, 1) for name in "qv"]
PARENTS: dict[str, dict[str, Any]] = {
    "names": {"target_modules": ["q_proj", "v_proj"]},
    "full names": {"target_modules": FULL_NAMES},
    "a pattern": {"target_modules": r".*\.self_attn\.(q_proj|v_proj)"},
    "rsLoRA": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "DoRA": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "modules to save": {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("kind", PARENTS)
def test_a_parents_adapter_is_trained_on_as_it_is(make_job: MakeJob, base: Path, tmp_path: Path, kind: str) -> None:
    folder = parent(base, **PARENTS[kind])
    (tmp_path / "out").mkdir()
    train(make_job(stage="finetune", parent=str(folder), recipe={"method": "lora"}), tmp_path / "out", device="cpu")
    before = json.loads((folder / "adapter_config.json").read_text())
    after = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    for name in ("r", "lora_alpha", "use_rslora", "use_dora", "modules_to_save"):
        assert after[name] == before[name]
    same = {"method": "lora", "lora": {"r": 3, "alpha": 5, "target_modules": ["v_proj", "q_proj"]}}
    (tmp_path / "again").mkdir()
    train(make_job(stage="finetune", parent=str(folder), recipe=same), tmp_path / "again", device="cpu")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / "out" / weights).read_bytes()


def test_a_parents_adapter_of_another_kind_is_refused_with_the_way_on(
    make_job: MakeJob, base: Path, tmp_path: Path
) -> None:
    """PEFT could train it on, but a recipe has no settings of its kind to hold it to."""
    config = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    with quiet():
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    job = make_job(stage="finetune", parent=str(tmp_path / "adapter"), recipe={"method": "lora"})
    with pytest.raises(CheckpointError, match="of kind IA3, and only LoRA is trained further"):
        train(job, tmp_path / "out", device="cpu")


@pytest.mark.parametrize(
    ("lora", "field"),
    [({"r": 4}, "r"), ({"alpha": 6}, "alpha"), ({"target_modules": ["q_proj"]}, "target_modules")],
)
def test_a_recipe_that_asks_for_another_adapter_than_the_parents_is_refused(
    make_job: MakeJob, base: Path, tmp_path: Path, lora: dict[str, Any], field: str
) -> None:
    folder = parent(base, **PARENTS["a pattern"])
    job = make_job(stage="finetune", parent=str(folder), recipe={"method": "lora", "lora": lora})
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match=rf"differs from the parent adapter in {field}\."):
        train(job, tmp_path / "out", device="cpu")


def test_what_came_later_leaves_the_identity_of_a_recipe_as_it_was() -> None:
    assert "target_parameters" not in Recipe().identity()["lora"]  # type: ignore[operator]
    assert "pack" not in Recipe().identity()
    named = Recipe(lora=LoraRecipe(target_modules="all-linear", target_parameters=("experts.down_proj",)), pack="never")
    assert named.identity()["lora"]["target_modules"] == "all-linear"  # type: ignore[index,call-overload]
    assert named.identity()["lora"]["target_parameters"] == ["experts.down_proj"]  # type: ignore[index,call-overload]
    assert named.identity()["pack"] == "never"


def test_an_adapter_with_trained_tokens_is_computed_in_bfloat16() -> None:
    with quiet():
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES))
        tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[5, 6]))
    ids = torch.tensor([[4, 5, 6]])
    expected = tuned(input_ids=ids).logits
    with Computation(torch.bfloat16, "sdpa", None).installed(tuned), torch.autocast("cpu", torch.bfloat16):
        found = tuned(input_ids=ids).logits
    assert torch.allclose(found.float(), expected, atol=0.02)
