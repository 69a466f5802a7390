#!/usr/bin/env bash
# A training of packed rows in bfloat16 on a CPU grows by gigabytes: every new shape of a product leaves 0.9 MB behind.
#
# Versions: torch 2.13.0 (with numpy, for torch's own sake), on a processor whose bfloat16 products oneDNN computes
#   (x86 with AVX-512)
#
# Guess from memory: a product's memory is its output, and is given back with it; a process that holds the same model
#   and batches of the same size at update 50 as at update 1 has a leak if it has grown.
# Behaviour: oneDNN writes a program for each shape of a product and keeps the last 1,024, and torch's layer above it
#   keeps 1,024 programs by itself. Documents and batches of varying lengths have hundreds of shapes, so the process grows
#   from update to update, by up to about 1 GB, and then stops: like a leak, that no tensor and no Python object accounts
#   for. In float32 nothing is kept. ONEDNN_PRIMITIVE_CACHE_CAPACITY, which oneDNN's manual names, halves it only; the
#   rest is let go by LRU_CACHE_CAPACITY, which is read too and named in neither manual. Both have to be set before
#   torch is loaded.
# Fix: ONEDNN_PRIMITIVE_CACHE_CAPACITY=128 LRU_CACHE_CAPACITY=128 before the start (a layer's shapes have to fit, or each
#   layer writes its programs anew, 2 to 4 ms each), or lengths rounded up to few values.
#
# Output seen (growth of the process over 400 shapes of one product, after free memory was given back to the system):
#   float32                                        4 MB
#   bfloat16                                     345 MB
#   bfloat16, ONEDNN_PRIMITIVE_CACHE_CAPACITY=1  113 MB
#   bfloat16, LRU_CACHE_CAPACITY=1               234 MB
#   bfloat16, both                                 1 MB
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$work"

cat > grow.py <<'EOF'
import ctypes
import sys
from pathlib import Path

import torch

if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
    sys.exit("bfloat16 is not computed by oneDNN on this processor: nothing to show")
torch.set_num_threads(1)
dtype = getattr(torch, sys.argv[1])
states, weight = torch.ones(600, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
out = torch.empty(600, 512, dtype=dtype)


def resident_mb():
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


for n in (10, 11):
    torch.mm(states[:n], weight, out=out[:n])
before = resident_mb()
for n in range(200, 600):
    torch.mm(states[:n], weight, out=out[:n])
print(round(resident_mb() - before))
EOF

grown() { env "${@:2}" OMP_NUM_THREADS=1 "$work/venv/bin/python" grow.py "$1"; }
float32=$(grown float32 A=)
short=$(grown bfloat16 A=)
onednn=$(grown bfloat16 ONEDNN_PRIMITIVE_CACHE_CAPACITY=1)
lru=$(grown bfloat16 LRU_CACHE_CAPACITY=1)
both=$(grown bfloat16 ONEDNN_PRIMITIVE_CACHE_CAPACITY=1 LRU_CACHE_CAPACITY=1)
echo "growth of the process over 400 shapes of one product"
printf '  %-43s %4d MB\n' float32 "$float32" bfloat16 "$short" "bfloat16, ONEDNN_PRIMITIVE_CACHE_CAPACITY=1" "$onednn" \
    "bfloat16, LRU_CACHE_CAPACITY=1" "$lru" "bfloat16, both" "$both"
if ((float32 > 20 || short < 150 || onednn < 50 || lru < 50 || onednn > short * 8 / 10 || both > 20)); then
    echo "the behaviour changed"
    exit 1
fi
