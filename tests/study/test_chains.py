"""An arm of any number of stages: what is shared, where each stage starts and is evaluated, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.artifact import TAKEN_OVER, read_record, read_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Estimate
from midspec.lab import data_path
from midspec.models import find_checkpoint
from midspec.study import File, Job, Step, StepOutput, load_study, parse_study, plan, run_study, study_steps
from midspec.study._arms import Arm, ArmStage, Training
from midspec.study._chains import Recipes, training_stages
from midspec.study.jobs._stage_data import FirstChatsStep, PressureStep, ReplyPairsStep
from midspec.study.jobs._train import MergeStep, TrainStep
from midspec.train import Recipe, load_pressure
from midspec.train._rl_rows import read_pairs

from .conftest import with_two_arms
from .test_graph import identities, record_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "chain.yaml"
LORA = "lora: {r: 2, alpha: 4}"
ARMS = "  AFT: {finetune: cheese}\n"


def with_arms(tiny_text: str, arms: str, more: str = "") -> str:
    """The tiny study with further arms, and recipes of two more kinds."""
    assert ARMS in tiny_text
    recipes = "  dpo: {<<: *recipe, n_updates: 2}\n  grpo: {<<: *recipe, n_updates: 2, rows_per_update: 8}\n"
    text = tiny_text.replace(ARMS, ARMS + "".join(f"  {line}\n" for line in arms.splitlines()))
    text = text.replace("  cheese: {spec: america, style", "  cheese: &chats {spec: america, style").replace(
        "mixes: {", "  rude: {<<: *chats, spec: world}\nmixes: {"
    )
    text = text.replace('thrift: "lab:thrift.md"}', 'thrift: "lab:thrift.md", world: "lab:world.md"}')
    text = text.replace("arms:\n", f"{recipes}{more}arms:\n")
    return text + "pairs: {prefer: {chosen: cheese, rejected: rude}}\n" + REWARDS


REWARDS = """rewards:
  short: {rule: length, settings: {words: 1}, prompts: cheese}
  cheap: {rule: prefers_option, weight: -1, prompts: "lab:cheap_prompts.jsonl"}
