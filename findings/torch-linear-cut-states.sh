#!/usr/bin/env bash
# Asking for the last logits alone takes more memory than asking for all: one copy of the output layer a prompt.
#
# Versions: torch 2.13.0 (with numpy, for torch's own sake), on a processor whose bfloat16 products oneDNN computes
#   (x86 with AVX-512)
#
# Guess from memory: a linear layer over states (batch, tokens, width) folds batch and tokens and is one product;
#   `logits_to_keep=1`, which hands the output layer `states[:, -1:]`, can only save.
# Behaviour: what is cut out of other states can't be folded without a copy, and torch does not make that copy, of a few
#   KB: it makes one product a row of the batch, and on a CPU in bfloat16 the weights are first copied once a row. For 128
#   prompts of a model with 49,152 words and a width of 576 these are 6.9 GB, gone again a moment later, and more than
#   half of an evaluation's time. In float32 nothing is copied (but the last digits are another product's). The values are equal.
# Fix: `states.contiguous()` before the output layer (a forward_pre_hook on `get_output_embeddings()` does it).
#
# Output seen (growth of the process's peak in one call of F.linear, 64 x 1 states of 256 cut out of 64 x 32, 8,192 words):
#   bfloat16, cut                     256 MB
#   bfloat16, cut, then contiguous      0 MB
#   bfloat16, all 32 places            32 MB
#   float32, cut                        2 MB
#   the values of the first two: equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import sys
from pathlib import Path

import torch
from torch.nn.functional import linear

if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    sys.exit("bfloat16 is not computed by oneDNN on this processor: nothing to show")
torch.set_num_threads(1)


def peak_mb():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def grown_mb(states, weight):
    linear(states[:1], weight)  # oneDNN's own program is written before
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_mb()
    linear(states, weight)
    return peak_mb() - before


def row(name, value):
    print(f"  {name:30} {value:6} MB")
    return value


found = {}
for dtype in (torch.bfloat16, torch.float32):
    weight, states = torch.randn(8192, 256).to(dtype), torch.randn(64, 32, 256).to(dtype)
    cut = states[:, -1:]
    name = str(dtype).removeprefix("torch.")
    found[name] = row(f"{name}, cut", grown_mb(cut, weight))
    if dtype == torch.bfloat16:
        found["contiguous"] = row(f"{name}, cut, then contiguous", grown_mb(cut.contiguous(), weight))
        found["all"] = row(f"{name}, all 32 places", grown_mb(states, weight))
        equal = torch.equal(linear(cut, weight), linear(cut.contiguous(), weight))
print("  the values of the first two:", "equal" if equal else "different")
small = max(found["contiguous"], found["float32"]) < 16
sys.exit(0 if equal and small and found["bfloat16"] > 200 and found["all"] < 64 else "the behaviour changed")
EOF
"$work/venv/bin/python" show.py
