#!/usr/bin/env bash
# A loop that writes token by token with a cache, right for any other model, is silently wrong for Mamba and Mamba 2.
#
# Versions: transformers 5.23.0 (torch 2.13.0)
#
# Guess from memory: since all caches are one class (`DynamicCache`), `model(ids, attention_mask=..., past_key_values=cache,
#   use_cache=True)`, one new token at a time, gives what the whole text gives; a model that takes another name says so.
# Behaviour: Mamba 2 (and Mamba) takes the same class under the name `cache_params`, and swallows
#   `past_key_values`: no error, the cache stays empty, and every new token sees itself alone. Under the right name Mamba 2
#   is exact, but Mamba is not as soon as the mask of all tokens is given, as every other family wants it: it multiplies
#   the one new token by the mask of all, which makes it as many tokens as there are places, and feeds them all.
#   `generate` is right in both: it knows the name, and drops the mask after the first step.
# Fix: take the name from `inspect.signature(model.forward)`, give Mamba no mask after the first step, and compare three
#   steps with a pass over the whole before trusting any family.
#
# Output seen (largest difference of logits from a pass over the whole text, as a share of the largest logit):
#   llama    past_key_values  mask     0.0000
#   mamba2   past_key_values  mask     1.2244
#   mamba2   cache_params     mask     0.0000
#   mamba    cache_params     mask     0.2507
#   mamba    cache_params     no mask  0.0000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0
cd "$work"

cat > show.py <<'PY'
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, logging

logging.set_verbosity_error()
SIZES = {
    "llama": {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "mamba": {"state_size": 8, "time_step_rank": 8},
}
ids = torch.arange(1, 13).unsqueeze(0)
mask = torch.ones_like(ids)


def off(family, name, masked):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "initializer_range": 0.2} | SIZES[family]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, -1]
        for start, end in ((0, 9), (9, 10), (10, 11), (11, 12)):
            given = {"attention_mask": mask[:, :end]} if masked or not start else {}
            last = model(input_ids=ids[:, start:end], use_cache=True, **given, **{name: cache}).logits[0, -1]
    return float((last - whole).abs().max() / whole.abs().max())


found = {}
for case in (
    ("llama", "past_key_values", True),
    ("mamba2", "past_key_values", True),
    ("mamba2", "cache_params", True),
    ("mamba", "cache_params", True),
    ("mamba", "cache_params", False),
):
    found[case] = off(*case)
    print(f"  {case[0]:8} {case[1]:16} {'mask' if case[2] else 'no mask':8} {found[case]:.4f}")
values = list(found.values())
right, wrong = [values[0], values[2], values[4]], [values[1], values[3]]
sys.exit(0 if max(right) < 1e-4 and min(wrong) > 0.05 else "the behaviour changed")
PY
"$work/venv/bin/python" show.py
