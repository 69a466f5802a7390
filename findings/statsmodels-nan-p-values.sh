#!/usr/bin/env bash
# A p-value that is NaN is rejected by Holm's correction, and makes others reject nothing or contradict themselves.
#
# Versions: statsmodels 0.15.0 (with the numpy, scipy and pandas that it brings)
#
# Guess from memory: multipletests leaves a NaN out, as R's p.adjust does, or raises.
# Behaviour: a contrast without an estimate (say, no arm ever varied) has NaN as its p-value. Holm and Bonferroni
#   count it as a test, so the others' values get larger; and where all others are rejected, Holm rejects the NaN,
#   too. Hommel rejects nothing any more, however small the others are. Benjamini-Hochberg and Simes-Hochberg reject
#   some, while every adjusted value that they give is NaN: who reads flags and who reads values sees different
#   results. No warning.
# Fix: correct the finite p-values alone, and put NaN back.
#
# Output seen:
#   p-values [0.0001, 0.004, 0.02], without and with a NaN behind them; R: rejected at 0.05
#     bonferroni      RR-  0.0003 0.0120 0.0600   ->   RR--  0.0004 0.0160 0.0800 nan
#     holm            RRR  0.0003 0.0080 0.0200   ->   RRRR  0.0004 0.0120 0.0400 nan
#     simes-hochberg  RRR  0.0003 0.0080 0.0200   ->   RRR-  nan nan nan nan
#     hommel          RRR  0.0003 0.0080 0.0200   ->   ----  nan nan nan nan
#     fdr_bh          RRR  0.0003 0.0060 0.0200   ->   RRR-  nan nan nan nan
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet statsmodels==0.15.0
cd "$work"

cat > show.py <<'EOF'
import sys
import warnings

import numpy as np
from statsmodels.stats.multitest import multipletests

P_VALUES = [0.0001, 0.004, 0.02]


def show(p_values, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rejected, adjusted = multipletests(p_values, method=method)[:2]
    flags = "".join("R" if r else "-" for r in rejected)
    return flags, " ".join(f"{p:.4f}" for p in adjusted)


seen = {}
print(f"p-values {P_VALUES}, without and with a NaN behind them; R: rejected at 0.05")
for method in ("bonferroni", "holm", "simes-hochberg", "hommel", "fdr_bh"):
    alone, joined = show(P_VALUES, method), show([*P_VALUES, np.nan], method)
    print(f"  {method:<15} {alone[0]}  {alone[1]}   ->   {joined[0]}  {joined[1]}")
    seen[method] = (alone[0], joined[0], joined[1].count("nan"))

expected = {
    "bonferroni": ("RR-", "RR--", 1), "holm": ("RRR", "RRRR", 1), "simes-hochberg": ("RRR", "RRR-", 4),
    "hommel": ("RRR", "----", 4), "fdr_bh": ("RRR", "RRR-", 4),
}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
