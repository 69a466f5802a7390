#!/usr/bin/env bash
# disable_adapter() gives the base model only if the adapter began at zero: with PiSSA or OLoRA it is neither base nor tuned.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2
#
# Guess from memory: within model.disable_adapter() the model answers as the base that it was made of, so that it serves as
#   the reference of DPO or GRPO, or as the control arm of an evaluation, without a second copy.
# Behaviour: init_lora_weights="pissa" and "olora" put a part of each weight into the adapter, and
#   take it out of the base. Before any training the two together are the base, and what is left without the adapter
#   is a model that nobody trained. A KL term or a reward against it is not 0 at the start, and a control arm is no
#   control. unload() leaves that same model. No warning.
# Fix: for such an adapter load the base anew as the reference; check that logits without the adapter are the base's.
#
# Output seen (largest difference of a logit from the base's, before any training):
#   init_lora_weights   adapter on  disabled  unloaded
#   True                    0.0000    0.0000    0.0000
#   pissa                   0.0000    2.7054    2.7054
#   olora                   0.0000    3.8468    3.8468
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

ids = torch.arange(1, 9)[None]
print("init_lora_weights   adapter on  disabled  unloaded")
for start in (True, "pissa", "olora"):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        initializer_range=0.2)).eval()
    with torch.no_grad():
        base = model(ids).logits
        adapted = get_peft_model(model, LoraConfig(
            r=4, target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], init_lora_weights=start)).eval()
        seen = [adapted(ids).logits]
        with adapted.disable_adapter():
            seen.append(adapted(ids).logits)
        seen.append(adapted.unload()(ids).logits)
    on, disabled, unloaded = ((logits - base).abs().max().item() for logits in seen)
    print(f"{start!s:<19} {on:10.4f} {disabled:9.4f} {unloaded:9.4f}")
    is_base = start is True
    if on > 1e-3 or (disabled < 1e-3) != is_base or (unloaded < 1e-3) != is_base:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
