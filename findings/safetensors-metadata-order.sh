#!/usr/bin/env bash
# The same tensors with the same metadata are another file each time they are saved, as soon as metadata has two keys.
#
# Versions: safetensors 0.8.0, numpy 2.4.6
#
# Guess from memory: the header is sorted, so equal tensors and equal metadata give equal bytes.
# Behaviour: tensors are in a fixed order, but metadata comes in the random order of a hash table, within one process,
#   too. Two saves of one checkpoint have the same size and differ in a few bytes of the header, so the digest of the
#   file is no identity of the weights: caches miss, uploads are not deduplicated, a rerun looks changed. One key alone
#   ({"format": "pt"}, as transformers writes it) hides it.
# Fix: put everything into one key as JSON text, or digest the tensors instead of the file.
#
# Output seen (the first number varies):
#   four keys:            14 different files of 20
#   the same in one key:  1 different files of 20
#   without metadata:     1 different files of 20
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import hashlib
import json
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

TENSORS = {"weight": np.ones((2, 2), dtype=np.float32), "bias": np.zeros(2, dtype=np.float32)}
ABOUT = {"format": "pt", "spec": "honesty", "seed": "3", "step": "1000"}


def digests(metadata):
    files = set()
    for _ in range(20):
        save_file(TENSORS, "model.safetensors", metadata=metadata)
        with safe_open("model.safetensors", framework="numpy") as opened:
            if opened.metadata() != metadata:
                sys.exit("the metadata that was read is not what was written")
        files.add(hashlib.sha256(open("model.safetensors", "rb").read()).hexdigest())
    return len(files)


seen = {
    "four keys": digests(ABOUT),
    "the same in one key": digests({"about": json.dumps(ABOUT, sort_keys=True)}),
    "without metadata": digests(None),
}
for how, n_files in seen.items():
    print(f"{how + ':':<21} {n_files} different files of 20")
if not (seen["four keys"] > 1 and seen["the same in one key"] == seen["without metadata"] == 1):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
