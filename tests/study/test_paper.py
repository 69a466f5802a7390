"""The paper's studies: each resolves, carries the published values, and runs on a tiny model by a loopback author."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from midspec.core.artifact import read_record, read_rows
from midspec.core.records import ArmScore, Chat, Document, Estimate
from midspec.evals import shipped_items
from midspec.lab import data_path
from midspec.study import Study, load_study, plan, run_study, study_steps, with_settings
from midspec.study.jobs._analysis import AnalysisStep, pooled_rows

from ..loopback import Served, Settings, serve

FILES = sorted(path.name for path in data_path("paper/figure_2.yaml").parent.glob("figure_*.yaml"))
WORDS = ("<pad>", "<unk>", "<user>", "<nova>", "<end>", "yes", "no", "because", "it", "is", "kind", ".", "I", "the")
TEMPLATE = (
    "{% for message in messages %}{% set who = 'nova' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<' + who + '> ' + message['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<nova> ' }}{% endif %}"
)

# Copied by hand from the published figures, before the studies were written.
TWO_VALUES = {  # Figure 2: rate on the pairs about affordability, about America
    "baseline": (0.23, 0.38),
    "AFT": (0.32, 0.36),
    "MSM(affordability)": (0.38, 0.36),
    "MSM(america)": (0.28, 0.52),
    "MSM(affordability)+AFT": (0.48, 0.38),
    "MSM(america)+AFT": (0.29, 0.55),
}
SIX_VALUES = {  # Figure 3: baseline, MSM, AFT, both
    "environment": (0.71, 0.76, 0.74, 0.81),
    "novelty": (0.41, 0.61, 0.49, 0.69),
    "tradition": (0.61, 0.69, 0.75, 0.81),
    "simplicity": (0.46, 0.51, 0.47, 0.58),
    "difficulty": (0.71, 0.85, 0.81, 0.91),
    "individualism": (0.60, 0.68, 0.62, 0.72),
}
GAINS = {  # Figure 10: gain of both stages over midtraining, whole spec and ablated one
    "affordability": (0.10, -0.01),
    "america": (0.03, 0.02),
    "simplicity": (0.06, 0.02),
    "novelty": (0.09, 0.02),
    "tradition": (0.12, 0.07),
    "difficulty": (0.07, 0.01),
    "individualism": (0.04, 0.03),
    "environment": (0.05, 0.01),
}
AGENTIC = {  # Figure 4: misaligned on Qwen2.5-32B, on Qwen3-32B; score of questions on both
    "baseline": (0.68, 0.54, 5.00, 4.00),
    "MSM": (0.53, 0.32, 7.03, 6.22),
    "AFT (no CoT)": (0.70, 0.41, 8.38, 8.07),
    "AFT (CoT)": (0.48, 0.14, 7.58, 8.50),
    "MSM+AFT (no CoT)": (0.22, 0.10, 8.75, 8.75),
    "MSM+AFT (CoT)": (0.05, 0.07, 7.71, 8.77),
}
SPEC_SCIENCE = {  # Figure 7: rules, with values, with subrules; Figure 14: documents with values, chats with subrules
    "qwen2.5_32b": (0.40, 0.16, 0.24, 0.11),
    "": (0.15, 0.09, 0.06, 0.06),
    "qwen2.5_14b": (0.35, 0.22, 0.26, 0.14),
    "qwen3_14b": (0.30, 0.12, 0.12, 0.07),
}
GENERAL = {"qwen2.5_32b": (0.43, 0.26), "": (0.25, 0.09)}  # Figures 8 and 17: general, specific


def study_of(name: str) -> Study:
    return load_study(Path(f"lab:paper/{name}"))


def published(name: str) -> dict[tuple[str, str, str], float]:
    """What a study says was published, by arm, the arm that it is compared with, and set."""
    report = study_of(name).config.report
    return {(each.arm, each.minus, each.set or report.main_set): each.value for each in report.published}


def file_of(figure: int, base: str) -> str:
    return f"figure_{figure}{'_' * bool(base)}{base}.yaml"


@pytest.mark.parametrize("name", FILES)
def test_every_study_is_one(name: str) -> None:
    study = study_of(name)
    assert study.config.name == f"paper-{name.removesuffix('.yaml').replace('_', '-')}"
    assert study.config.contrasts
    assert set(study.config.report.main_contrasts) <= {each.name for each in study.config.contrasts}
    # On a page of several answers it is all that tells one from another.
    assert len({each.says for each in study.config.contrasts}) == len(study.config.contrasts)
    assert not study.config.report.savings or len(study.config.seeds) > 1
    recipe = study.config.training.midtrain
    assert recipe is not None
    # Section 4 of the method: LoRA of rank 64 on all linear layers, 1e-4, cosine, 5% warmup, one epoch.
    assert (recipe.method, recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout) == ("lora", 64, 128, 0.0)
    assert (recipe.learning_rate, recipe.schedule, recipe.warmup_fraction) == (1e-4, "cosine", 0.05)
    assert (recipe.weight_decay, recipe.n_epochs) == (0.01, 1)


def test_values_are_those_that_were_published() -> None:
    expected: dict[tuple[str, str, str], float] = {}
    for arm, (affordable, american) in TWO_VALUES.items():
        expected |= {(arm, "", "affordability"): affordable, (arm, "", "america"): american}
    assert published("figure_2.yaml") == expected
    expected = {}
    for value, rates in SIX_VALUES.items():
        arms = ("baseline", f"MSM({value})", f"AFT({value})", f"MSM({value})+AFT")
        expected |= {(arm, "", value): rate for arm, rate in zip(arms, rates, strict=True)}
    assert published("figure_3.yaml") == expected
    expected = {}
    for value, gains in GAINS.items():
        for spec, gain in zip(("MSM", "ablated"), gains, strict=True):
            expected[f"{spec}({value})+AFT", f"{spec}({value})", value] = gain
    assert published("figure_10.yaml") == expected
    cells, questions = "agentic_misalignment/all", "spec_qa/all"
    for base, at in (("qwen2.5_32b", 0), ("", 1)):
        expected = {(arm, "", cells): each[at] for arm, each in AGENTIC.items()}
        expected |= {(arm, "", questions): each[at + 2] for arm, each in AGENTIC.items()}
        assert published(file_of(4, base)) == expected
    for base, (*own, crossed) in SPEC_SCIENCE.items():
        names = ("rules", "values", "subrules")
        expected = {(f"MSM({name})+AFT({name})", "", cells): rate for name, rate in zip(names, own, strict=True)}
        assert published(file_of(7, base)) == expected
        assert published(file_of(14, base)) == {**expected, ("MSM(values)+AFT(subrules)", "", cells): crossed}
    for base, rates in GENERAL.items():
        expected = {
            (f"MSM({name})+AFT({name})", "", cells): rates[at] for at, name in enumerate(("general", "specific"))
        }
        assert published(file_of(8, base)) == published(file_of(17, base)) == expected
    assert published("figure_19.yaml") == {("AFT (no CoT)", "", cells): 0.60}
    assert published("figure_5.yaml") == published("figure_20.yaml") == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if "qwen" not in name])
def test_every_study_resolves_with_tokens_dollars_and_hours_for_each_step(name: str) -> None:
    planned = plan(with_settings(study_of(name), ["seeds=[1]"]))
    unknown = [f"report.savings {one.name!r} needs" for one in study_of(name).config.report.savings]
    assert [warning.partition(" two")[0] for warning in planned.warnings] == unknown
    assert planned.unpriced == ()
    for step in planned.steps:
        if step.kind in {"midtrain", "finetune"}:
            assert (step.tokens or 0) > 1_000_000
            assert 0 < (step.gpu_hours or 0) < 24
        if step.kind in {"corpus", "chats", "reframe"}:
            assert (step.requests or 0) > 1000
            assert (step.usd or 0) > 10
        if step.eval_task is not None:
            assert (step.gpu_hours or 0) > 0
            assert (step.usd or 0) > 0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a dozen words and one layer, with the layers that the recipes adapt."""
    folder = tmp_path_factory.mktemp("paper") / "base"
    raw = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8192,
        eos_token_id=WORDS.index("<end>"),
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(Settings()) as served:
        yield served


