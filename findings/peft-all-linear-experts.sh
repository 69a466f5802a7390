#!/usr/bin/env bash
# Whether LoRA on "all-linear" trains the routed experts depends on the name of the model type.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2
#
# Guess from memory: since transformers 5 the routed experts of a mixture-of-experts model are stacked parameters
#   and no nn.Linear, so target_modules="all-linear" either skips them in every such model, or reaches them in all.
# Behaviour: PEFT has a table of model types for which "all-linear" is widened to the stacked experts and the router.
#   Mixtral and Qwen3-MoE are in it. Qwen2-MoE and gpt-oss are not: there the adapter sits on attention (and the
#   shared expert) alone, most weights of the layers stay as they are, and no warning is given. (The warnings
#   for the two that are reached say that a pattern for rank and alpha matched nothing; they are not about this.)
# Fix: name the parameters, for example target_parameters=["experts.gate_up_proj", "experts.down_proj"].
#
# Output seen:
#   model type  share of layer weights  experts  router  warnings
#   mixtral                     100.0%  yes      yes     2
#   qwen3_moe                   100.0%  yes      yes     2
#   qwen2_moe                    19.9%  no       no      0
#   gpt_oss                      11.0%  no       no      0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 peft==0.21.2
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES=""

cat > show.py <<'EOF'
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GptOssConfig, MixtralConfig, Qwen2MoeConfig, Qwen3MoeConfig

SHAPE = dict(
    vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    num_experts_per_tok=2, max_position_embeddings=64,
)
CONFIGS = {
    "mixtral": MixtralConfig(**SHAPE, intermediate_size=32, num_local_experts=8),
    "qwen3_moe": Qwen3MoeConfig(**SHAPE, head_dim=8, moe_intermediate_size=32, num_experts=8),
    "qwen2_moe": Qwen2MoeConfig(
        **SHAPE, moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=8
    ),
    "gpt_oss": GptOssConfig(
        **SHAPE, head_dim=8, intermediate_size=32, num_local_experts=8,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
}


def kind(name):
    if ".experts." in name:
        return "experts"
    return "router" if ".gate.weight" in name or ".router.weight" in name else "other"


def reached(config):
    """Give the matrices of the layers that an adapter with random weights changes when it is merged."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    before = {
        name: value.clone()
        for name, value in model.state_dict().items()
        if ".layers." in name and value.ndim > 1 and not name.endswith("bias")
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    from_peft = [str(w.message) for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning))]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    after = model.merge_and_unload().state_dict()
    changed = {name: not torch.equal(value, after[name]) for name, value in before.items()}
    return before, changed, from_peft


seen, unsaid = {}, {}
print(f"{'model type':<10}  {'share of layer weights':>22}  experts  router  warnings")
for model_type, config in CONFIGS.items():
    before, changed, from_peft = reached(config)
    share = sum(v.numel() for n, v in before.items() if changed[n]) / sum(v.numel() for v in before.values())
    hit = {k: any(changed[n] for n in before if kind(n) == k) for k in ("experts", "router")}
    assert any(kind(n) == "experts" for n in before) and any(kind(n) == "router" for n in before), model_type
    seen[model_type] = (hit["experts"], hit["router"])
    if not hit["experts"]:
        unsaid[model_type] = not from_peft
    words = ["yes" if hit[k] else "no" for k in hit]
    print(f"{model_type:<10}  {share:>22.1%}  {words[0]:<7}  {words[1]:<6}  {len(from_peft)}")

expected = {
    "mixtral": (True, True), "qwen3_moe": (True, True),
    "qwen2_moe": (False, False), "gpt_oss": (False, False),
}
if seen != expected or not all(unsaid.values()):
    sys.exit(f"the behaviour changed: {seen}, without a warning: {unsaid}")
EOF
"$work/venv/bin/python" show.py
