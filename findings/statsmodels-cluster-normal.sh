#!/usr/bin/env bash
# Errors clustered by seed: fit(cov_type="cluster") reads five seeds as if they were many, and finds effects in noise.
#
# Versions: statsmodels 0.15.0 (with the numpy, scipy and pandas that it brings)
#
# Guess from memory: ols(...).fit(cov_type="cluster", ...) and .fit().get_robustcov_results("cluster", ...) are one
#   thing, and with few clusters use t with one degree of freedom less than there are clusters, as Stata does.
# Behaviour: the second does. The first takes the normal distribution as soon as cov_type is anything but the default,
#   so that with five seeds an interval reaches 1.96 standard errors and not 2.78. The standard error is the same; the
#   summary says z instead of t, and nothing else tells. GEE has no correction for few clusters, so that its standard
#   error is smaller still (by about the root of 4/5 here).
# Fix: fit(cov_type="cluster", cov_kwds=..., use_t=True).
#
# Output seen:
#   one study: standard error, p, half the interval in standard errors; of 200 studies without an effect
#     fit(cov_type=)              0.2238  0.7145  1.96   10.0% have p < 0.05
#     fit(cov_type=, use_t=True)  0.2238  0.7330  2.78   5.5% have p < 0.05
#     get_robustcov_results       0.2238  0.7330  2.78   5.5% have p < 0.05
#     gee                         0.1996  0.6817  1.96   14.0% have p < 0.05
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet statsmodels==0.15.0
cd "$work"
export OMP_NUM_THREADS=1

cat > show.py <<'EOF'
import sys

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf

N_SEEDS, N_STUDIES = 5, 200
rng = np.random.default_rng(0)
rows = pd.DataFrame(
    [(seed, arm) for seed in range(N_SEEDS) for arm in (0, 1) for _ in range(20)], columns=["seed", "arm"]
)


def study():
    """Scores of two arms in five seeds; the arm's effect differs by seed and is 0 on average."""
    effects = rng.normal(size=N_SEEDS)[rows["seed"]]
    return rows.assign(score=rows["arm"] * effects + rng.normal(size=len(rows)))


def ways(data):
    model, groups = smf.ols("score ~ arm", data), {"groups": data["seed"]}
    return {
        "fit(cov_type=)": model.fit(cov_type="cluster", cov_kwds=groups),
        "fit(cov_type=, use_t=True)": model.fit(cov_type="cluster", cov_kwds=groups, use_t=True),
        "get_robustcov_results": model.fit().get_robustcov_results("cluster", **groups),
        "gee": smf.gee("score ~ arm", "seed", data).fit(),
    }


def about_arm(result):
    low, high = np.asarray(result.conf_int())[1]
    error, p = np.asarray(result.bse)[1], np.asarray(result.pvalues)[1]
    return error, p, (high - low) / 2 / error


one = {way: about_arm(result) for way, result in ways(study()).items()}
n_false = dict.fromkeys(one, 0)
for _ in range(N_STUDIES):
    for way, result in ways(study()).items():
        n_false[way] += about_arm(result)[1] < 0.05
print(f"one study: standard error, p, half the interval in standard errors; of {N_STUDIES} studies without an effect")
for way, (error, p, half) in one.items():
    print(f"  {way:<27} {error:.4f}  {p:.4f}  {half:.2f}   {n_false[way] / N_STUDIES:.1%} have p < 0.05")
normal, t, robust, gee = one.values()
if not (normal[0] == robust[0] == t[0] > gee[0] and normal[2] < 1.97 and robust[2] > 2.77 and t[1] == robust[1]):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