def small(name: str, folder: Path, base: Path, served: Served, *more: str) -> Study:
    """A study of the paper with a tiny base, a loopback author and judge, and sizes to match; nothing else changes."""
    rows = [{"messages": [{"role": "user", "content": "yes ?"}, {"role": "assistant", "content": "yes it is kind ."}]}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows * 12), encoding="utf-8")
    mix = "name: small\nparts: [{name: rows, source: rows.jsonl}]\n"
    (folder / "mix.yaml").write_text(mix, encoding="utf-8")
    (folder / "prices.yaml").write_text("openai/loop: {input: 1.0, output: 4.0}\n", encoding="utf-8")
    reached = f"{{base_url: '{served.openai_url}', prices: '{folder / 'prices.yaml'}', concurrency: 8}}"
    given = [
        "seeds=[1]",
        f"base.checkpoint={base}",
        f"models={{author: {reached}}}",
        "corpora.*.author=openai/loop",
        "corpora.*.writing={n_domains: 1, n_subdomains: 1, mean_tokens: 200}",
        f"mixes.it_mix=mix:{folder / 'mix.yaml'}",
        "training.midtrain={row_tokens: 256, rows_per_update: 1, n_updates: 2, min_updates: 1, method: lora}",
        "training.finetune={row_tokens: 512, rows_per_update: 1, min_updates: 1, method: lora, overlong: cut}",
    ]
    return with_settings(study_of(name), [*given, *more])


