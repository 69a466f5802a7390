#!/usr/bin/env bash
# The average of two adapters by combination_type="linear" is no average: of an adapter and itself it is the double.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2
#
# Guess from memory: add_weighted_adapter(["a", "b"], [0.5, 0.5], ..., combination_type="linear") gives half the
#   update of a plus half the update of b, as its name says.
# Behaviour: it adds the factors, each times the root of its weight, and the update is their product: (B1 + B2)(A1 +
#   A2) / 2. That has two products of one adapter's B with the other one's A, which belong to neither. For unlike
#   adapters these are as large as the average itself; for like ones (checkpoints of one run) they add up to twice the
#   average. "ties" works on the factors, too, and with nothing pruned gives half. No warning about either.
# Fix: "cat" is exact (its rank is the sum of the ranks); "svd" is as near as its rank allows.
#
# Output seen:
#   an adapter and itself:
#     cat     size 1.00 of the average's, difference 0.00
#     svd     size 1.00 of the average's, difference 0.00
#     linear  size 2.00 of the average's, difference 1.00
#     ties    size 0.50 of the average's, difference 0.50
#   two checkpoints of a run:
#     cat     size 1.00 of the average's, difference 0.00
#     svd     size 1.00 of the average's, difference 0.00
#     linear  size 2.00 of the average's, difference 1.00
#     ties    size 0.50 of the average's, difference 0.50
#   two adapters:
#     cat     size 1.00 of the average's, difference 0.00
#     svd     size 0.83 of the average's, difference 0.56
#     linear  size 1.44 of the average's, difference 0.99
#     ties    size 0.86 of the average's, difference 0.92
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 peft==0.21.2
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.filterwarnings("ignore", message="The density|.*is_gradient_checkpointing")
torch.manual_seed(0)
LORA = LoraConfig(r=4, target_modules=["q_proj"])
model = get_peft_model(
    LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64,
    )),
    LORA, adapter_name="first",
)
for name in ("later", "other"):
    model.add_adapter(name, LORA)
(layer,) = (module for module in model.modules() if hasattr(module, "lora_A"))
with torch.no_grad():
    for name in ("first", "other"):
        layer.lora_B[name].weight.normal_()
    for factor in (layer.lora_A, layer.lora_B):  # a later checkpoint of the same run: a tenth of it is new
        first = factor["first"].weight
        factor["later"].weight.copy_(first + 0.1 * first.std() * torch.randn_like(first))


def update(name):
    return layer.get_delta_weight(name).detach()


seen = {}
for title, names in {
    "an adapter and itself": ["first", "first"],
    "two checkpoints of a run": ["first", "later"],
    "two adapters": ["first", "other"],
}.items():
    average = sum(update(name) for name in names) / 2
    print(f"{title}:")
    for how in ("cat", "svd", "linear", "ties"):
        model.add_weighted_adapter(names, [0.5, 0.5], f"{title} {how}", combination_type=how, density=1.0)
        made = update(f"{title} {how}")
        size, error = made.norm() / average.norm(), (made - average).norm() / average.norm()
        print(f"  {how:<7} size {size:.2f} of the average's, difference {error:.2f}")
        seen[title, how] = (size.item(), error.item())

itself, checkpoints, unlike = (seen[title, "linear"] for title in dict.fromkeys(title for title, _ in seen))
exact = all(error < 1e-4 for (_, how), (_, error) in seen.items() if how == "cat")
if not (exact and abs(itself[0] - 2) < 0.01 and checkpoints[0] > 1.9 and unlike[1] > 0.8):
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
