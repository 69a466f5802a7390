"""From a study to its steps: shared ones once, identities by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.errors import ConfigError, PreflightError
from midspec.core.records import Execution, Record
from midspec.study import File, Step, StepOutput, parse_study, plan
from midspec.study._graph import study_steps
from midspec.study._step import slug
from midspec.study.jobs._train import TrainStep

from ..installed import install


def steps_of(text: str, home: Path = Path()) -> dict[str, Step]:
    return {step.name: step for step in study_steps(parse_study(text, home=home))}


def record_of(step: Step, done: dict[str, Record]) -> Record:
    """A record as if the step had been made, its outputs a function of its identity."""
    wanted = step.identity(done)
    text = wanted.model_dump_json()
    names = ("facts.jsonl", "mix.jsonl", "replay.jsonl", "items.jsonl", "gate.jsonl", "tokenizer/t", "documents.jsonl")
    outputs = {name: f"{name}{hash(text)}" for name in (*names, "chats.jsonl", "scores.jsonl", "spec.md")}
    return Record(
        identity=wanted,
        fingerprint=text,
        outputs=outputs,
        digest=str(hash(text)),
        summary={},
        versions={},
        commit=None,
        execution=Execution(started_at="", finished_at="", seconds=0, host="", folder="", n_attempts=1),
    )


def identities(text: str, home: Path = Path()) -> dict[str, str]:
    """The fingerprint of every step if all were made."""
    done: dict[str, Record] = {}
    for name, step in steps_of(text, home).items():
        done[name] = record_of(step, done)
    return {name: record.fingerprint for name, record in done.items()}


def changed(before: str, after: str) -> set[str]:
    """The kinds of steps that differ between two studies, but for the report, which shows the file itself."""
    old, new = identities(before), identities(after)
    return {name.split("/")[0] for name in old if old[name] != new.get(name)} - {"report"}


def test_what_arms_share_is_one_step(tiny_text: str) -> None:
    names = list(steps_of(tiny_text))
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("pretrain/")] == [
        f"pretrain/{stage}-s{seed}" for seed in (1, 2) for stage in ("facts", "mix")
    ]
    assert [name for name in names if name.startswith("chats/")] == ["chats/cheese"]
    assert sum(name.startswith("midtrain/") for name in names) == 4
    assert sum(name.startswith("eval/") for name in names) == 8


def test_every_step_stands_after_those_that_it_is_made_from(tiny_text: str) -> None:
    seen: set[str] = set()
    for step in steps_of(tiny_text).values():
        assert seen.issuperset(parent.name for parent in step.parents)
        seen.add(step.name)


def test_every_fine_tuning_of_a_seed_has_the_same_rows_and_recipe(tiny_text: str) -> None:
    steps = [step for step in steps_of(tiny_text).values() if step.kind == "finetune" and step.seed == 1]
    tuned = [step for step in steps if isinstance(step, TrainStep)]
    assert len(tuned) == len(steps) == 3
    assert len({step.data for step in tuned}) == 1
    assert len({str(step.settings) for step in tuned}) == 1
    assert len({step.parent for step in tuned}) == 3


def test_a_change_reaches_what_is_made_from_it_and_nothing_else(tiny_text: str) -> None:
    other_question = tiny_text.replace('free: "name a', 'free: "tell a')
    assert changed(tiny_text, other_question) == {"eval", "analysis"}
    other_finetune = tiny_text.replace("n_updates: 3}", "n_updates: 2}")
    assert changed(tiny_text, other_finetune) == {"finetune", "eval", "analysis"}
    assert changed(tiny_text, tiny_text.replace("title: A study", "title: The study")) == set()


def test_memory_and_place_are_no_part_of_identity(tiny_text: str, tmp_path: Path) -> None:
    assert changed(tiny_text, tiny_text.replace("rows_per_update: 1,", "rows_per_update: 1, micro_batch: 1,")) == set()
    assert identities(tiny_text) == identities(tiny_text, tmp_path)


def test_the_mix_alone_can_be_a_fine_tuning(tiny_text: str, tmp_path: Path) -> None:
    (tmp_path / "mix.jsonl").write_text("", encoding="utf-8")
    text = tiny_text.replace('{replay: "world:replay"}', '{replay: "world:replay", it_mix: mix.jsonl}')
    text = text.replace("  AFT: {finetune: cheese}", "  baseline: {finetune: it_mix}\n  AFT: {finetune: cheese}")
    steps = steps_of(text, tmp_path)
    assert list(steps["finetune/it_mix-s1"].inputs) == ["data[0]", "parent"]
    assert list(steps["finetune/cheese-s1"].inputs) == ["data[0]", "data[1]", "parent"]


def test_a_spec_in_context_is_given_by_content(tiny_text: str) -> None:
    text = tiny_text.replace("  AFT: {finetune: cheese}", "  AFT: {finetune: cheese}\n  told: {context: thrift}")
    told = steps_of(text)["eval/told-s1"]
    context = told.inputs["context"]
    assert isinstance(context, StepOutput)
    assert context.step.name == "spec/thrift"
    assert told.settings["context"] == {"spec": "thrift", "model_name": "nova", "provider_name": "lab"}


def test_training_under_the_floor_is_refused_before_anything_runs(tiny_text: str) -> None:
    with pytest.raises(PreflightError, match=r"4 updates would train nothing; the floor of pretrain is 100"):
        plan(parse_study(tiny_text.replace(", min_updates: 1", ""), home=Path()))


def test_chats_too_few_for_the_updates_are_refused_before_anything_runs(tiny_text: str) -> None:
    floor = tiny_text.replace("{<<: *recipe, n_updates: 3}", "{<<: *recipe, n_updates: null, min_updates: 30}")
    with pytest.raises(PreflightError, match=r"its chats make at most 24 updates, and the floor of finetune is 30"):
        plan(parse_study(floor, home=Path()))
    asked = tiny_text.replace("{<<: *recipe, n_updates: 3}", "{<<: *recipe, n_updates: 25}")
    with pytest.raises(PreflightError, match=r"its chats make at most 24 updates, and n_updates asks for 25"):
        plan(parse_study(asked, home=Path()))


def test_documents_too_few_for_the_floor_are_refused_before_anything_runs(tiny_text: str) -> None:
    text = tiny_text.replace('mixes: {replay: "world:replay"}\n', "").replace("n_documents: 20", "target_tokens: 1920")
    text = text.replace("  midtrain: *recipe", "  midtrain: {<<: *recipe, n_updates: null, min_updates: FLOOR}")
    with pytest.raises(PreflightError, match=r"target_tokens make about 10 updates, and the floor of midtrain is 20"):
        plan(parse_study(text.replace("FLOOR", "20"), home=Path()))
    planned = {step.name: step for step in plan(parse_study(text.replace("FLOOR", "10"), home=Path())).steps}
    assert (planned["midtrain/america-s1"].updates, planned["midtrain/america-s1"].about) == (10, True)


def test_what_is_not_known_beforehand_is_counted_and_not_zero(tiny_text: str) -> None:
    text = tiny_text.replace("  midtrain: *recipe", "  midtrain: {<<: *recipe, n_updates: null}")
    planned = plan(parse_study(text, home=Path()))
    assert planned.n_unknown == 4
    assert {step.updates for step in planned.steps if step.kind == "midtrain"} == {None}


def test_a_lowered_floor_is_told(tiny_text: str) -> None:
    warnings = plan(parse_study(tiny_text, home=Path())).warnings
    assert any(each.startswith("The study lowered the floor of midtrain updates from 100 to 1.") for each in warnings)


def test_folder_names_need_no_quotes(tiny_text: str) -> None:
    assert slug("MSM(america)+AFT-s1") == "MSM-america+AFT-s1"
    assert slug("other america") == "other-america"
    step = steps_of(tiny_text)["eval/MSM(america)+AFT-s1"]
    assert step.folder(Path("run")) == Path("run/steps/eval/MSM-america+AFT-s1")


def test_two_labels_that_would_share_a_folder_are_refused(tiny_text: str) -> None:
    text = tiny_text.replace("  AFT: {finetune: cheese}", "  A-T: {finetune: cheese}\n  A T: {context: thrift}")
    with pytest.raises(ConfigError, match="would share the folder"):
        steps_of(text)


@pytest.mark.parametrize("name", ["x" * 300, "\u96ea" * 100, "a" * 260])
def test_a_name_that_no_folder_can_have_is_refused_before_anything_is_made(name: str, tiny_text: str) -> None:
    with pytest.raises(ConfigError, match=r"no folder can be called after it: .* 249 are the most") as caught:
        steps_of(tiny_text.replace("  base: {}", f"  {name}: {{}}"))
    assert len(str(caught.value)) < 400


def test_a_name_as_long_as_is_allowed_can_be_made_with_its_draft(tiny_text: str, tmp_path: Path) -> None:
    names = {}
    for length in range(230, 260):
        try:
            found = steps_of(tiny_text.replace("  base: {}", f"  {'x' * length}: {{}}"))
        except ConfigError:
            break
        names = {step.folder(tmp_path).name for step in found.values()}
    longest = max(names, key=len)
    assert len(longest) > 240
    (tmp_path / f".{longest}.part").mkdir()
    with pytest.raises(OSError, match="too long"):
        (tmp_path / f".{longest}x.part").mkdir()


def test_a_file_is_hashed_by_content_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one", encoding="utf-8")
    before = File(str(path)).digest({})
    path.write_text("three", encoding="utf-8")
    assert File(str(path)).digest({}) != before


def test_a_document_style_of_another_package_is_named_like_a_file_of_templates(
    tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "their_styles", "document_styles", "logbook = their_styles")
    (tmp_path / "their_styles").mkdir()
    style = tmp_path / "their_styles" / "logbook.yaml"
    style.write_text("name: logbook", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = tiny_text.replace("*corpus, spec: thrift", "*corpus, spec: thrift, templates: {}")
    by_name, by_path = (text.replace("templates: {}", f"templates: {templates}") for templates in ("logbook", style))
    corpora = [name for name, step in steps_of(by_name).items() if step.inputs.get("frames") == File(str(style))]
    assert corpora
    named, placed = identities(by_name), identities(by_path)
    assert [named[name] for name in corpora] == [placed[name] for name in corpora]


def test_how_trainings_run_is_said_once_for_a_study_and_changes_no_identity(tiny_text: str) -> None:
    divided = tiny_text.replace("training:\n", "training:\n  execution: {gradient_checkpointing: true, processes: 2}\n")
    assert divided != tiny_text
    trained = [step for step in steps_of(divided).values() if isinstance(step, TrainStep)]
    assert {step.kind for step in trained} == {"pretrain", "midtrain", "finetune"}
    assert {step.n_devices for step in trained} == {2}
    assert changed(tiny_text, divided) == set()


def test_switches_of_the_template_are_those_of_every_evaluation_and_none_changes_nothing(tiny_text: str) -> None:
    switched = tiny_text.replace("evals:\n", "evals:\n  template_args: {enable_thinking: false}\n")
    assert changed(tiny_text, tiny_text.replace("evals:\n", "evals:\n  template_args: {}\n")) == set()
    assert {"eval", "gate"} <= changed(tiny_text, switched) <= {"eval", "gate", "analysis"}


TWICE = "  world: nano\n  midtrainings: 2\n"


def test_every_midtraining_of_a_base_has_data_and_orders_of_its_own_and_starts_from_that_base(tiny_text: str) -> None:
    steps = steps_of(tiny_text.replace("  world: nano\n", TWICE))
    names = [name for name in steps if name.startswith("midtrain/america-")]
    assert names == [f"midtrain/america-s{seed}" for seed in (1, 1000001, 2, 1000002)]
    first, second = (steps[f"midtrain/america-s{seed}"] for seed in (1, 1000001))
    assert first.inputs["parent"] == second.inputs["parent"]
    assert first.inputs["data[0]"] != second.inputs["data[0]"]
    assert first.settings["seed"] != second.settings["seed"]
    assert sum(name.startswith("pretrain/") for name in steps) == 4
    assert sum(name.startswith("eval/base") for name in steps) == 2, "what is not trained is asked once"
    assert sum(name.startswith("gate/") for name in steps) == 2
    assert steps["analysis"].settings["bases"] == {"1": 1, "1000001": 1, "2": 2, "1000002": 2}


def test_the_second_midtraining_in_the_mirrored_world_has_its_items_and_the_same_weights(tiny_text: str) -> None:
    steps = steps_of(tiny_text.replace("  world: nano\n", f"{TWICE}  mirror: true\n"))
    mirror, own = steps["mirror/s1000001"], steps["midtrain/america-s1"]
    assert steps["midtrain/america-s1000001"].inputs["parent"] == StepOutput(mirror)
    assert mirror.inputs["model"] == own.inputs["parent"]
    assert steps["world/s1000001"].settings["mirrors"] == 1
    items = {seed: steps[f"eval/AFT-s{seed}"].inputs["items"] for seed in (1, 1000001)}
    assert items[1000001] == StepOutput(steps["world/s1000001"], "items.jsonl")
    assert sum(name.startswith("eval/base") for name in steps) == 4


def test_once_through_the_arms_is_what_a_study_without_the_setting_has(tiny_text: str) -> None:
    assert not changed(tiny_text, tiny_text.replace("  world: nano\n", "  world: nano\n  midtrainings: 1\n"))
