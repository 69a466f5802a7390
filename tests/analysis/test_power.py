from __future__ import annotations

import numpy as np
import pytest

from midspec.analysis import minimum_detectable_effect, power, rates
from midspec.core.errors import DataError

from .test_estimates import arm_scores, quarters


@pytest.mark.parametrize(("n_seeds", "effect"), [(5, 0.1), (5, 0.2), (8, 0.05), (2, 0.4)])
def test_power_is_the_share_of_simulated_studies_that_find_the_effect(n_seeds, effect):
    rng = np.random.default_rng(n_seeds)
    means = rng.normal(effect, 0.1, (100_000, n_seeds))
    from scipy.stats import ttest_1samp

    found = (ttest_1samp(means, 0, axis=1).pvalue < 0.05) & (means.mean(1) > 0)
    assert power(effect, 0.1 / n_seeds**0.5, n_seeds - 1) == pytest.approx(found.mean(), abs=0.006)


@pytest.mark.parametrize("df", [1, 2, 4, 7, 30, 200])
def test_the_minimum_detectable_effect_is_found_with_just_the_power_asked(df):
    assert power(minimum_detectable_effect(0.03, df), 0.03, df) == pytest.approx(0.8, abs=1e-4)


def test_an_estimate_of_five_seeds_tells_what_it_could_have_seen():
    values = quarters(1, (5, 40))
    (found,) = rates(arm_scores("a", values))
    assert found.mde == pytest.approx(minimum_detectable_effect(found.seed_sd / 5**0.5, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda: power(0.1, 0, 4),
        lambda: power(0.1, 0.1, 0),
        lambda: power(0.1, 0.1, 4, alpha=2),
        lambda: minimum_detectable_effect(0.1, 4, power=1),
    ],
)
def test_a_design_that_cannot_be_reckoned_with_is_refused(call):
    with pytest.raises(DataError):
        call()
