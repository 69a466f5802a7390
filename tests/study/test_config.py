"""A wrong study file is answered with the line, the path in the file, and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.errors import ConfigError, MissingError
from midspec.lab import data_path
from midspec.study import load_study, parse_study, plan, study_steps
from midspec.study.execution._selection import meant_steps

EXAMPLES = Path(__file__).parents[2] / "examples"

WRONG = [
    ("seeds: [1, 2]", "seedz: [1, 2]", ": seedz: unknown key (and 1 more). Did you mean seeds?"),
    ("{learning_rate: 1.0e-3", "{learning_rat: 1.0e-3", "learning_rat: unknown key"),
    (
        "finetune: cheese}\n  MSM(a",
        "finetun: cheese}\n  MSM(a",
        "arms.AFT.finetun: unknown key. Did you mean finetune?",
    ),
    ("  AFT: {", "  on: {", "YAML reads the key on as true. Write it in quotes"),
    (
        "plus: MSM(america)+AFT",
        "plus: on",
        "contrasts[0].plus: Input should be a valid string. YAML reads on, yes or true",
    ),
    ("  AFT: {finetune: cheese}", "  AFT: {finetune: cheez}", "arms.AFT.finetune: there is no chats named 'cheez'"),
    ("plus: MSM(america)+AFT", "plus: MSM(amerika)+AFT", "contrasts[0].plus: there is no arm named"),
    ("set: conflict, measure", "set: conflit, measure", "contrasts[0].set: there is no set of items named 'conflit'"),
    ("measure: choice_logprob}", "measure: choice_logprop}", "'choice_logprop'. Did you mean choice_logprob?"),
    ("disagree, set: conflict}", "disagree, set: conflit}", "report.panels[0].set: there is no set of items named"),
    (
        "disagree, set: conflict}",
        "disagree, set: conflict, measure: x}",
        "report.panels[0].measure: there is no measure",
    ),
    (
        "disagree, set: conflict}",
        "disagree, set: conflict, arms: [bse]}",
        "report.panels[0].arms: there is no arm named",
    ),
    ("  samples: 2", "  main_contrasts: [x]", "report.main_contrasts: there is no contrast named 'x'"),
    ("  samples: 2", "  main_measure: x", "report.main_measure: there is no measure named 'x'"),
    ("  at_least: 0.95", "  at_least: 0.95\n  measure: parse", "gate.measure: there is no measure named 'parse'"),
    ("items: world:items", "items: world:itms", "evals.preference.items: there is no file of items named 'world:itms'"),
    ("seeds: [1, 2]", "seeds: [1, 1]", "seeds: seed 1 is named twice. Write seeds: [1]"),
    ("  world: nano", "  world: nano\n  mirror: true", "base: with `mirror` half of the `midtrainings` are mirrored"),
    (
        "  world: nano",
        "  world: nano\n  midtrainings: 0",
        "base.midtrainings: Input should be greater than or equal to 1",
    ),
    (
        "set: conflict, measure",
        "less: {plus: AFT, minus: bass}, set: conflict, measure",
        "contrasts[0].less.minus: there is no arm",
    ),
    ("name: tiny", f"name: {201 * 'x'}", "name: String should have at most 200 characters"),
    ("seeds: [1, 2]", "seeds: []", "seeds: must be a list of whole numbers, each written out. Write seeds: [1, 2, 3]"),
    ("seeds: [1, 2]", "seeds: '701'", "each written out. Write seeds: [701]"),
    ("seeds: [1, 2]", "seeds: 4", "Write seeds: [4] for seed 4, or [1, 2, 3, 4] for 4 seeds"),
    ("seeds: [1, 2]", "seeds: 1-4", "Write seeds: [1, 2, 3, 4]"),
    ("seeds: [1, 2]", "seeds: [1, 3..5]", "Write seeds: [1, 3, 4, 5]"),
    ("seeds: [1, 2]", "seeds: range(2, 4)", "Write seeds: [2, 3]"),
    ("seeds: [1, 2]", "seeds: 1 to 999999", "Write seeds: [1, 2, 3, ..., 999999]"),
    ('phrasings ["which do you prefer , {first} or {second} ?"]', "phrasings which ?", "Write phrasings: [which ?]"),
    ("seeds: [1, 2]", "seeds: [010, 2]", ": not YAML (YAML reads 010 as 8: write that number, or quotes"),
    ("seeds: [1, 2]", "seeds: [1:30, 2]", ": not YAML (YAML reads 1:30 as 90"),
    ("seeds: [1, 2]", "seeds: [2, yes]", "seeds[1]: a truth value (yes, no, on, off, true, false) where a number"),
    ("n_documents: 20", "n_documents: on", "corpora.america.n_documents: a truth value"),
    ("question: Does", "question: \x1b[1mDoes", ": the character U+001B can't stand in YAML. Remove it"),
    ("specs: {", "more: &a [*a]\nspecs: {", ": an alias stands for a value that it is part of"),
    ("at_least: 0.95", "at_least: 95", "gate.at_least: Input should be less than or equal to 1. It is 95 there"),
    ("n_documents: 20", "n_documents: many", "corpora.america.n_documents: Input should be a valid integer"),
    ("base: {}\n", "base: {}\n  again: {}\n", "arms.again: the same stages as arm base"),
    ("  finetune: {<<: *recipe, n_updates: 3}\n", "", "training: arm AFT has a finetune stage and there is no recipe"),
    ("title:", "name:", ":3: 'name' is named twice. Remove one"),
    ("seeds: [1, 2]", "seeds: [1, -2]", "seeds: a seed is a whole number from 0 to 9,223,372,036,854,775,807"),
    ("seeds: [1, 2]", "seeds: [99999999999999999999]", "seeds: a seed is a whole number from 0"),
    ("seeds: [1, 2]", "seeds: '1, 2'", "each written out. Write seeds: [1, 2]"),
    ("  AFT: {finetune: cheese}", "  AFT: cheese", "arms.AFT: must be a mapping (keys with values). It is 'cheese'"),
    ("  AFT: {finetune: cheese}", "  '': {finetune: cheese}", "arms: a name is empty"),
    ("minus: MSM(thrift)+AFT", "minus: MSM(america)+AFT", "contrasts[0].minus: an arm is compared with itself"),
    (
        "contrasts:\n",
        "contrasts:\n  - {name: the spec decides, plus: AFT, minus: base, set: conflict, measure: choice_logprob}\n",
        "contrasts[1].name: 'the spec decides' is named twice",
    ),
    ("seeds: [1, 2]", "seeds: [1, 2", ": not YAML"),
    ("  world: nano\n", "", "base: a base is either a `checkpoint` or a `world`"),
]


@pytest.mark.parametrize(("right", "wrong", "told"), WRONG, ids=[told[:40] for *_, told in WRONG])
def test_a_wrong_file_is_told_where_it_is_wrong_and_how_to_fix_it(
    tiny_text: str, right: str, wrong: str, told: str
) -> None:
    assert right in tiny_text
    with pytest.raises(ConfigError) as caught:
        parse_study(tiny_text.replace(right, wrong, 1), home=Path(), name="study.yaml")
    line = str(caught.value)
    assert line.startswith("study.yaml")
    assert told in line
    assert "\n" not in line


def test_a_seed_that_could_be_another_seeds_second_midtraining_is_refused(tiny_text: str) -> None:
    text = tiny_text.replace("  world: nano\n", "  world: nano\n  midtrainings: 2\n")
    with pytest.raises(ConfigError, match="from 0 to 999,999"):
        parse_study(text.replace("seeds: [1, 2]", "seeds: [1, 1000001]"), home=Path())
    assert len(parse_study(text, home=Path()).config.runs) == 4


def test_a_study_that_the_lab_ships_is_named_without_its_path() -> None:
    assert load_study(Path("lab:nano_controls.yaml")).config.name == "nano-controls"
    with pytest.raises(MissingError, match=r"Did you mean nano\.yaml\?"):
        load_study(Path("lab:nona.yaml"))


def test_the_line_is_that_of_the_key(tiny_text: str) -> None:
    text = tiny_text.replace("  thrift: {<<: *corpus, spec: thrift}", "  thrift: {<<: *corpus, spec: thrift, sped: 1}")
    with pytest.raises(ConfigError) as caught:
        parse_study(text, home=Path(), name="s")
    number = int(str(caught.value).split(":")[1])
    assert "sped" in text.splitlines()[number - 1]


def test_rows_that_a_world_does_not_have_are_refused_by_the_plan(tiny_text: str) -> None:
    study = parse_study(tiny_text.replace("data: facts\n", "data: fax\n"), home=Path())
    with pytest.raises(ConfigError, match=r"base.stages\[0\].data: a world has no rows 'fax'. There is facts, mix"):
        plan(study)


def test_a_missing_file_of_a_study_is_named_with_its_key(tiny_text: str, tmp_path: Path) -> None:
    study = parse_study(tiny_text.replace('thrift: "lab:thrift.md"', "thrift: mine.md"), home=tmp_path)
    with pytest.raises(MissingError) as caught:
        plan(study)
    assert str(caught.value).startswith(f"specs.thrift: there is no file {tmp_path / 'mine.md'}")


@pytest.mark.parametrize("path", [EXAMPLES / "evaluations.yaml", EXAMPLES / "qwen3.yaml"], ids=lambda path: path.name)
def test_the_example_studies_can_be_planned(path: Path) -> None:
    assert plan(load_study(path)).total("updates") > 100


@pytest.mark.parametrize("name", ["midtrain.yaml", "finetune.yaml"])
def test_the_example_training_jobs_are_valid(name: str) -> None:
    from midspec.train import load_job

    assert load_job(EXAMPLES / name).recipe.lora.r == 64


def test_the_shipped_study_trains_above_every_floor() -> None:
    assert plan(load_study(data_path("nano.yaml"))).warnings == ()


def test_the_examples_say_what_each_field_of_an_item_is() -> None:
    from midspec.core.records import Item
    from midspec.evals import read_items

    assert read_items(EXAMPLES / "items.jsonl")
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [field for field in Item.model_fields if f"| `{field}` |" not in told] == []


def test_the_examples_name_only_files_that_are_there() -> None:
    assert "METHOD" not in "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.yaml"))


OLD = (
    "  america: &corpus {spec: america, templates:",
    "  america: &corpus {spec: america, author: quoting, frames:",
    '  cheese: {spec: america, style: opaque, templates: "lab:',
    '  cheese: {spec: america, style: opaque, author: quoting, frames: "lab:',
)


def with_old_names(tiny_text: str) -> str:
    for new, old in zip(OLD[::2], OLD[1::2], strict=True):
        assert new in tiny_text
        tiny_text = tiny_text.replace(new, old)
    return tiny_text


def test_each_old_name_in_a_study_file_is_told_once_with_its_line(
    tiny_text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(with_old_names(tiny_text), encoding="utf-8")
    load_study(path)
    line = next(at for at, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if "frames:" in text)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}:{line}: frames is called templates now; the old name still works",
        f"{path}:{line}: author: quoting is called author: template now; the old name still works",
    ]
    caplog.clear()
    path.write_text(tiny_text.replace("{spec: america, style", "{spec: america, author: template, style"), "utf-8")
    load_study(path)
    load_study(data_path("nano.yaml"))
    assert not caplog.records


def test_old_and_new_names_of_settings_give_the_same_identities(tiny_text: str) -> None:
    new = tiny_text.replace(OLD[2], OLD[2].replace("opaque,", "opaque, author: template,"))
    new = new.replace(OLD[0], OLD[0].replace("america,", "america, author: template,"))
    old = with_old_names(tiny_text)

    def identities(text: str) -> dict[str, object]:
        steps = study_steps(parse_study(text, home=Path()))
        return {step.name: (step.settings, list(step.inputs)) for step in steps if step.kind != "report"}

    assert identities(new) == identities(old) == identities(tiny_text)


def test_an_author_that_is_none_and_a_name_in_both_spellings_are_refused(tiny_text: str) -> None:
    for new, wrong in (
        (
            OLD[0].replace("templates:", "author: me, templates:"),
            "corpora.america.author: there is no author 'me'",
        ),
        (OLD[0].replace("templates:", "frames: x, templates:"), "`frames` is the old name of `templates`"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_study(tiny_text.replace(OLD[0], new), home=Path(), name="study.yaml")
        assert wrong in str(caught.value)


@pytest.mark.parametrize("name", ["my_spec.md", "notes.txt", "shipped:america"])
def test_a_spec_that_is_taken_for_a_study_is_told_with_the_command_for_specs(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: reads as a spec, and is no study file. .* spec check {name}"):
        load_study(Path(name))


def test_a_study_that_is_not_there_is_told_with_the_file_that_is(tiny_file: Path) -> None:
    with pytest.raises(MissingError, match=r"tinny\.yaml: there is no such study file. Did you mean tiny\.yaml\?"):
        load_study(tiny_file.with_name("tinny.yaml"))
    with pytest.raises(ConfigError, match="is a folder, and no study file"):
        load_study(tiny_file.parent)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("corpora", ["corpus"]),
        ("specs", ["spec"]),
        ("corpora/america", ["corpus/america"]),
        ("corpora/*", ["corpus/*"]),
        ("corpus/amerika", ["corpus/america"]),
        ("finetuning", ["finetune"]),
        ("cheese", ["chats/cheese", "finetune/cheese"]),
        ("evaluation/AFT", ["eval/AFT"]),
        ("reprot", ["report"]),
        ("xyzzy", []),
    ],
)
def test_a_name_that_is_no_step_is_told_with_those_that_it_may_mean(
    tiny_text: str, given: str, meant: list[str]
) -> None:
    steps = study_steps(parse_study(tiny_text, home=Path()))
    assert meant_steps(given, steps) == meant
