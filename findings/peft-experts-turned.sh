#!/usr/bin/env bash
# An adapter of a mixture's experts that PEFT 0.18 saved is another one in 0.21, in silence where their matrix is square.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.18.1 writes, peft 0.21.2 reads
#
# Guess from memory: an adapter opens in a later PEFT as what it was, and what no longer fits is an error.
# Behaviour: from 0.19 on PEFT has the two sides of an update of experts (target_parameters) exchanged: lora_A reads what
#   the experts read. An older adapter ends in a size mismatch, but for a matrix with as many rows as columns:
#   gate_up_proj where an expert is half as wide as the model, down_proj where it is as wide. There it opens without a
#   warning, and what is added is another matrix. peft_version in adapter_config.json says who saved it; nothing reads it.
# Fix: merge such an adapter with the version that saved it, or exchange lora_A and lora_B, each transposed by expert.
#
# Output seen (largest differences of a logit from the base's, and from what the adapter was), experts of a model 32 wide:
#   experts 24 wide   PEFT 0.18.1 saves; logits move by 4.0969
#   experts 16 wide   PEFT 0.18.1 saves; logits move by 2.1002
#   experts 24 wide   PEFT 0.21.2 refuses: size mismatch
#   experts 16 wide   PEFT 0.21.2 opens it; logits move by 4.0462, off by 4.4464
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
"$work/venv/bin/pip" install --quiet --no-deps --target "$work/older" peft==0.18.1
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOP'
import sys

import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

IDS = torch.arange(1, 9)[None]


def base(inner):
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(
        vocab_size=300, hidden_size=32, intermediate_size=32, moe_intermediate_size=inner, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2,
        initializer_range=0.2)).eval()


@torch.no_grad()
def logits(model):
    return model(IDS).logits


for inner in (24, 16):
    place = f"adapter-{inner}"
    if sys.argv[1] == "write":
        model, before = base(inner), logits(base(inner))
        adapted = get_peft_model(model, LoraConfig(
            r=4, lora_alpha=8, target_modules=[], target_parameters=["mlp.experts.gate_up_proj"])).eval()
        with torch.no_grad():
            for name, weight in adapted.named_parameters():
                if "lora_" in name:
                    torch.nn.init.normal_(weight, 0, 0.2)
        adapted.save_pretrained(place)
        torch.save(logits(adapted), f"{place}.pt")
        moved = (logits(adapted) - before).abs().max().item()
        print(f"experts {inner} wide   PEFT {peft.__version__} saves; logits move by {moved:.4f}")
        continue
    wanted, plain = torch.load(f"{place}.pt"), logits(base(inner))
    try:
        seen = logits(PeftModel.from_pretrained(base(inner), place).eval())
    except RuntimeError as error:
        told = "size mismatch" if "size mismatch" in str(error) else str(error)
        print(f"experts {inner} wide   PEFT {peft.__version__} refuses: {told}")
        is_as_said = inner == 24 and told == "size mismatch"
    else:
        off, moved = (seen - wanted).abs().max().item(), (seen - plain).abs().max().item()
        print(f"experts {inner} wide   PEFT {peft.__version__} opens it; logits move by {moved:.4f}, off by {off:.4f}")
        is_as_said = inner == 16 and off > 0.1
    if not is_as_said:
        sys.exit("the behaviour changed")
EOP
export PYTHONWARNINGS=ignore
PYTHONPATH="$work/older" venv/bin/python show.py write
venv/bin/python show.py read
