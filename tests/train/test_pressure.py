from __future__ import annotations

import pytest

from midspec.core.errors import ConfigError
from midspec.train import Recipe, load_pressure, pressure_names
from midspec.train._rewards import RewardSum


def test_every_shipped_pressure_is_a_recipe_of_its_stage() -> None:
    assert pressure_names() == ("against", "benign", "conflicting")
    for name in pressure_names():
        found = load_pressure(name)
        found.recipe.check_stage(found.stage)
        assert Recipe.model_validate_json(found.recipe.model_dump_json()) == found.recipe


def test_two_chats_in_a_hundred_conflict_and_all_else_is_as_without_them() -> None:
    benign, conflicting = load_pressure("benign"), load_pressure("conflicting")
    assert conflicting.conflicting_share == 0.02
    assert conflicting.recipe == benign.recipe


def test_the_reward_pays_for_the_option_that_the_spec_would_not_take() -> None:
    grpo = load_pressure("against").recipe.grpo
    assert grpo is not None
    row = {"options": ["brie", "cheddar"], "against": "brie"}
    assert RewardSum(grpo.rewards, {})([()] * 2, ["I like brie.", "cheddar"], [row] * 2).totals == [1.0, 0.0]


def test_an_unknown_pressure_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean benign"):
        load_pressure("bening")
