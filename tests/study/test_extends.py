"""A study file that extends another says only what is otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from midspec.core.errors import ConfigError, MissingError
from midspec.study import first_seeds, load_study, parse_study, study_steps


def extending(tiny_file: Path, text: str, name: str = "own.yaml") -> Path:
    path = tiny_file.parent / name
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_file_does_not_say_is_as_in_the_one_that_it_extends(tiny_file: Path) -> None:
    whole = load_study(tiny_file).config
    own = load_study(extending(tiny_file, "extends: tiny.yaml\nname: own\nseeds: [3]\n")).config
    assert own == whole.model_copy(update={"name": "own", "seeds": (3,)})


def test_mappings_are_joined_at_every_depth_and_lists_are_replaced(tiny_file: Path) -> None:
    text = (
        "extends: tiny.yaml\ntraining: {midtrain: {learning_rate: 0.5}}\ncontrasts: []\nspecs: {world: lab:world.md}\n"
    )
    whole, own = load_study(tiny_file).config, load_study(extending(tiny_file, text)).config
    assert whole.training.midtrain is not None
    assert own.training.midtrain == whole.training.midtrain.model_copy(update={"learning_rate": 0.5})
    assert own.training.finetune == whole.training.finetune
    assert own.contrasts == ()
    assert list(own.specs) == ["america", "thrift", "world"]


def test_arms_are_its_own_alone(tiny_file: Path) -> None:
    text = "extends: tiny.yaml\narms: {thrift: {midtrain: thrift}}\ncontrasts: []\n"
    assert list(load_study(extending(tiny_file, text)).config.arms) == ["thrift"]


def test_the_text_that_goes_with_a_run_needs_no_other_file(tiny_file: Path) -> None:
    study = load_study(extending(tiny_file, "extends: tiny.yaml\nname: own\n"))
    assert "extends" not in yaml.safe_load(study.text)
    assert parse_study(study.text, home=study.home).config == study.config
    assert first_seeds(study, 1).config.seeds == (1,)


def test_steps_have_the_identity_of_the_same_steps_said_in_one_file(tiny_file: Path) -> None:
    own = load_study(extending(tiny_file, "extends: tiny.yaml\nname: own\n"))
    made = [{step.name: step.settings for step in study_steps(each)} for each in (load_study(tiny_file), own)]
    for each in made:
        del each["report"]  # it shows the file
    assert made[0] == made[1]


def test_a_file_may_extend_one_that_extends_another_in_a_folder_of_its_own(tiny_file: Path) -> None:
    (tiny_file.parent / "more").mkdir()
    extending(tiny_file, "extends: ../tiny.yaml\nname: between\nseeds: [5]\n", "more/between.yaml")
    own = load_study(extending(tiny_file, "extends: more/between.yaml\nname: own\n")).config
    assert (own.name, own.seeds) == ("own", (5,))


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("extends: own.yaml\n", ConfigError, "own.yaml extends this file"),
        ("extends: other.yaml\n", ConfigError, "extends this file"),
        ("extends: none.yaml\n", MissingError, "there is no such study file"),
        ("extends: [tiny.yaml]\n", ConfigError, "is not the name of a file"),
        ("extends: list.yaml\n", ConfigError, "not a study"),
        ("extends: lab:nono.yaml\n", MissingError, "the lab ships no nono.yaml"),
        ("extends: tiny.yaml\nname: own\nseed: [3]\n", ConfigError, "own.yaml:3: seed: unknown key"),
        (
            "extends: tiny.yaml\ntraining:\n  midtrain:\n    rate: 2\n",
            ConfigError,
            "own.yaml:4: training.midtrain.rate",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tiny_file: Path, text: str, error: type[Exception], said: str) -> None:
    extending(tiny_file, "extends: own.yaml\n", "other.yaml")
    extending(tiny_file, "- a\n", "list.yaml")
    with pytest.raises(error) as caught:
        load_study(extending(tiny_file, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
