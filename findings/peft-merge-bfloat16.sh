#!/usr/bin/env bash
# Most of a weak LoRA adapter is lost when it is merged into bfloat16 weights.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2
#
# Guess from memory: bfloat16 keeps a number to within 0.4%, so a merged adapter keeps nearly all of its effect.
# Behaviour: the 0.4% are of the weight, not of the update. An update smaller than half the spacing of bfloat16 at
#   its weight is rounded away; at a weight of 0.02 that is 6e-5. Where most updates of an adapter are smaller, the
#   logits keep a small part of their change. In float32 the merge keeps all of it. No warning.
# Fix: merge in float32 and save that, or serve the adapter unmerged.
#
# Output seen:
#   update (std)  share of the change of the logits kept by merging in
#   5e-06         float32 1.000, bfloat16 0.146
#   1e-05         float32 1.000, bfloat16 0.274
#   3e-05         float32 1.000, bfloat16 0.698
#   0.001         float32 1.000, bfloat16 0.999
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 peft==0.21.2
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES=""

cat > show.py <<'EOF'
import copy
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
base = LlamaForCausalLM(LlamaConfig(
    vocab_size=256, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, initializer_range=0.02,
)).to(torch.bfloat16)
tokens = torch.randint(0, 256, (8, 32))


@torch.no_grad()
def logits(model):
    """Logits in float32 arithmetic, so that only the rounding of the weights shows."""
    return copy.deepcopy(model).float().eval()(input_ids=tokens).logits


def with_adapter(dtype, size):
    torch.manual_seed(1)
    model = get_peft_model(copy.deepcopy(base).to(dtype), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    updates = []
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "lora_B"):
                module.lora_B["default"].weight.normal_()
                delta = module.get_delta_weight("default")
                module.lora_B["default"].weight *= size / delta.float().std()
                updates.append(module.get_delta_weight("default").float().std())
    return model, torch.stack(updates).mean().item()


def kept(dtype, size):
    model, update = with_adapter(dtype, size)
    plain, adapted = logits(base), logits(model)
    merged = logits(model.merge_and_unload())
    change = adapted - plain
    return update, (((merged - plain) * change).sum() / change.square().sum()).item()


seen = {}
print("update (std)  share of the change of the logits kept by merging in")
for size in (5e-6, 1e-5, 3e-5, 1e-3):
    row = {}
    for dtype in (torch.float32, torch.bfloat16):
        update, row[dtype] = kept(dtype, size)
    seen[size] = row
    print(f"{size:<12g}  float32 {row[torch.float32]:.3f}, bfloat16 {row[torch.bfloat16]:.3f}")

weak = seen[5e-6][torch.bfloat16] < 0.7 and seen[1e-5][torch.bfloat16] < 0.7
strong = seen[1e-3][torch.bfloat16] > 0.9
exact = all(abs(row[torch.float32] - 1) < 0.05 for row in seen.values())
if not (weak and strong and exact):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
