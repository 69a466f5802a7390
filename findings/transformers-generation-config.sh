#!/usr/bin/env bash
# A GenerationConfig of one's own is filled up from the checkpoint's: top_k=None in it is the checkpoint's top_k.
#
# Versions: torch 2.13.0, transformers 5.23.0
#
# Guess from memory: generate(generation_config=GenerationConfig(do_sample=True)) replaces what generation_config.json
#   says, and samples from the whole distribution, since nothing in it says otherwise.
# Behaviour: every setting that is None is taken from the checkpoint's, and then from defaults that no config shows: with
#   none anywhere top_k is 50. Two checkpoints are sampled differently with one config, if one of them brings a
#   generation_config.json (Qwen's sets top_k, top_p and a repetition penalty), and neither is sampled from its whole
#   distribution: rare answers are rarer than they are. top_k=None in a GenerationConfig changes nothing, while as an
#   argument of generate() it switches top_k off. No warning.
# Fix: numbers for everything, top_k=0 and top_p=1.0 among them.
#
# Output seen (different tokens in 1,500 draws from nearly even probabilities of 300 tokens):
#                                                  no file   file with top_k 5
#   do_sample=True                                      50                   5
#   GenerationConfig(do_sample=True)                    50                   5
#   GenerationConfig(do_sample=True, top_k=None)        50                   5
#   do_sample=True, top_k=None                         300                 300
#   GenerationConfig(do_sample=True, top_k=0)          300                 300
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
made = LlamaForCausalLM(LlamaConfig(
    vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, bos_token_id=None,
    eos_token_id=None,
))
made.save_pretrained("plain")
pathlib.Path("plain/generation_config.json").unlink()
made.generation_config.update(do_sample=True, top_k=5)
made.save_pretrained("with_file")
EXPECTED = [
    ("do_sample=True", {}, False, (50, 5)),
    ("GenerationConfig(do_sample=True)", {}, True, (50, 5)),
    ("GenerationConfig(do_sample=True, top_k=None)", {"top_k": None}, True, (50, 5)),
    ("do_sample=True, top_k=None", {"top_k": None}, False, (300, 300)),
    ("GenerationConfig(do_sample=True, top_k=0)", {"top_k": 0}, True, (300, 300)),
]
models = [AutoModelForCausalLM.from_pretrained(folder).eval() for folder in ("plain", "with_file")]
prompts = torch.full((1500, 1), 7)
print(f"{'':<44} {'no file':>9} {'file with top_k 5':>19}")
for title, given, as_config, expected in EXPECTED:
    options = {"do_sample": True, "max_new_tokens": 1, "pad_token_id": 0, **given}
    n_tokens = []
    for model in models:
        torch.manual_seed(1)
        used = {"generation_config": GenerationConfig(**options)} if as_config else options
        out = model.generate(prompts, attention_mask=torch.ones_like(prompts), **used)
        n_tokens.append(len(set(out[:, 1].tolist())))
    print(f"{title:<44} {n_tokens[0]:>9} {n_tokens[1]:>19}")
    if any(abs(seen - wanted) > wanted // 30 for seen, wanted in zip(n_tokens, expected, strict=True)):
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
