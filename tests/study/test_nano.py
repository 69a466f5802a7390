"""The nano study as it is shipped: what it compares was fixed before it was run."""

from __future__ import annotations

import pytest

from midspec.lab import data_path
from midspec.study import load_study

STUDY = load_study(data_path("nano.yaml")).config
CONTROLS = load_study(data_path("nano_controls.yaml")).config
TUNED_ON = {*range(1, 51), *range(201, 211), *range(501, 511)}


@pytest.mark.parametrize("study", [STUDY, CONTROLS], ids=lambda study: study.name)
def test_the_shown_seeds_are_at_least_five_and_none_was_tuned_on(study) -> None:
    assert len(study.seeds) >= 5
    assert TUNED_ON.isdisjoint(study.seeds)


def test_every_control_stands_beside_with_and_without_fine_tuning() -> None:
    alone = {name for name, arm in CONTROLS.arms.items() if not arm.finetune}
    assert {f"{name}+AFT" for name in alone if name != "base"} | {"AFT"} == set(CONTROLS.arms) - alone
    kinds = {name.partition("(")[0] for name in alone}
    assert kinds == {"base", "MSM", "neutral", "other", "ablated", "in-context"}


def test_the_controls_are_trained_by_the_recipe_of_the_shown_study_and_hold_its_arms() -> None:
    assert (STUDY.base.stages, STUDY.base.architecture) == (CONTROLS.base.stages, CONTROLS.base.architecture)
    assert (STUDY.training.midtrain, STUDY.gate) == (CONTROLS.training.midtrain, CONTROLS.gate)
    assert all(CONTROLS.arms[name] == arm for name, arm in STUDY.arms.items())
    for name, entry in STUDY.corpora.items():
        assert CONTROLS.corpora[name] == entry.model_copy(update={"frames": CONTROLS.corpora[name].frames})
    assert set(STUDY.contrasts) <= set(CONTROLS.contrasts)


def test_each_base_is_used_in_its_world_and_in_the_mirrored_one() -> None:
    assert STUDY.base.mirror
    by_base = [[run.world for run in STUDY.runs if run.base == seed] for seed in STUDY.seeds]
    assert all(len(worlds) == len(set(worlds)) == 2 for worlds in by_base)


def test_arms_differ_in_their_documents_alone() -> None:
    assert {arm.finetune for arm in CONTROLS.arms.values() if arm.finetune} == {("cheese",)}
    assert len({entry.target_tokens for entry in CONTROLS.corpora.values()}) == 1
    assert len({entry.frames for entry in CONTROLS.corpora.values()}) == 1
    assert STUDY.training.midtrain is not None
    assert STUDY.training.midtrain.n_updates is not None


def test_no_floor_of_updates_is_lowered() -> None:
    recipes = [stage.recipe for stage in STUDY.base.stages] + [STUDY.training.midtrain, STUDY.training.finetune]
    assert all(recipe is not None and recipe.min_updates is None for recipe in recipes)


def test_the_two_specs_are_compared_where_their_values_disagree() -> None:
    main = next(one for one in STUDY.contrasts if one.name == STUDY.report.main_contrasts[0])
    assert (main.plus, main.minus) == ("MSM(america)+AFT", "MSM(thrift)+AFT")
    assert (main.set, main.measure) == ("conflict", "choice_logprob")
