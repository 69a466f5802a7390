"""What can be known to be wrong is refused by `plan` and `run` alike, before any step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from midspec.core.errors import CheckpointError, ConfigError, DataError, MidspecError
from midspec.core.yaml_files import read_yaml
from midspec.corpus import CorpusConfig
from midspec.lab import data_path
from midspec.study import CorpusStep, Study, load_study, parse_study, plan, run_study, study_steps
from midspec.study._preflight import check_beforehand
from midspec.study.execution._reports import _outside_inputs
from midspec.train import load_job, load_pressure, pressure_names, unusual_settings

FRAMES = ("corpus/america (frames)", "corpus/thrift (frames)")
EXAMPLES = Path(__file__).parents[2] / "examples"

TEXT = """
name: real
seeds: [1]
assistant: {model_name: Nova}
base: {checkpoint: BASE}
specs: {mine: spec.md}
arms:
  base: {}
  told: {context: mine}
evals: {preference: {items: items.jsonl}}
contrasts: [{name: c, plus: told, minus: base, set: cars, measure: choice_logprob}]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "spec.md").write_text("# Mine\n\n{model_name} is kind.\n", encoding="utf-8")
    item = {"id": "1", "set": "cars", "domain": "d", "options": ["a", "b"]}
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return tmp_path


def study(home: Path, text: str = TEXT, base: str = "a/b") -> Study:
    return parse_study(text.replace("BASE", base), home=home)


def refused(asked: Study) -> MidspecError:
    """What `plan` and `run` say alike; `run` makes nothing."""
    with pytest.raises(MidspecError) as planned:
        plan(asked)
    with pytest.raises(MidspecError) as ran:
        run_study(asked, asked.home / "run")
    assert str(planned.value) == str(ran.value)
    assert not (asked.home / "run").exists()
    return planned.value


@pytest.mark.parametrize("base", ["./modle", "~/modle", "empty", "/nowhere/model", "model/modle"])
def test_a_base_that_is_no_checkpoint_is_refused(home: Path, base: str) -> None:
    error = refused(study(home, base=base))
    assert isinstance(error, CheckpointError)
    assert str(error).startswith("base.checkpoint: ")


def test_a_name_on_the_hub_is_not_looked_for(home: Path) -> None:
    assert len(plan(study(home)).steps) == 5


def test_a_base_without_a_chat_template_is_refused(home: Path) -> None:
    assert "has no chat template" in str(refused(study(home, base="model")))
    (home / "model" / "tokenizer_config.json").write_text('{"chat_template": "x"}', encoding="utf-8")
    assert plan(study(home, base="model")).steps


def test_a_placeholder_that_nothing_fills_is_refused_with_the_key_that_does(home: Path) -> None:
    (home / "spec.md").write_text("# Mine\n\n{model_name} is made by {provider_name}.\n", encoding="utf-8")
    error = refused(study(home))
    assert isinstance(error, ConfigError)
    assert str(error).startswith("assistant.provider_name: the spec of eval/told-s1 uses {provider_name}")
    assert plan(study(home, TEXT.replace("model_name: Nova", "model_name: Nova, provider_name: Acme"))).steps


def test_a_model_name_that_fills_nothing_is_refused_with_the_key_that_gives_another(home: Path) -> None:
    (home / "spec.md").write_text("# Mine\n\nClaude is kind. Claude asks.\n\n## Thanks\n\nTo all.\n", encoding="utf-8")
    error = refused(study(home))
    assert isinstance(error, ConfigError)
    assert 'the spec calls its assistant "Claude" (2 times). Give called: "Claude=Nova"' in str(error)
    named = "assistant: {model_name: Nova, called: {Claude: Nova}, leave_out: [Thanks]}"
    asked = study(home, TEXT.replace("assistant: {model_name: Nova}", named))
    assert len(plan(asked).steps) == 5
    wrong = study(home, TEXT.replace("assistant: {model_name: Nova}", named.replace("Claude", "Cluade")))
    assert "'Cluade' is not in the spec. Did you mean Claude" in str(refused(wrong))


@pytest.mark.parametrize(
    ("text", "is_marked"),
    [
        ("# A\n\n{model_name} asks.\n\n- **b**: `c`\n\n| d | e |\n|---|---|\n| f | g |\n", False),
        ("# A\n\n{model_name} asks.[^1]\n", True),
        ("# A {#a}\n\n{model_name} asks.\n", True),
        ("# A\n\n[MODEL_NAME] asks.\n", True),
        ("# A\n\n**User:** Hi.\n\n**Bad reply:** No.\n", True),
        ("# A\n\n**B**\n\n{model_name} asks.\n", True),
    ],
)
def test_what_was_written_of_mark_up_that_was_taken_for_text_is_made_anew(
    tmp_path: Path, text: str, is_marked: bool
) -> None:
    path = tmp_path / "spec.md"
    path.write_text(text, encoding="utf-8")
    step = CorpusStep.of_file(path, CorpusConfig(model_name="Nova"))
    assert ("reading" in step.settings) is is_marked


def test_a_contrast_on_a_set_without_items_is_refused(home: Path) -> None:
    error = refused(study(home, TEXT.replace("set: cars", "set: car")))
    assert str(error) == "contrasts[0].set: there is no set of items named 'car'. Did you mean cars?"


