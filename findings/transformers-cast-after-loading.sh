#!/usr/bin/env bash
# Casting a model after it was loaded is not loading it in that type: parts that stay in float32 are rounded, for good.
#
# Versions: torch 2.13.0, transformers 5.23.0
#
# Guess from memory: `from_pretrained(..., dtype=torch.float32).to(torch.bfloat16)` is `from_pretrained(..., dtype=
#   torch.bfloat16)`, and a merge in float32 that is cast before it is saved loses what any bfloat16 checkpoint loses.
# Behaviour: loading keeps what a class names in `_keep_in_fp32_modules_strict` in float32, whatever the dtype; `.to()`
#   and `.half()` don't. Of DeepSeek-V3 and GLM-4-MoE it is the bias by which experts are chosen: values near 1 that
#   differ by a thousandth become one value, and other experts are chosen. Saved, the file has bfloat16, and a later
#   load shows float32 again with the rounded values in it. No warning.
# Fix: cast by parameter and leave those names out, or save in float32 and load in the other type.
#
# Output seen (16 experts whose biases all differ):
#   loaded in bfloat16    torch.float32    16 different values of 16
#   loaded, then cast     torch.bfloat16    1 different values of 16
#   saved after that      torch.float32     1 different values of 16
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from transformers import AutoModelForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

torch.manual_seed(0)
model = DeepseekV3ForCausalLM(DeepseekV3Config(
    vocab_size=64, hidden_size=32, intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=4, n_routed_experts=16, num_experts_per_tok=2, n_group=1, topk_group=1,
    first_k_dense_replace=1, q_lora_rank=None, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8))
[name] = [name for name, _ in model.named_buffers() if name.endswith("e_score_correction_bias")] or \
    [name for name, _ in model.named_parameters() if name.endswith("e_score_correction_bias")]
with torch.no_grad():
    model.get_submodule(name.rpartition(".")[0]).e_score_correction_bias.copy_(1.0 + torch.arange(16) / 4000)
model.save_pretrained("model")


def bias(model):
    return model.get_submodule(name.rpartition(".")[0]).e_score_correction_bias.detach()


loaded = AutoModelForCausalLM.from_pretrained("model", dtype=torch.bfloat16)
cast = AutoModelForCausalLM.from_pretrained("model", dtype=torch.float32).to(torch.bfloat16)
cast.save_pretrained("cast")
again = AutoModelForCausalLM.from_pretrained("cast", dtype=torch.bfloat16)
seen = {"loaded in bfloat16": loaded, "loaded, then cast": cast, "saved after that": again}
for what, one in seen.items():
    print(f"{what:<20}  {str(bias(one).dtype):<15}  {bias(one).float().unique().numel():>2} different values of 16")
if [bias(one).float().unique().numel() for one in seen.values()] == [16] * 3 or bias(loaded).dtype != torch.float32:
    sys.exit("the behaviour changed")
EOF
TQDM_DISABLE=1 "$work/venv/bin/python" show.py
