#!/usr/bin/env bash
# permutation_test(permutation_type="pairings") of paired arms gives p = 1 for every difference of means.
#
# Versions: scipy 1.17.1 (with the numpy that it brings)
#
# Guess from memory: for paired data (the same seeds or questions in both arms) one asks for "pairings"; "samples" is for
#   samples that are independent of each other.
# Behaviour: the names are the other way round. "samples" exchanges the two values within a pair, which is the paired
#   test (a sign-flip test of the differences). "pairings" keeps each arm's values and draws anew which belongs to which,
#   for correlations; the difference of means is the same however they are paired, so p is 1.0, whatever the arms did.
#   "independent", the default, passes the pairs over. No warning.
# Fix: permutation_type="samples" for paired arms; test the call on arms that differ by much.
#
# Output seen (12 seeds, the second arm 0.3 higher in each, seeds differing by more):
#   independent  p 0.3164
#   samples      p 0.0005
#   pairings     p 1.0000
#   ttest_rel    p 0.0000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet scipy==1.17.1
cd "$work"

cat > show.py <<'EOF'
import sys

import numpy as np
from scipy import stats

rng = np.random.default_rng(7)
first = rng.normal(size=12)
second = first + 0.3 + rng.normal(scale=0.05, size=12)


def difference(a, b, axis=-1):
    return np.mean(b, axis=axis) - np.mean(a, axis=axis)


p_values = {
    kind: float(stats.permutation_test((first, second), difference, permutation_type=kind, n_resamples=9999, rng=1).pvalue)
    for kind in ("independent", "samples", "pairings")
}
p_values["ttest_rel"] = float(stats.ttest_rel(first, second).pvalue)
for kind, p_value in p_values.items():
    print(f"{kind:<12} p {p_value:.4f}")
if p_values["pairings"] != 1 or p_values["samples"] > 0.001 or p_values["independent"] < 0.2:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
