#!/usr/bin/env bash
# With longrope (Phi-3 128k, Phi-4-mini) the scores of a prompt depend on the longest row of its batch, and on its padding.
#
# Versions: torch 2.13.0, transformers 5.23.0
#
# Guess from memory: a row that is padded and masked has the same log-probabilities as alone, as in every other family.
# Behaviour: short or long factors are chosen once for the whole batch, by the highest position in it; without
#   position_ids padding counts as well. A short prompt beside one that is longer than
#   original_max_position_embeddings, or only padded beyond it, is computed with the long factors: other scores, other
#   greedy text. So results depend on batch size and order of rows, and one training step on its micro-batches. With
#   position_ids that stay low for padding, padding alone changes nothing. No warning.
# Fix: rows of both sides of original_max_position_embeddings in batches of their own.
#
# Output seen (sum of log-probabilities of the same 20 tokens; boundary at 64):
#   alone                         -92.293
#   padded to 80                  -92.565
#   beside a row of 80            -92.565
#   padded to 80, low positions   -92.293
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
from transformers import Phi3Config, Phi3ForCausalLM

torch.manual_seed(0)
model = Phi3ForCausalLM(Phi3Config(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=256, original_max_position_embeddings=64, initializer_range=0.2,
    pad_token_id=0, bos_token_id=1, eos_token_id=2,
    rope_scaling={"type": "longrope", "rope_type": "longrope", "short_factor": [1.0] * 4,
                  "long_factor": [1.0, 2.0, 4.0, 8.0]})).eval()
short, long = torch.randint(3, 64, (1, 20)), torch.randint(3, 64, (1, 80))
padded = torch.zeros(1, 80, dtype=torch.long)
padded[0, :20] = short
mask = torch.zeros(1, 80, dtype=torch.long)
mask[0, :20] = 1


def score(**inputs):
    with torch.no_grad():
        logits = model(**inputs).logits[0, :19].log_softmax(-1)
    return logits.gather(1, short[0, 1:, None]).sum().item()


seen = {
    "alone": score(input_ids=short),
    "padded to 80": score(input_ids=padded, attention_mask=mask),
    "beside a row of 80": score(input_ids=torch.cat([padded, long]), attention_mask=torch.cat([mask, mask | 1])),
    "padded to 80, low positions": score(
        input_ids=padded, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)),
}
for name, value in seen.items():
    print(f"{name:<28}  {value:.3f}")
alone, at_80, beside, low = seen.values()
if abs(at_80 - alone) < 0.1 or abs(beside - at_80) > 1e-3 or abs(low - alone) > 1e-3:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