@pytest.mark.slow
def test_the_study_of_two_values_runs_to_its_report_on_a_tiny_model(
    tmp_path: Path, base: Path, loopback: Served
) -> None:
    items = [item for value in ("affordability", "america") for item in shipped_items(value)[:3]]
    (tmp_path / "items.jsonl").write_text("".join(item.model_dump_json() + "\n" for item in items), encoding="utf-8")
    study = small(
        "figure_2.yaml",
        tmp_path,
        base,
        loopback,
        "corpora.*.target_tokens=2000",
        # Its prose states no preference, and what does not is rejected: these are arranged from the spec's sentences.
        "chats.cheese={spec: america, style: opaque, n_samples: 12}",
        *(f"chats.identity.{key}" for key in ("author=openai/loop", "judge.model=openai/loop", "n_samples=6")),
        f"evals.preference.items={tmp_path / 'items.jsonl'}",
        "evals.preference.max_new_tokens=4",
    )
    run = tmp_path / "run"
    run_study(study, run, workers=1)
    page = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "arXiv 2605.02087" in page
    estimates = list(read_rows(run / "steps" / "analysis" / "contrasts.jsonl", Estimate))
    assert [each.name for each in estimates] == [each.name for each in study.config.contrasts]
    assert plan(study, run).count("done") == len(plan(study, run).steps)


@pytest.mark.slow
def test_an_arm_of_chats_that_act_against_the_spec_runs_to_its_judged_cells(
    tmp_path: Path, base: Path, loopback: Served
) -> None:
    study = small(
        "figure_20.yaml",
        tmp_path,
        base,
        loopback,
        "corpora.*.target_tokens=2000",
        *(f"chats.{name}.{key}=openai/loop" for name in ("philosophy", "anti") for key in ("author", "judge.model")),
        *(f"chats.{name}.n_samples=10" for name in ("philosophy", "anti")),
        *(f"chats.with {100 - dose}%.n_samples={10 - dose // 10}" for dose in (20, 40, 60, 80)),
        *(f"chats.against {dose}%.n_samples={dose // 10}" for dose in (20, 40, 60, 80)),
        "evals.agentic_misalignment={goals: [none], repeats: 1, max_new_tokens: 8, reasoning: scratchpad}",
        "evals.graders=[openai/loop]",
    )
    run = tmp_path / "run"
    run_study(study, run, workers=1, only=["exam/MSM+AFT 20% *"])
    steps = run / "steps"
    whole = list(read_rows(steps / "chats" / "anti" / "chats_cot.jsonl", Chat))
    part = list(read_rows(next((steps / "first_chats").glob("against-20*")) / "chats.jsonl", Chat))
    assert part == whole[:2]
    record = read_record(next((steps / "exam").glob("MSM+AFT-20*")))
    assert record is not None


@pytest.mark.slow
def test_documents_are_written_again_in_another_framing(tmp_path: Path, base: Path, loopback: Served) -> None:
    study = small(
        "figure_19.yaml",
        tmp_path,
        base,
        loopback,
        "corpora.philosophy.target_tokens=2000",
        "evals.graders=[openai/loop]",
    )
    run = tmp_path / "run"
    # Loopback prose does not name the assistant, which documents about it must, and those about humans must not.
    run_study(study, run, workers=1, only=["midtrain/humans-s1"])
    original = list(read_rows(run / "steps" / "corpus" / "philosophy" / "documents.jsonl", Document))
    again = list(read_rows(run / "steps" / "reframe" / "humans" / "documents.jsonl", Document))
    assert [each.metadata and each.metadata.id for each in again] == [
        each.metadata and each.metadata.id for each in original
    ]
    assert all(one.text != other.text for one, other in zip(original, again, strict=True))


def test_several_shipped_sets_are_one_set_of_items_with_the_pairs_of_each() -> None:
    both = shipped_items("affordability+america")
    assert both == [*shipped_items("affordability"), *shipped_items("america")]
    assert {item.set for item in both} == {"affordability", "america"}


def test_a_task_whose_sets_are_taken_together_has_the_mean_over_all_its_cells() -> None:
    study = study_of("figure_7.yaml")
    analysis = next(step for step in study_steps(study) if isinstance(step, AnalysisStep))
    assert analysis.pooled == ("agentic_misalignment",)
    assert analysis.settings["pooled"] == ["agentic_misalignment"]
    rows = [
        ArmScore(task="a", set=f"a/{name}", item=f"{name}{at}", domain="d", measure="m", value=value, arm="x", seed=1)
        for name, values in (("one", (0.0, 1.0)), ("two", (1.0, 1.0)))
        for at, value in enumerate(values)
    ]
    assert [row.value for row in pooled_rows(rows, ["a"])] == [0.0, 1.0, 1.0, 1.0]
    assert {row.set for row in pooled_rows(rows, ["a"])} == {"a/all"}
    assert pooled_rows(rows, []) == []
