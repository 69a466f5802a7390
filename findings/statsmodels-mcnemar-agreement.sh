#!/usr/bin/env bash
# McNemar's test of two arms that agree on every question gives p = 0.
#
# Versions: statsmodels 0.15.0 (with the numpy, scipy and pandas that it brings)
#
# Guess from memory: without a question on which the arms differ there is nothing to test: p is 1, or NaN.
# Behaviour: mcnemar(table, exact=False), which many choose for large tables, subtracts 1 for continuity before it
#   squares. With no question of either kind that is (0 - 1)**2 / 0, an infinite statistic, and p is 0.0: the
#   strongest difference there can be between a model and itself. The exact test gives 1, and exact=False,
#   correction=False gives NaN. numpy warns of a division by zero, if warnings are shown.
# Fix: the exact test, which is the default, or p = 1 where no question is answered differently.
#
# Output seen:
#   both right 40, both wrong 10, differing 0 and 0
#     exact=True                      statistic  0.00  p 1.0000
#     exact=False                     statistic   inf  p 0.0000
#     exact=False, correction=False   statistic   nan  p nan
#   both right 40, both wrong 8, differing 1 and 1
#     exact=True                      statistic  1.00  p 1.0000
#     exact=False                     statistic  0.50  p 0.4795
#     exact=False, correction=False   statistic  0.00  p 1.0000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet statsmodels==0.15.0
cd "$work"

cat > show.py <<'EOF'
import math
import sys
import warnings

from statsmodels.stats.contingency_tables import mcnemar

warnings.simplefilter("ignore")
WAYS = {
    "exact=True": {"exact": True},
    "exact=False": {"exact": False},
    "exact=False, correction=False": {"exact": False, "correction": False},
}
p_values = []
for n_right, n_wrong, n_first, n_second in ((40, 10, 0, 0), (40, 8, 1, 1)):
    print(f"both right {n_right}, both wrong {n_wrong}, differing {n_first} and {n_second}")
    for title, options in WAYS.items():
        result = mcnemar([[n_right, n_first], [n_second, n_wrong]], **options)
        p_values.append(float(result.pvalue))
        print(f"  {title:<31} statistic {result.statistic:5.2f}  p {result.pvalue:.4f}")
if p_values[:2] != [1, 0] or not math.isnan(p_values[2]) or p_values[3] != 1 or not 0.1 < p_values[4] < 1:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