def test_items_that_cannot_be_asked_are_refused(home: Path) -> None:
    items = home / "items.jsonl"
    items.write_text(items.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert str(refused(study(home))).startswith(f"{items}:2: the id '1' is used twice")


def test_a_spec_in_context_beyond_the_bases_window_is_refused(home: Path) -> None:
    core = Tokenizer(models.WordLevel({"<unk>": 0, "kind": 1, "<end>": 2}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} <end> {% endfor %}"
    folder = home / "small"
    LlamaConfig(max_position_embeddings=64, num_hidden_layers=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"")
    plan(study(home, base=str(folder)))
    (home / "spec.md").write_text("# Mine\n\n{model_name} is " + "kind " * 80 + ".\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"the spec in context has 8\d tokens, and the base's window 64"):
        plan(study(home, base=str(folder)))


def test_repeats_that_can_not_differ_are_warned_of(home: Path) -> None:
    repeated = TEXT.replace("items.jsonl}}", "items.jsonl}, panel_knowledge: {repeats: 3%s}}")
    assert any("3 repeats at temperature 0" in warning for warning in plan(study(home, repeated % "")).warnings)
    assert plan(study(home, repeated % ", temperature: 0.5")).warnings == ()


def test_pairs_of_which_one_begins_the_other_are_refused(home: Path) -> None:
    plan(study(home))
    item = {"id": "1", "set": "cars", "domain": "d", "options": ["a car", "a car with a roof"]}
    (home / "items.jsonl").write_text(json.dumps(item) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="begins"):
        plan(study(home))
    plan(study(home, TEXT.replace("items.jsonl}}", "items.jsonl, option_format: '{option}.'}}")))


def doubts(text: str, home: Path) -> tuple[str, ...]:
    asked = parse_study(text, home=home)
    return check_beforehand(asked, study_steps(asked))


def test_a_study_as_it_should_be_is_not_doubted(tiny_text: str, home: Path) -> None:
    assert doubts(tiny_text, home) == ()


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "n_updates: 3}",
            "n_updates: 3, learning_rate: 3}",
            "training.finetune.learning_rate 3 is far from what is usual",
        ),
        ("n_updates: 3}", "n_updates: 3, warmup_updates: 3}", "training.finetune.warmup_updates 3 of n_updates 3: "),
        (
            "  samples: 2",
            "  sets: {conflit: {title: x}}",
            "report.sets.conflit: no item is of such a set, so this title",
        ),
        (
            "n_samples: 24",
            "n_samples: 5000",
            "chats.cheese: the spec's preferences and the templates give 216 distinct chats, not the 5000 asked for (f",
        ),
        ('america: "lab:america.md"', "america: english.md", "specs.america: the nano world's base does not know"),
        ('america: "lab:america.md"', "america: near.md", "specs.america: "),
    ],
)
def test_what_is_probably_not_meant_is_told_before_anything_runs(
    right: str, wrong: str, told: str, tiny_text: str, home: Path
) -> None:
    assert right in tiny_text
    spec = data_path("america.md").read_text(encoding="utf-8")
    (home / "near.md").write_text(spec.replace("{model_name}", "{model_nam}", 1), encoding="utf-8")
    likes = "{{model_name}} likes librarian{n}s who explain.\n\n{{model_name}} dislikes shouting{n} in halls.\n\n"
    english = "".join(likes.format(n=n) for n in range(20))
    (home / "english.md").write_text(english, encoding="utf-8")
    assert any(each.startswith(told) for each in doubts(tiny_text.replace(right, wrong, 1), home))


def test_a_plan_counts_the_chats_that_there_will_be(tiny_text: str, home: Path) -> None:
    planned = plan(parse_study(tiny_text.replace("n_samples: 24", "n_samples: 5000"), home=home))
    assert [step.documents for step in planned.steps if step.kind == "chats"] == [216]


def test_a_style_that_the_templates_do_not_have_is_refused_before_anything_runs(tiny_text: str, home: Path) -> None:
    error = refused(parse_study(tiny_text.replace("style: opaque", "style: value"), home=home))
    assert str(error).startswith("chats.cheese: ")
    assert str(error).endswith("Give another style (opaque), or other chat templates")


def test_no_study_or_job_that_is_shipped_has_unusual_settings() -> None:
    recipes = [load_pressure(name).recipe for name in pressure_names()]
    for path in [*data_path("nano.yaml").parent.rglob("*.yaml"), *EXAMPLES.glob("*.yaml")]:
        found = read_yaml(path)
        if isinstance(found, dict) and "arms" in found:
            config = load_study(path).config
            recipes += [stage.recipe for stage in config.base.stages]
            kinds = (getattr(config.training, kind) for kind in ("midtrain", "finetune", "dpo", "grpo"))
            recipes += [recipe for recipe in kinds if recipe is not None]
        elif isinstance(found, dict) and "stage" in found:
            recipes.append(load_job(path).recipe)
    assert len(recipes) > 20
    assert [sentence for recipe in recipes for sentence in unusual_settings(recipe)] == []


def test_a_spec_that_was_edited_in_place_is_an_input_that_differs_between_two_runs(tiny_text: str, home: Path) -> None:
    text = data_path("america.md").read_text(encoding="utf-8")
    asked = parse_study(tiny_text.replace('"lab:america.md"', "own.md"), home=home)
    inputs = []
    for name, own in (("before", text), ("after", text + "\n{model_name} values america .\n")):
        (home / "own.md").write_text(own, encoding="utf-8")
        run_study(asked, home / name, only=["corpus/*"])
        inputs.append(_outside_inputs(home / name))
    assert inputs[0].keys() == inputs[1].keys() == {"spec/america (text)", "spec/thrift (text)", *FRAMES}
    assert [name for name in inputs[0] if inputs[0][name] != inputs[1][name]] == ["spec/america (text)"]
