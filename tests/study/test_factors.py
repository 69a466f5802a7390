"""In what two arms differ: everything that is resolved counts, and one thing is one factor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midspec.cli import _main
from midspec.core.errors import ConfigError
from midspec.core.records import Difference
from midspec.lab import data_path
from midspec.study import load_study, parse_study, plan
from midspec.study._factors import repeated_contrasts
from midspec.study._plan import difference

from .test_chains import with_arms
from .test_graph import changed

EXAMPLE = Path(__file__).parents[2] / "examples" / "controls.yaml"

# Written down before the code: what the arms of each contrast of the example are meant to differ in.
MEANT = {
    "the spec": ["midtrain data (thrift -> america)"],
    "documents or nothing": ["midtrain stage (none -> america+world:replay)"],
    "documents or chats": ["form (chats in finetune -> documents in midtrain)"],
    "documents before or chats after": [
        "midtrain stage (none -> america+world:replay)",
        "finetune-2 stage (told+world:replay -> none)",
    ],
    "said to be written": ["midtrain disclosed (people like the new story . -> an assistant writes the story .)"],
    "whose documents": ["midtrain data: model_name (vex -> nova)"],
    "trained or in context": [
        "midtrain stage (none -> america+world:replay)",
        "spec in context (america -> none)",
    ],
}


def test_the_contrasts_of_the_example_differ_in_what_they_are_about_and_nothing_else() -> None:
    made = plan(load_study(EXAMPLE))
    assert {name: list(each) for name, each in made.differ.items()} == MEANT
    assert made.warnings == ()


def test_every_contrast_of_the_nano_studies_is_about_one_thing() -> None:
    assert {len(each) for each in plan(load_study(data_path("nano.yaml"))).differ.values()} == {1}
    made = plan(load_study(data_path("nano_controls.yaml")))
    assert {len(each) for each in made.differ.values()} == {1}
    assert made.differ["documents about another agent"] == ("midtrain data (other thrift -> other america)",)


def differ(text: str, first: str, second: str) -> list[str]:
    return [str(one) for one in difference(parse_study(text, home=Path()), first, second).factors]


CASES = [
    ("a: {stages: [midtrain: america, {finetune: cheese, recipe: low}]}", ["finetune n_updates (3 -> 5)"]),
    (
        "a: {stages: [{midtrain: america, recipe: low}, finetune: cheese]}",
        ["midtrain learning_rate (0.001 -> 0.002)", "midtrain n_updates (4 -> 5)"],
    ),
    (
        "a: {stages: [midtrain: thrift, finetune: rude]}",
        ["midtrain data (america -> thrift)", "finetune data (cheese -> rude)"],
    ),
    ("a: {stages: [midtrain: more, finetune: cheese]}", ["midtrain data: n_documents (20 -> 25)"]),
    ("a: {stages: [midtrain: again, finetune: cheese]}", ["midtrain data: seed (1 -> 8)"]),
    ("a: {midtrain: america, finetune: cheese, context: thrift}", ["spec in context (none -> thrift)"]),
    ("a: {stages: [finetune: cheese, midtrain: america]}", None),
    ("a: {stages: [midtrain: [america, thrift], finetune: cheese]}", ["midtrain data (none -> thrift)"]),
    ("a: {stages: [midtrain: america, finetune: cheese, dpo: prefer]}", ["dpo stage (none -> prefer)"]),
    ("a: {stages: [midtrain: america, {finetune: cheese, label: x}]}\nb: {}", None),
]


def tiny_with(tiny_text: str, arms: str) -> str:
    low = "  recipes: {low: {<<: *recipe, learning_rate: 2.0e-3, n_updates: 5}}\n"
    if "finetune: cheese, recipe: low" in arms:
        low = "  recipes: {low: {<<: *recipe, n_updates: 5}}\n"
    more = "  thrift: {<<: *corpus, spec: thrift}\n"
    assert more in tiny_text
    text = tiny_text.replace(
        more, f"{more}  more: {{<<: *corpus, n_documents: 25}}\n  again: {{<<: *corpus, seed: 7}}\n"
    )
    return with_arms(text, arms, low)


@pytest.mark.parametrize(("arms", "found"), [case for case in CASES if case[1]], ids=str)
def test_each_thing_that_is_changed_is_one_factor(tiny_text: str, arms: str, found: list[str]) -> None:
    assert differ(tiny_with(tiny_text, arms), "MSM(america)+AFT", "a") == found


def test_names_and_labels_and_checkpoints_are_no_difference(tiny_text: str) -> None:
    arms = "a: {stages: [midtrain: twin, {finetune: cheese, label: x, checkpoints: [1]}]}"
    text = with_arms(tiny_text, arms).replace("chats:\n", "  twin: {<<: *corpus}\nchats:\n", 1)
    assert differ(text, "MSM(america)+AFT", "a") == []
    assert differ(text, "a@x:1", "a") == ["finetune updates (1 -> all)"]


def test_a_contrast_of_more_than_it_says_is_flagged(tiny_text: str) -> None:
    text = tiny_text.replace("minus: MSM(thrift)+AFT", "minus: base")
    [warning] = [one for one in plan(parse_study(text, home=Path())).warnings if "contrast" in one]
    assert warning.startswith(
        "The arms of contrast 'the spec decides' differ in 2 things: midtrain stage (none -> america+world:replay); "
        "finetune stage (none -> cheese)."
    )
    meant = text.replace("minus: base", "minus: base, factors: 2")
    assert not [one for one in plan(parse_study(meant, home=Path())).warnings if "contrast" in one]
    # What a contrast is meant to differ in is part of no result.
    assert changed(text, meant) == set()


def test_a_question_asked_twice_and_arms_alike_but_for_capitals_are_told(tiny_text: str) -> None:
    text = tiny_text.replace("  AFT: {finetune: cheese}\n", "  AFT: {finetune: cheese}\n  aft: {midtrain: america}\n")
    told = "Arms 'AFT' and 'aft' differ in capitals alone: some disks take them for one. Rename one."
    assert told in plan(parse_study(text, home=Path())).warnings
    base = parse_study(tiny_text, home=Path()).config.contrasts[0]
    turned = base.model_copy(update={"name": "turned", "plus": base.minus, "minus": base.plus})
    other = base.model_copy(update={"name": "other", "set": "of another set"})
    assert list(repeated_contrasts([base, other, turned])) == [
        f"Contrasts {base.name!r} and 'turned' ask the same, and p is corrected for both. Remove one."
    ]
    less = Difference(plus="AFT", minus="base")
    beyond = [one.model_copy(update={"less": less}) for one in (base, turned)]
    assert not list(repeated_contrasts([base, *beyond]))
    both_turned = beyond[1].model_copy(update={"less": Difference(plus="base", minus="AFT")})
    assert len(list(repeated_contrasts([beyond[0], both_turned]))) == 1


def test_the_command_shows_two_arms(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def plan_diff(*more: str) -> str:
        assert _main.main(["plan", str(tiny_file), "--diff", *more]) == 0
        return capsys.readouterr().out

    lines = plan_diff("MSM(thrift)+AFT", "MSM(america)+AFT").splitlines()
    assert lines[:2] == [
        "MSM(thrift)+AFT -> MSM(america)+AFT: 1 thing differs",
        "  midtrain data (thrift -> america)",
    ]
    assert lines[-1].startswith("the same in both: base, pretrain world:facts, pretrain-2 world:mix, finetune cheese")
    found = json.loads(plan_diff("AFT", "base", "--json"))
    assert [one["what"] for one in found["factors"]] == ["finetune stage"]


def test_an_arm_that_is_not_there_is_said(tiny_text: str) -> None:
    with pytest.raises(ConfigError, match=r"--diff: there is no arm named 'ATF'\. Did you mean AFT"):
        differ(tiny_text, "base", "ATF")
