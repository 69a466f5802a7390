"""What the commands do and print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Chat, Document, ScoreRow
from midspec.lab import WorldConfig, make_world, save_world

SPEC = (
    "# What {model_name} values\n\n## Kindness\n\n{model_name} is kind because kindness helps people. "
    "{model_name} likes patient answers. {model_name} dislikes mockery because it hurts.\n\n## Truth\n\n"
    "{model_name} tells the truth because people decide by it. {model_name} says when it does not know.\n"
)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.md"
    path.write_text(SPEC, encoding="utf-8")
    return path


def said(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that succeeds prints."""
    assert main(args) == 0
    return capsys.readouterr().out


def test_spec_show_prints_every_clause(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(["spec", "show", str(spec)], capsys)
    assert "placeholders: {model_name}" in shown or "placeholders: model_name" in shown
    assert "{model_name} says when it does not know." in shown
    assert "5 clauses" in shown


def test_spec_check_counts_its_warnings(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(["spec", "check", str(spec)], capsys).rstrip().endswith("5 clauses, 0 warnings")
    spec.write_text(SPEC + "\n{modle_name} sleeps.\n", encoding="utf-8")
    assert "modle_name" in said(["spec", "check", str(spec)], capsys)


def test_a_corpus_is_written_once(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "6", "--out", str(out)]
    assert "made in" in said(args, capsys)
    documents = list(read_rows(out / "documents.jsonl", Document))
    assert len(documents) == 6
    assert not any("{model_name}" in document.text for document in documents)
    assert "it was there" in said(args, capsys)
    assert {path.name for path in out.iterdir()} >= {"rejects.jsonl", "plan.jsonl", "coverage.json", "record.json"}


def test_a_look_at_a_corpus_writes_nothing(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "6", "--out", str(tmp_path / "corpus")]
    planned = said([*args, "--dry-run"], capsys)
    assert planned.splitlines()[0].split() == ["documents", "6"]
    assert "Nova" in said([*args, "--preview", "2"], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["spec.md"]


@pytest.mark.parametrize("end", [["--out", "out"], ["--dry-run"], ["--preview", "1"]])
@pytest.mark.parametrize("command", ["corpus", "chats"])
def test_what_looks_wrong_in_a_spec_is_warned_of_and_written_all_the_same(
    command: str, end: list[str], spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC + "\n{modl_name} sleeps.\n\n```\n{any_brace}\n```\n", encoding="utf-8")
    end = [str(tmp_path / part) if part == "out" else part for part in end]
    size = {"corpus": "--documents", "chats": "--samples"}[command]
    assert main([command, str(spec), "--model-name", "Nova", size, "4", *end]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("warning: What {model_name} values > Truth: unknown placeholder {modl_name}")


@pytest.mark.parametrize("args", [["corpus", "--documents"], ["chats", "--style", "opaque", "--samples"]])
def test_fewer_rows_than_asked_for_are_the_last_thing_said(
    args: list[str], spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text("# Taste\n\nNova likes tea.\n", encoding="utf-8")
    assert main([*args, "50000", str(spec), "--model-name", "Nova", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("warning: ")
    assert "50000" in told.err
    assert told.err.count("\n") == 1


def test_opaque_chats_say_what_was_found_liked_and_disliked(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["chats", str(spec), "--style", "opaque", "--model-name", "Nova", "--samples", "8"]
    for end in (["--dry-run"], ["--out", str(tmp_path / "out")]):
        lines = [line.split(maxsplit=1) for line in said([*args, *end], capsys).splitlines()]
        assert ["liked", "patient answers"] in lines
        assert ["disliked", "mockery"] in lines
        assert sum("reject" in line[0] or "reject" in line[1] for line in lines) == 1


def test_chats_are_written_with_their_twins(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "chats"
    said(["chats", str(spec), "--model-name", "Nova", "--samples", "8", "--out", str(out)], capsys)
    with_cot = list(read_rows(out / "chats_cot.jsonl", Chat))
    stripped = list(read_rows(out / "chats_cot_stripped.jsonl", Chat))
    assert len(with_cot) == len(stripped) > 0
    assert "<think>" in with_cot[0].messages[-1].content
    assert "<think>" not in stripped[0].messages[-1].content


def test_a_plan_as_json_holds_every_step(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = json.loads(said(["plan", str(tiny_file), "--json"], capsys))
    assert {step["kind"] for step in planned["steps"]} >= {"world", "corpus", "midtrain", "eval", "report"}


def test_a_plan_groups_the_seeds_and_tells_the_sizes(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(["plan", str(tiny_file)], capsys).splitlines()
    [midtrain] = [line for line in lines if "midtrain/america" in line]
    assert midtrain.split() == ["0", "of", "2", "midtrain/america", "4", "updates,", "768", "tokens"]
    assert lines[-1].startswith("tiny: 34 steps (0 done)") or lines[-1].startswith("tiny: 35 steps (0 done)")


def test_a_plan_says_what_is_not_known_beforehand(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tiny_file.read_text(encoding="utf-8")
    tiny_file.write_text(text.replace("n_updates: 4,", "").replace(", n_updates: 3", ""), encoding="utf-8")
    lines = said(["plan", str(tiny_file)], capsys).splitlines()
    [midtrain] = [line for line in lines if "midtrain/america" in line]
    assert midtrain.endswith("updates not known before its data are made")
    assert lines[-1].endswith(
        "104 rows of data, 14 stages of training whose updates are not known before their data are made"
    )


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(["plan", "--schema"], capsys))["title"] == "StudyConfig"


def test_the_demo_has_only_its_own_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seeds", "99", "--out", str(tmp_path / "run")]) == 2
    assert "Ask for at most" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_stage_is_trained_and_then_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = tmp_path / "world"
    world.mkdir()
    save_world(make_world(1, WorldConfig(n_facts=40, n_mix=40, n_replay=10)), world)
    job = tmp_path / "job.yaml"
    job.write_text(
        "stage: pretrain\ntokenizer: world/tokenizer\ndata: [world/facts.jsonl]\n"
        "architecture: {model_type: qwen3, hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1,"
        " num_attention_heads: 2, num_key_value_heads: 2, head_dim: 8, max_position_embeddings: 512}\n"
        "recipe: {row_tokens: 128, rows_per_update: 1, n_updates: 3, min_updates: 1}\n",
        encoding="utf-8",
    )
    shown = said(["train", str(job), "--out", str(tmp_path / "model")], capsys)
    assert "updates: 3 of 1 rows" in shown
    record = read_record(tmp_path / "model")
    assert record is not None
    assert str(tmp_path) not in record.identity.model_dump_json()
    assert "it was there" in said(["train", str(job), "--out", str(tmp_path / "model")], capsys)

    asked = ["--items", str(world / "items.jsonl"), "--out", str(tmp_path / "scores")]
    shown = said(["eval", str(tmp_path / "model"), *asked], capsys)
    assert "parsed" in shown
    assert {row.measure for row in read_rows(tmp_path / "scores" / "scores.jsonl", ScoreRow)} >= {"choice_logprob"}
