#!/usr/bin/env bash
# A LoRA adapter on a tied lm_head is merged twice with ensure_weight_tying=True, the very flag that PEFT's warning asks for.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2
#
# Guess from memory: ensure_weight_tying=True, which the warning about tied layers names, makes the adapter of lm_head and
#   that of the embedding one, so that merging keeps the model as it was.
# Behaviour: it does make them one, and merge_and_unload then adds that one to the shared matrix once for each of the
#   two layers: W + 2 BA, where the adapter was trained as W + BA. Without the flag BA is added once, but the input
#   embedding gets it, too, which it did not have in training. Either way the merged model is another one; the one
#   with the flag merges without any warning about it.
# Fix: untie before the adapter is made (tie_word_embeddings=False, and a copy of the embedding as the head), or leave
#   lm_head and embeddings out of target_modules. Compare logits before and after a merge.
#
# Output seen (the change of the head's weights by the merge, in units of BA; largest change of a logit by the merge):
#   tied                            1.00 BA  logits 3.55
#   tied, ensure_weight_tying=True  2.00 BA  logits 3.92
#   untied                          1.00 BA  logits 0.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 peft==0.21.2
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.simplefilter("ignore")
EXPECTED = [("tied", True, False, 1), ("tied, ensure_weight_tying=True", True, True, 2), ("untied", False, False, 1)]
for title, is_tied, ensure, expected in EXPECTED:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        tie_word_embeddings=is_tied)).eval()
    if not is_tied:
        model.lm_head.weight.data = model.model.embed_tokens.weight.data.clone()
    before = model.lm_head.weight.detach().clone()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["lm_head"], ensure_weight_tying=ensure)).eval()
    head = adapted.base_model.model.lm_head
    torch.nn.init.normal_(head.lora_B["default"].weight, std=0.1)
    update = head.get_delta_weight("default").detach()
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        trained = adapted(ids).logits
        merged = adapted.merge_and_unload()
        change = (merged(ids).logits - trained).abs().max().item()
    factor = ((merged.lm_head.weight - before) * update).sum().item() / update.square().sum().item()
    print(f"{title:<31} {factor:.2f} BA  logits {change:.2f}")
    if abs(factor - expected) > 0.01 or (change < 0.01) == is_tied:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