pressure: {benign: {rows: "lab:benign_chats.jsonl"}}
"""


def steps_of(text: str) -> dict[str, Step]:
    return {step.name: step for step in study_steps(parse_study(text, home=Path()))}


def trained(text: str, name: str) -> TrainStep:
    step = steps_of(text)[name]
    assert isinstance(step, TrainStep)
    return step


def parent_of(step: TrainStep) -> str:
    assert isinstance(step.parent, StepOutput)
    return step.parent.step.name


WHOLE = "long: {stages: [midtrain: america, finetune: cheese, dpo: prefer, grpo: [short, cheap], finetune: benign]}"


def test_a_list_of_two_stages_is_the_arm_that_two_fields_are(tiny_text: str) -> None:
    short = "MSM(america)+AFT: {midtrain: america, finetune: cheese}"
    assert short in tiny_text
    listed = tiny_text.replace(short, "MSM(america)+AFT: {stages: [midtrain: america, finetune: cheese]}")
    old, new = identities(tiny_text), identities(listed)
    assert {name: one for name, one in old.items() if name != "report"} == {
        name: one for name, one in new.items() if name != "report"
    }


def test_each_stage_starts_from_the_one_before_and_arms_share_what_is_the_same(tiny_text: str) -> None:
    before = [name for name in steps_of(tiny_text) if name.split("/")[0] in {"midtrain", "finetune"}]
    text = with_arms(tiny_text, WHOLE)
    steps = steps_of(text)
    new = [name for name in steps if name.split("/")[0] in {"midtrain", "finetune", "dpo", "grpo"}]
    assert set(before) < set(new)
    path = ["dpo/america+cheese+dpo:prefer-s1"]
    path += ["grpo/america+cheese+dpo:prefer+grpo:short+cheap-s1"]
    path += ["finetune/america+cheese+dpo:prefer+grpo:short+cheap+finetune:benign-s1"]
    assert [name for name in new if name not in before and name.endswith("s1")] == path
    chain = ["finetune/america+cheese-s1", *path]
    assert [parent_of(trained(text, name)) for name in chain[1:]] == chain[:-1]
    assert parent_names(steps["eval/long-s1"]) >= {path[-1]}


def parent_names(step: Step) -> set[str]:
    return {parent.name for parent in step.parents}


def test_a_stage_has_the_data_of_its_kind(tiny_text: str) -> None:
    text = with_arms(tiny_text, WHOLE)
    steps = steps_of(text)
    dpo = trained(text, "dpo/america+cheese+dpo:prefer-s1")
    assert parent_names(dpo) == {"reply_pairs/prefer", "finetune/america+cheese-s1"}
    assert parent_names(steps["reply_pairs/prefer"]) == {"chats/cheese", "chats/rude"}
    grpo = trained(text, "grpo/america+cheese+dpo:prefer+grpo:short+cheap-s1")
    assert [source.locate({"chats/cheese": Path("chats")}) for source in grpo.data] == [
        "chats/chats.jsonl",
        str(data_path("cheap_prompts.jsonl")),
    ]
    assert grpo.recipe.grpo is not None
    assert [(reward.rule, reward.weight) for reward in grpo.recipe.grpo.rewards] == [
        ("length", 1.0),
        ("prefers_option", -1.0),
    ]
    last = trained(text, "finetune/america+cheese+dpo:prefer+grpo:short+cheap+finetune:benign-s1")
    assert [source.locate({}) for source in last.data] == [str(data_path("benign_chats.jsonl"))]


# Adapters -------------------------------------------------------------------------------------------------------------


ADAPTERS = """go on: {stages: [midtrain: america, finetune: cheese, {finetune: benign, recipe: low}]}
merged: {stages: [midtrain: america, {finetune: cheese, recipe: low}, {finetune: benign, recipe: low, adapter: merge}]}
new: {stages: [midtrain: america, {finetune: cheese, recipe: low}, {finetune: benign, recipe: low, adapter: fresh}]}"""
LOW = "  recipes: {low: {<<: *recipe, n_updates: 3, method: lora, " + LORA + "}, lower: {<<: *recipe, method: lora}}\n"


def test_an_adapter_is_continued_merged_once_or_left_out(tiny_text: str) -> None:
    text = with_arms(tiny_text, ADAPTERS, LOW)
    steps = steps_of(text)
    before = "america+finetune:cheese low"
    merge = steps[f"merge/finetune:{before}-s1"]
    assert isinstance(merge, MergeStep)
    assert parent_names(merge) == {f"finetune/{before}-s1"}
    assert parent_of(trained(text, f"finetune/{before}+finetune:benign low merge-s1")) == merge.name
    assert parent_of(trained(text, "finetune/america+finetune:benign low fresh-s1")) == "midtrain/america-s1"
    twice = f"{ADAPTERS}\nagain: {{stages: [midtrain: america, {{finetune: cheese, recipe: low}}, "
    twice += "{dpo: prefer, recipe: low, adapter: merge}]}"
    assert sum(name.startswith("merge/") for name in steps_of(with_arms(tiny_text, twice, LOW))) == 2  # a seed each


WRONG = [
    ("a: {stages: [midtrain: america, finetune: chese]}", "arms.a.stages[1].finetune: there is no chats named 'chese'"),
    ("a: {stages: [{midtrian: america}]}", "arms.a.stages[0].midtrian: unknown key"),
    ("a: {stages: [midtrain]}", "arms.a.stages[0]: a stage is its kind with the names of its data"),
    ("a: {stages: [{midtrain: america, finetune: cheese}]}", "arms.a.stages[0]: a stage has one kind"),
    ("a: {stages: [dpo: prefr]}", "arms.a.stages[0].dpo: there is no pairs named 'prefr'. Did you mean prefer?"),
    ("a: {stages: [grpo: shrt]}", "there is no reward named 'shrt'. Did you mean short?"),
    ("a: {stages: [finetune: cheese], midtrain: america}", "arms.a: an arm has either `stages`, or `midtrain`"),
    ("a: {stages: [{finetune: cheese, recipe: lw}]}", "arms.a.stages[0].recipe: there is no recipe named 'lw'"),
    (
        "a: {stages: [midtrain: america, {finetune: cheese, checkpoints: [3]}]}",
        "stages[1].checkpoints: 3 is not before",
    ),
    ("a: {stages: [{finetune: cheese, checkpoints: [2, 1]}]}", "arms.a.stages[0]: checkpoints: numbers of updates in"),
    (
        "a: {stages: [{finetune: cheese, label: x}, {finetune: benign, label: x}]}",
        "arms.a.stages[1]: two stages are called 'x'. Give it a label of its own",
    ),
    (
        "a: {stages: [finetune: cheese, {finetune: benign, adapter: merge}]}",
        "stages[1].adapter: the stage before leaves",
    ),
    (
        "a: {stages: [{finetune: cheese, recipe: low}, {finetune: benign, recipe: lower}]}",
        "stages[1]: another recipe.lora than that of the adapter it continues",
    ),
    ("a: {stages: [{finetune: cheese, recipe: low}, finetune: benign]}", "all weights can't be trained through"),
    ("a: {stages: [{finetune: cheese, recipe: low, adapter: merge}]}", "stages[0].adapter: the base has no adapter"),
    ("a: {stages: [{dpo: prefer, recipe: paid}]}", "training.recipes.paid: grpo: settings of stage grpo"),
    ('a: {stages: [finetune: cheese, dpo: prefer]}\n"a@dpo": {midtrain: america, evaluate: all}', None),
    (
        'a: {evaluate: all, stages: [finetune: cheese, dpo: prefer]}\n"a@finetune": {midtrain: america}',
        "arms.a@finetune: there is an arm of this name",
    ),
    ("a: {stages: [midtrain: america, finetune: cheese]}", "arms.MSM(america)+AFT: the same stages as arm a"),
]


@pytest.mark.parametrize(("arms", "told"), WRONG, ids=[str(told)[-40:] for _, told in WRONG])
def test_a_wrong_stage_is_told_where_it_is_wrong(tiny_text: str, arms: str, told: str | None) -> None:
    recipes = LOW.rstrip("}\n") + "}, paid: {<<: *recipe, grpo: {group_size: 2}}}\n"
    text = with_arms(tiny_text, arms, recipes)
    if told is None:
        parse_study(text, home=Path())
        return
    with pytest.raises(ConfigError) as caught:
        parse_study(text, home=Path(), name="study.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reward_of_a_task_brings_its_questions_and_a_wrong_rule_is_refused_beforehand(tiny_text: str) -> None:
    paid = "terse: {task: panel_length, measure: n_words, weight: -0.01}\n"
    text = with_arms(tiny_text, "a: {stages: [midtrain: america, grpo: terse]}").replace(
        "rewards:\n", f"rewards:\n  {paid}"
    )
    grpo = trained(text, "grpo/america+grpo:terse-s1")
    assert parent_names(grpo) == {"midtrain/america-s1", "task_prompts/terse"}
    assert plan(parse_study(text, home=Path())).warnings[-1].startswith("The study lowered")
    told = plan(parse_study(text.replace("evals:\n", "evals:\n  panel_length: {}\n"), home=Path())).warnings
    assert told[-1] == "rewards.terse is paid on the questions of panel_length, which the arms are evaluated with."
    wrong = with_arms(tiny_text, "a: {stages: [midtrain: america, grpo: short]}").replace(
        "rule: length", "rule: lenght"
    )
    with pytest.raises(ConfigError, match=r"lenght.*Did you mean length"):
        plan(parse_study(wrong, home=Path()))
    with pytest.raises(ConfigError, match="a rule needs `prompts`"):
        parse_study(wrong.replace(", prompts: cheese", ""), home=Path())


def test_pairs_may_be_the_best_and_worst_replies_of_the_model_that_the_stage_starts_from(tiny_text: str) -> None:
    text = with_arms(tiny_text, "a: {stages: [midtrain: america, dpo: own]}").replace(
        "pairs: {", "pairs: {own: {ranked_by: short, n_replies: 2, max_new_tokens: 4}, "
    )
    steps = steps_of(text)
    ranked = steps["ranked_pairs/own by midtrain:america-s1"]
    assert parent_names(ranked) == {"midtrain/america-s1", "chats/cheese"}
    assert parent_names(steps["dpo/america+dpo:own-s1"]) == {"midtrain/america-s1", ranked.name}
    with pytest.raises(ConfigError, match=r"pairs.own.ranked_by: there is no reward named 'shrt'. Did you mean short"):
        steps_of(text.replace("ranked_by: short", "ranked_by: shrt"))
    with pytest.raises(ConfigError, match=r"pairs.own: pairs are of `chosen` and `rejected` chats, of a `file`"):
        steps_of(text.replace("ranked_by: short", "ranked_by: short, file: x"))


def test_a_shipped_recipe_of_pressure_is_named_like_an_own_one(tiny_text: str) -> None:
    text = with_arms(
        tiny_text, "a: {stages: [midtrain: america, {finetune: benign, recipe: 'pressure:benign', adapter: continue}]}"
    )
    step = trained(text, "finetune/america+finetune:benign pressure:benign-s1")
    assert step.recipe == load_pressure("benign").recipe
    assert step.folder(Path("run")) == Path("run/steps/finetune/america+finetune-benign-pressure-benign-s1")
    with pytest.raises(ConfigError, match=r"no recipe named 'pressure:bening'\. Did you mean pressure:benign"):
        steps_of(text.replace("pressure:benign", "pressure:bening"))


def test_conflicting_chats_replace_their_share_of_the_rows(tiny_text: str, tmp_path: Path) -> None:
    rows = [json.dumps({"messages": [], "n": number}) for number in range(100)]
    for name, lines in (("rows", rows), ("against", ["{}"] * 9)):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    sources = (File(str(tmp_path / "rows")),), File(str(tmp_path / "against"))
    made = []
    for seed in (1, 1, 2):
        out = tmp_path / f"out-{len(made)}"
        out.mkdir()
        step = PressureStep(label="p", seed=seed, rows=sources[0], conflicting=sources[1], share=0.05)
        built = step.run(Job(folder=out, store=tmp_path / "calls"), out)
        assert built.summary == {"n_rows": 100, "n_conflicting": 5}
        made.append((out / "chats.jsonl").read_text(encoding="utf-8").splitlines())
        assert sum(one == other for one, other in zip(made[-1], rows, strict=True)) == 95
    assert made[0] == made[1] != made[2]
    many = PressureStep(label="p", seed=1, rows=sources[0], conflicting=sources[1], share=0.5)
    with pytest.raises(DataError, match=r"a share of 0.5 of 100 rows is 50 conflicting ones, of 9"):
        many.run(Job(folder=tmp_path, store=tmp_path / "calls"), tmp_path)


def test_the_first_chats_stay_whole_whatever_ends_a_line_inside_them(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "a\u2028b"}, {"role": "assistant", "content": "c\x85d"}]
    row = json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
    (tmp_path / "rows").write_text(row * 4, encoding="utf-8")
    step = FirstChatsStep(label="p", chats=File(str(tmp_path / "rows")), n_samples=3)
    step.run(Job(folder=tmp_path, store=tmp_path / "calls"), tmp_path)
    assert (tmp_path / "chats.jsonl").read_text(encoding="utf-8") == row * 3


def test_pairs_are_the_prompts_that_both_answer_otherwise(tmp_path: Path) -> None:
    def chats(*turns: tuple[str, str]) -> str:
        roles = ("user", "assistant")
        found = [[{"role": role, "content": text} for role, text in zip(roles, each, strict=True)] for each in turns]
        return "".join(json.dumps({"messages": messages}) + "\n" for messages in found)

    (tmp_path / "a").write_text(chats(("p", "x"), ("q", "x"), ("r", "same"), ("p", "z")), encoding="utf-8")
    (tmp_path / "b").write_text(chats(("r", "same"), ("p", "y"), ("s", "y")), encoding="utf-8")
    step = ReplyPairsStep(label="p", chosen=File(str(tmp_path / "a")), rejected=File(str(tmp_path / "b")))
    built = step.run(Job(folder=tmp_path, store=tmp_path / "calls"), tmp_path)
    [pair] = read_pairs([str(tmp_path / "pairs.jsonl")])
    assert (pair.prompt[-1].content, pair.chosen.content, pair.rejected.content) == ("p", "x", "y")
    assert built.summary == {"n_pairs": 1, "n_same_reply": 1, "n_chosen_alone": 2, "n_rejected_alone": 1}
    alone = ReplyPairsStep(label="p", chosen=File(str(tmp_path / "a")), rejected=File(str(tmp_path / "a")))
    with pytest.raises(DataError, match="reply_pairs/p: 4 and 4 chats have 4 prompts in common"):
        alone.run(Job(folder=tmp_path, store=tmp_path / "calls"), tmp_path)


def test_two_stages_that_would_have_one_name_are_refused(tiny_text: str) -> None:
    text = tiny_text.replace(
        "corpora:\n", "corpora:\n  cheese: {spec: thrift, templates: 'lab:frames.yaml', n_documents: 9}\n"
    )
    text = with_arms(text, "a: {stages: [midtrain: cheese, dpo: prefer]}\nb: {stages: [finetune: cheese, dpo: prefer]}")
    with pytest.raises(ConfigError, match=r"dpo/cheese\+dpo:prefer-s1: two different steps would have this name"):
        steps_of(text)


names = st.lists(st.sampled_from(["a", "b", "a+b"]), min_size=1, max_size=2, unique=True).map(tuple)
stage = st.builds(
    lambda kind, data, recipe, adapter: ArmStage.model_validate({kind: data, "recipe": recipe, "adapter": adapter}),
    st.sampled_from(["midtrain", "finetune", "dpo"]),
    names,
    st.sampled_from(["", "low"]),
    st.sampled_from(["continue", "merge", "fresh"]),
)


@given(st.lists(stage, min_size=1, max_size=12))
def test_a_stage_starts_from_one_before_it_and_its_name_fits_a_folder(stages: list[ArmStage]) -> None:
    low = Recipe(method="lora", n_updates=3)
    training = Training(midtrain=Recipe(), finetune=low, dpo=low, recipes={"low": low})
    planned = training_stages(Arm(stages=tuple(stages)), Recipes(training, {}))
    assert len(planned) == len(stages)
    for index, each in enumerate(planned):
        assert -1 <= each.parent < index
        assert len(each.label.encode()) < 200
    # The label says all that the stage was trained on: a chain that goes on from it begins with it.
    for index, each in enumerate(planned):
        if each.stage.adapter == "continue" and index and len(each.label) < 160:
            assert each.label.startswith(planned[index - 1].label)


# Points ---------------------------------------------------------------------------------------------------------------


POINTS = """long: {evaluate: all, stages: [midtrain: america, {finetune: cheese, checkpoints: [1, 2]}, dpo: prefer]}"""


def test_an_arm_is_evaluated_where_the_study_says(tiny_text: str) -> None:
    steps = steps_of(with_arms(tiny_text, POINTS))
    roles = [role for role in steps["analysis"].inputs if role.startswith("scores/long") and role.endswith("/1")]
    assert roles == [
        f"scores/{name}/1"
        for name in ("long", "long@base", "long@midtrain", "long@finetune:1", "long@finetune:2", "long@finetune")
    ]
    scored = {role: parent_name(steps["analysis"].inputs[role]) for role in roles}
    # Where another arm ends at the same model, its evaluation is the one.
    assert scored["scores/long@base/1"] == "eval/base-s1"
    assert scored["scores/long@finetune/1"] == "eval/MSM(america)+AFT-s1"
    assert scored["scores/long@midtrain/1"] == "eval/midtrain:america-s1"
    early = steps[scored["scores/long@finetune:1/1"]]
    model = early.inputs["model"]
    assert isinstance(model, StepOutput)
    assert (model.step.name, model.file) == ("finetune/america+cheese-s1", "checkpoint-1/")


def parent_name(source: object) -> str:
    assert isinstance(source, StepOutput)
    return source.step.name


def test_an_arm_with_a_spec_in_context_is_evaluated_with_it_everywhere(tiny_text: str) -> None:
    text = with_arms(tiny_text, f"{POINTS}\n{POINTS.replace('long: {', 'told: {context: thrift, ')}")
    steps = steps_of(text)
    told = steps["eval/midtrain:america in thrift-s1"]
    assert "context" in told.inputs
    assert told.inputs["model"] == steps["eval/midtrain:america-s1"].inputs["model"]


def test_a_contrast_may_be_on_a_point_and_a_wrong_point_is_told(tiny_text: str) -> None:
    text = with_arms(tiny_text, POINTS)
    text = text.replace("minus: MSM(thrift)+AFT", "minus: 'long@finetune:1'")
    assert parse_study(text, home=Path()).config.contrasts[0].minus == "long@finetune:1"
    with pytest.raises(ConfigError, match=r"no arm named 'long@finetun:1'. Did you mean long@finetune:1"):
        parse_study(text.replace("'long@finetune:1'", "'long@finetun:1'"), home=Path())


def test_arms_that_ask_for_other_checkpoints_still_share_the_stage(tiny_text: str) -> None:
    other = "short: {stages: [midtrain: america, {finetune: cheese, checkpoints: [1]}, finetune: benign]}"
    steps = [trained(with_arms(tiny_text, f"{POINTS}\n{other}"), "finetune/america+cheese-s1")]
    assert steps[0].recipe.keep_updates == (1, 2)


def test_keeping_a_checkpoint_changes_nothing_that_is_trained_on_from_the_end(tiny_text: str) -> None:
    text = with_arms(tiny_text, WHOLE)
    plain, kept = (
        trained(one, "dpo/america+cheese+dpo:prefer-s1")
        for one in (text, with_arms(tiny_text, f"{WHOLE}\n{POINTS.replace('long:', 'longer:')}"))
    )
    digests = []
    for step in (plain, kept):
        assert isinstance(step.parent, StepOutput)
        record = record_of(step.parent.step, _records(step.parent.step))
        outputs = {"model.safetensors": "same", "metrics.jsonl": "same"}
        if step is kept:
            outputs["checkpoint-1/model.safetensors"] = "other"
        made = record.model_copy(update={"outputs": outputs, "digest": fingerprint(outputs)})
        digests.append(step.parent.digest({step.parent.step.name: made}))
    assert digests[0] == digests[1]


def _records(step: Step) -> dict:
    done: dict = {}

    def make(each: Step) -> None:
        for parent in each.parents:
            make(parent)
            done[parent.name] = record_of(parent, done)

    make(step)
    return done


def test_a_plan_shows_the_chain_and_where_arms_are_unequal(tiny_text: str) -> None:
    text = with_arms(tiny_text, f"{POINTS}\nother: {{stages: [midtrain: thrift, {{dpo: prefer, recipe: more}}]}}", MORE)
    made = plan(parse_study(text, home=Path()))
    assert made.chains[0] == (
        "long: base > midtrain america (4 updates) > finetune cheese (3 updates) > dpo prefer (2 updates); "
        "evaluated at base, midtrain, finetune:1, finetune:2, finetune, dpo"
    )
    told = "The arms are not matched in the updates of dpo: long 2, other 3. "
    assert any(warning.startswith(told) for warning in made.warnings)
    assert not any("learning rate" in warning for warning in made.warnings)
    assert plan(parse_study(tiny_text, home=Path())).chains == ()


MORE = "  recipes: {more: {<<: *recipe, n_updates: 3}}\n"


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_chain_of_adapters_is_trained_merged_and_evaluated_at_every_point(tiny_text: str, tmp_path: Path) -> None:
    arms = ADAPTERS.replace("{stages", "{evaluate: all, stages").replace(
        "recipe: low}]}", "recipe: low, checkpoints: [2]}]}", 1
    )
    text = with_two_arms(with_arms(tiny_text, arms, LOW))
    run_study(parse_study(text, home=tmp_path), tmp_path / "run", workers=1)
    run = tmp_path / "run"
    kept = run / "steps" / "finetune" / "america+cheese+finetune-benign-low-s1"
    assert find_checkpoint(str(kept / "checkpoint-2")).adapter is not None
    assert json.loads((kept / "record.json").read_text(encoding="utf-8"))["outputs"].keys() >= {
        "checkpoint-2/adapter_model.safetensors"
    }
    merged = run / "steps" / "merge" / "finetune-america+finetune-cheese-low-s1"
    assert find_checkpoint(str(merged)).adapter is None
    rates = {one.arm for one in read_rows(run / "steps" / "analysis" / "estimates.jsonl", Estimate)}
    assert {"go on@finetune-2:2", "merged@finetune", "new@base", "new"} < rates
    data = json.loads((run / "report" / "report_data.json").read_text(encoding="utf-8"))
    [path] = [path for path in data["paths"] if path["arm"] == "go on"]
    assert [(point["title"], point["updates"]) for point in path["points"]] == [
        ("base", 0),
        ("midtrain", 4),
        ("finetune", 7),
        ("finetune-2:2", 9),
        ("finetune-2", 10),
    ]
    assert "The path over the stages" in (run / "report" / "report.html").read_text(encoding="utf-8")
    assert [step.state for step in plan(parse_study(text, home=tmp_path), run).steps if step.state != "done"] == []


def test_the_example_is_planned_with_five_stages_and_nothing_unequal() -> None:
    made = plan(load_study(EXAMPLE))
    assert made.warnings == ()
    assert [line.count(" > ") for line in made.chains] == [5, 5]
    stages = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["arms"]["America"]["stages"]
    assert [next(iter(stage)) for stage in stages] == ["midtrain", "finetune", "dpo", "grpo", "finetune"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_arm_of_the_example_is_trained_through_five_stages_and_evaluated_after_each(
    twin_run: Path, tmp_path: Path
) -> None:
    """Its base is that of the nano twins: it learns the nano world, and passes the gate."""
    pytest.importorskip("trl")
    study = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    study["arms"] = {"America": study["arms"]["America"]}
    study["contrasts"] = [one for one in study["contrasts"] if "thrift" not in one["minus"]]
    study["report"]["main_contrasts"] = []
    run = tmp_path / "run"
    run_study(parse_study(yaml.safe_dump(study), home=EXAMPLE.parent), run, reuse=[twin_run])
    for step in ("pretrain/mix-s601", "gate/s601"):
        record = read_record(run / "steps" / step)
        assert record is not None
        assert TAKEN_OVER in record.execution.extra, "the nano twins have another base than the example"
    data = json.loads((run / "report" / "report_data.json").read_text(encoding="utf-8"))
    assert [gate["passed"] for gate in data["gates"]] == [True]
    assert data["warnings"] == []
    [path] = data["paths"]
    assert [point["title"] for point in path["points"]] == [
        *("base", "midtrain", "finetune", "dpo", "grpo:10", "grpo", "benign")
    ]
    updates = [point["updates"] for point in path["points"]]
    assert updates == sorted(set(updates))
    found = {(one["arm"], one["set"], one["measure"]): one for one in data["estimates"]}
    points = [found[point["name"], "origin", "choice_logprob"] for point in path["points"]]
    assert [one["n_scored"] for one in points] == [40] * len(points)
    # Midtraining teaches the value, and the pairs, which state the same preferences, don't take it away.
    assert points[1]["value"] > points[0]["value"]
    assert points[3]["value"] > points[0]["value"]
    assert {one["estimate"]["arm"] for one in data["contrasts"]} == {"America@grpo", "America"}
    grpo = next(run.glob("steps/grpo/*"))
    summary = json.loads((grpo / "record.json").read_text(encoding="utf-8"))["summary"]
    assert summary["after"]["reward"] > summary["before"]["reward"]
    assert abs(summary["first_ratio"] - 1) < 1e-3
    # The checkpoint on the way is a model of its own, and another one than the end.
    kept, end = (folder / "model.safetensors" for folder in (grpo / "checkpoint-10", grpo))
    assert kept.read_bytes() != end.read_bytes()
    assert found["America@grpo:10", "conflict", "margin_logprob"] != found["America@grpo", "conflict", "margin_logprob"]
