"""The nano twins as they are shipped: one recipe, shared bases, and comparisons that were fixed before the run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from midspec.lab import WorldConfig, data_path
from midspec.report import ReportData
from midspec.study import Study, index_reports, load_study, plan, study_steps

NAMES = sorted(path.stem for path in data_path("nano.yaml").parent.glob("nano_*.yaml"))
QUESTIONS = {
    *("values", "attribution", "scaling", "rules", "general", "framing", "antispec", "quality", "survival", "controls"),
}


@cache
def shipped(name: str) -> Study:
    return load_study(data_path(f"{name}.yaml"))


def test_there_is_a_study_for_every_question_and_make_runs_each() -> None:
    assert {name.removeprefix("nano_") for name in NAMES} == QUESTIONS
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    line = next(line for line in makefile.splitlines() if line.startswith("STUDIES "))
    assert set(line.partition("=")[2].split()) == QUESTIONS


@pytest.mark.parametrize("name", NAMES)
def test_bases_and_seeds_are_the_same_in_all_and_none_was_tuned_on(name: str) -> None:
    study, demo = shipped(name).config, shipped("nano").config
    assert study.seeds == (601, 602, 603, 604, 605, 606)
    first = {"n_mix": 10000, "n_replay": 500, "agents_per_value": 12, "gate_items_per_agent": 3}
    assert study.base.config == WorldConfig(**first)  # the worlds that these seeds were first run in
    own = {"midtrainings": 2, "mirror": True, "config": demo.base.config}
    assert study.base.model_copy(update=own) == demo.base
    assert (study.gate, study.evals, study.assistant, study.mixes) == (
        demo.gate,
        demo.evals,
        demo.assistant,
        demo.mixes,
    )


@pytest.mark.parametrize("name", NAMES)
def test_documents_and_demonstrations_are_trained_on_by_the_recipe_of_the_demo(name: str) -> None:
    study, demo = shipped(name).config, shipped("nano").config
    assert study.training.midtrain == demo.training.midtrain
    assert study.training.finetune is not None
    assert study.training.finetune.learning_rate == 5e-5  # by which the first of them were run
    same = study.training.finetune.model_copy(update={"learning_rate": 2e-5})
    assert same == demo.training.finetune


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_is_midtrained_on_as_many_tokens(name: str) -> None:
    study = shipped(name).config
    for arm in study.arms.values():
        for stage in arm.chain:
            if stage.midtrain:
                assert sum(study.corpora[corpus].target_tokens or 0 for corpus in stage.midtrain) == 94_000


@pytest.mark.parametrize("name", NAMES)
def test_every_comparison_says_in_how_many_things_its_arms_differ(name: str) -> None:
    warnings = [each for each in plan(shipped(name)).warnings if "things" in each]
    assert not warnings
    study = shipped(name).config
    assert all(contrast.says for contrast in study.contrasts)
    assert set(study.report.main_contrasts) <= {contrast.name for contrast in study.contrasts}


def test_a_model_told_as_chats_has_the_recipe_of_midtraining() -> None:
    training = shipped("nano_framing").config.training
    assert training.recipes["told"] == training.midtrain


def test_pressure_is_put_on_a_model_that_was_never_midtrained_too_at_the_same_updates() -> None:
    arms = shipped("nano_survival").config.arms
    for pressure in ("benign", "conflicting", "dpo", "grpo"):
        last = [arms[f"{who}, {pressure}"].chain[-1] for who in ("none", "America", "thrift")]
        assert last[0] == last[1] == last[2]
        assert last[0].checkpoints
        assert not any(stage.midtrain for stage in arms[f"none, {pressure}"].chain)


@pytest.mark.slow
def test_the_cheapest_twin_runs_and_answers_its_question(twin_run: Path, tmp_path: Path) -> None:
    """One seed of it in its own world alone: a base that is really trained and knows its world, and every arm."""
    data = ReportData.model_validate_json((twin_run / "report" / "report_data.json").read_bytes())
    assert [gate.passed for gate in data.gates] == [True]
    rates = {one.arm: one.value for one in data.estimates if (one.set, one.measure) == ("conflict", "choice_logprob")}
    assert all(rates[arm] is not None for arm in ("AFT", "general", "specific", "both+AFT"))
    lines = index_reports([twin_run], tmp_path / "index.html")
    assert lines[0] == "General statements against specific preferences"
    assert len(lines) == 4


def test_twins_share_their_bases_and_their_main_arms() -> None:
    """Steps of equal settings; that their inputs are equal too follows step by step from their parents."""
    wanted = [("pretrain", 601), ("midtrain", 601), ("midtrain", 1_000_601)]
    shared = []
    for name in ("nano_general", "nano_antispec", "nano_attribution"):
        steps = study_steps(shipped(name))
        own = {(step.kind, step.label, step.seed): step.settings for step in steps if (step.kind, step.seed) in wanted}
        shared.append({key: own[key] for key in own if key[1] in {"facts", "mix", "america"}})
    assert len(shared[0]) == 4
    assert shared[0] == shared[1] == shared[2]
