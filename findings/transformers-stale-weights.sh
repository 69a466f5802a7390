#!/usr/bin/env bash
# A model that is saved in shards into the folder of its older self is the older one again when it is loaded.
#
# Versions: torch 2.13.0, transformers 5.23.0
#
# Guess from memory: `save_pretrained` replaces what it saved there before; it does remove shards that are left over.
# Behaviour: a `model.safetensors` from a save without shards stays beside the new index and its shards, and
#   `from_pretrained` reads it first: the weights from before the training, without a word. Whoever reads by the index
#   gets the new ones. It takes no more than weights that have grown over `max_shard_size` in between (a higher dtype,
#   more tokens), or another limit. The other way round the new file is read, and the old index stays beside it.
# Fix: save into an empty folder, or remove model.safetensors before saving.
#
# Output seen (every weight of the second save is 0.5):
#   first save, one file          model.safetensors
#   second save, in shards        model.safetensors and 6 shards with an index
#   loaded                        0 of 21 weights are those of the second save
#   after removing the old file   21 of 21 weights are those of the second save
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
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

folder = Path("model")
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2))


def files():
    return sorted(path.name for path in folder.glob("*.safetensors"))


def loaded():
    weights = LlamaForCausalLM.from_pretrained(folder).state_dict()
    return sum(bool((weight == 0.5).all()) for weight in weights.values()), len(weights)


model.save_pretrained(folder)
first = files()
with torch.no_grad():
    for weight in model.parameters():
        weight.fill_(0.5)
model.save_pretrained(folder, max_shard_size="20KB")
second = files()
shards = [name for name in second if "-of-" in name]
has_index = (folder / "model.safetensors.index.json").is_file()
before = loaded()
(folder / "model.safetensors").unlink()
after = loaded()
print("first save, one file         ", *first)
print("second save, in shards       ", *[name for name in second if name not in shards],
      f"and {len(shards)} shards with{'' if has_index else 'out'} an index")
print("loaded                       ", f"{before[0]} of {before[1]} weights are those of the second save")
print("after removing the old file  ", f"{after[0]} of {after[1]} weights are those of the second save")
sys.exit(not (first == ["model.safetensors"] and first[0] in second and before[0] == 0 and after[0] == after[1]))
EOF
"$work/venv/bin/python" show.py 2> /dev/null
