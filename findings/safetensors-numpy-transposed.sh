#!/usr/bin/env bash
# safetensors.numpy saves a transposed, sliced or Fortran-ordered array with its numbers in other places.
#
# Versions: safetensors 0.8.0, numpy 2.4.6
#
# Guess from memory: save_file makes such an array contiguous, as numpy.save does, or refuses it, as safetensors.torch
#   does.
# Behaviour: the shape is right, and the numbers are taken as they lie in memory. A weight that was transposed for
#   another layout (`w.T`), every second column (`w[:, ::2]`), and whatever linear algebra gave in Fortran order are
#   read back as another matrix of the same shape and dtype: it loads, and nothing fails before the model talks.
#   Arrays cut along the first axis are right, so that a test with them shows nothing. No warning.
# Fix: numpy.ascontiguousarray of each array before save_file.
#
# Output seen:
#   as made           [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#   first row         [[0.0, 1.0, 2.0]] -> [[0.0, 1.0, 2.0]]
#   transposed        [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] -> [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]  CHANGED
#   columns 0 and 2   [[0.0, 2.0], [3.0, 5.0]] -> [[0.0, 1.0], [2.0, 3.0]]  CHANGED
#   Fortran order     [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]] -> [[0.0, 3.0, 1.0], [4.0, 2.0, 5.0]]  CHANGED
#   made contiguous   [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] -> [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

weight = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "as made": weight,
    "first row": weight[:1],
    "transposed": weight.T,
    "columns 0 and 2": weight[:, ::2],
    "Fortran order": np.asfortranarray(weight),
    "made contiguous": np.ascontiguousarray(weight.T),
}
save_file(arrays, "model.safetensors")
read = load_file("model.safetensors")
changed = [name for name, array in arrays.items() if not np.array_equal(array, read[name])]
for name, array in arrays.items():
    print(f"{name:<17} {array.tolist()} -> {read[name].tolist()}{'  CHANGED' if name in changed else ''}")
if changed != ["transposed", "columns 0 and 2", "Fortran order"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
