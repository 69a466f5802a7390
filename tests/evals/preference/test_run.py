"""The whole way: a checkpoint, Inspect, its log, and the rows that are read from it."""

from __future__ import annotations

import gc
import math
import shutil
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from midspec.core.artifact import read_rows
from midspec.core.errors import CheckpointError, ConfigError, DataError, MissingError
from midspec.core.records import Answer, Item, Message, ScoreRow
from midspec.evals import (
    MidspecAPI,
    PreferenceConfig,
    TaskConfig,
    preference_task,
    read_answers,
    read_scores,
    run_preference,
    scripted_model,
)
from midspec.evals._inspect import close_model, open_model
from midspec.evals._measures import raise_if_nothing_scored


def scores_of(folder: Path) -> list[ScoreRow]:
    return list(read_rows(folder / "scores.jsonl", ScoreRow))


def answers_of(folder: Path) -> list[Answer]:
    return list(read_rows(folder / "answers.jsonl", Answer))


def value(rows: Sequence[ScoreRow], item: str, measure: str) -> float | None:
    [row] = [row for row in rows if (row.item, row.measure) == (item, measure)]
    return row.value


def direct_logprob(checkpoint: Path, question: str, option: str) -> float:
    """By hand: no padding, no batch, no template."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt = tokenizer(f"<user> {question} <end> <nova>", add_special_tokens=False).input_ids
    target = tokenizer(option, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + target])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + at - 1, token].item() for at, token in enumerate(target))


def test_scores_are_what_a_direct_forward_pass_gives(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    run_preference(str(checkpoint), items, nano, tmp_path)
    rows = scores_of(tmp_path)
    target, other = items[0].options
    found = []
    for phrasing in nano.phrasings:
        for first, second in ((target, other), (other, target)):
            question = phrasing.replace("{first}", first).replace("{second}", second)
            found.append([direct_logprob(checkpoint, question, option) for option in (target, other)])
    margins = [mine - theirs for mine, theirs in found]
    mass = [math.exp(mine) + math.exp(theirs) for mine, theirs in found]
    assert value(rows, "i0", "margin_logprob") == pytest.approx(sum(margins) / 4, abs=2e-5)
    assert value(rows, "i0", "option_mass") == pytest.approx(sum(mass) / 4, abs=2e-5)
    assert value(rows, "i0", "choice_logprob") == sum(margin > 0 for margin in margins) / 4


def test_two_runs_write_the_same_bytes(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_preference(str(checkpoint), items, nano, tmp_path / name)
    for file in ("scores.jsonl", "answers.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def rigged(checkpoint: Path, folder: Path, logits: dict[str, float]) -> Path:
    """The checkpoint with weights that give the same logits after anything: 0 but for `logits`."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if "norm" in name or "embed_tokens" in name else 0.0)
        for word, logit in logits.items():
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(word)] = logit / model.config.hidden_size
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_rigged_weights_score_exactly_as_rigged(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    logits = {"alto": 5.0, "delta": 3.0, "fiat": 1.0}
    model = rigged(checkpoint, tmp_path / "rigged", logits)
    run_preference(str(model), items, nano, tmp_path)
    rows = scores_of(tmp_path)
    wins = [value(rows, item.id, "choice_logprob") for item in items]
    assert wins == [1.0, 0.0, 0.0, 0.0]
    n_words = len(AutoTokenizer.from_pretrained(model))
    total = sum(map(math.exp, logits.values())) + n_words - len(logits)
    assert value(rows, "i0", "margin_logprob") == pytest.approx(5.0, abs=1e-4)
    assert value(rows, "i2", "option_mass") == pytest.approx((1 + math.e) / total, abs=1e-4)
    # It says "alto" on and on, and is cut off: no sentence was finished.
    assert value(rows, "i0", "parsed") == 0.0
    assert value(rows, "i0", "order_consistency") == 1.0
    assert value(rows, "i0", "truncated") == 1.0
    assert value(rows, "i1", "parsed") == 0.0


def test_answers_are_stored_word_for_word_in_the_order_of_the_items(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    built = run_preference(scripted_model(lambda _: " Alto . "), items[:2], nano, tmp_path)
    answers = answers_of(tmp_path)
    assert [answer.item for answer in answers] == ["i0"] * 6 + ["i1"] * 6
    assert [answer.kind for answer in answers[:6]] == ["choice"] * 4 + ["free", "why"]
    assert answers[1].question == "which do you prefer , brio or alto ?"
    assert {(answer.text, answer.stop_reason) for answer in answers} == {(" Alto . ", "stop")}
    assert built.outputs == ("scores.jsonl", "answers.jsonl")
    assert built.summary["parsed"] == 0.5


def test_an_item_that_fails_is_unscored_with_the_reason_and_stops_no_other(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    def script(messages: Sequence[Message]) -> str | Exception:
        return RuntimeError("out of luck") if "enzo" in messages[-1].content else "alto"

    built = run_preference(scripted_model(script, logprob=lambda _, __: -1.0), items, nano, tmp_path)
    rows = scores_of(tmp_path)
    failed = [row for row in rows if row.item == "i2"]
    assert len(failed) == 11
    assert all(row.value is None and "out of luck" in (row.unscored or "") for row in failed)
    assert value(rows, "i0", "choice_generated") == 1.0
    counts = built.summary
    assert counts["n_score_rows"] == len(rows)
    assert isinstance(counts["n_scored"], int)
    assert isinstance(counts["n_unscored"], int)
    assert counts["n_scored"] + counts["n_unscored"] == counts["n_score_rows"]
    assert {answer.item for answer in answers_of(tmp_path)} == {"i0", "i1", "i3"}


def test_when_every_item_fails_there_is_no_result_and_the_error_and_the_log_say_why(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"every item failed: no model today\. No item could be asked"):
        run_preference(scripted_model([RuntimeError("no model today")]), items, nano, tmp_path)
    assert not (tmp_path / "scores.jsonl").exists()
    [log] = (tmp_path / "logs").glob("*.eval")
    rows = read_scores(log)
    assert {row.item for row in rows} == {item.id for item in items}
    assert all(row.value is None and "no model today" in (row.unscored or "") for row in rows)


def run_task(task: Task, model: Model, logs: Path, **options: int) -> Path:
    [log] = inspect_eval(task, model=model, display="none", log_dir=str(logs), ctl_server=False, **options)
    return Path(log.location)


def test_a_scorer_that_raises_shows_in_the_counts(items: list[Item], nano: PreferenceConfig, tmp_path: Path) -> None:
    @scorer(metrics=[mean()])
    def raising() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            if state.sample_id == "i1":
                raise ValueError("a scorer's fault")
            return Score(value=1.0)

        return score

    task = preference_task(items, nano)
    task.scorer = [raising()]
    rows = read_scores(run_task(task, scripted_model(["alto"]), tmp_path))
    assert {row.item for row in rows} == {item.id for item in items}
    assert all(row.value is None and "a scorer's fault" in (row.unscored or "") for row in rows if row.item == "i1")
    assert value(rows, "i0", "choice_generated") == 1.0


def test_items_left_out_by_a_limit_are_unscored_and_said_to_be(
    items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    rows = read_scores(run_task(preference_task(items, nano), scripted_model(["alto"]), tmp_path, limit=1))
    assert {row.unscored for row in rows if row.item != "i0"} == {"left out by a limit"}
    assert value(rows, "i0", "choice_generated") == 1.0


def test_a_stored_log_scores_again_to_the_same_rows(items: list[Item], nano: PreferenceConfig, tmp_path: Path) -> None:
    run_preference(scripted_model(["alto .", "brio ."]), items, nano, tmp_path)
    [log] = (tmp_path / "logs").glob("*.eval")
    assert read_scores(log) == scores_of(tmp_path)
    assert read_answers(log) == answers_of(tmp_path)
    metadata = read_eval_log(str(log), header_only=True).eval.metadata or {}
    assert metadata["prompt_hash"] == nano.prompt_hash
    assert metadata["config"]["temperature"] == 0.0
    assert set(metadata["versions"]) == {"midspec", "inspect_ai", "torch", "transformers"}


def test_what_is_no_log_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_scores(tmp_path / "nothing.eval")
    path = tmp_path / "not.eval"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not an Inspect log"):
        read_scores(path)
    other = run_task(Task(dataset=[Sample(input="hello")]), scripted_model(["hi"]), tmp_path)
    with pytest.raises(DataError, match="not a log of the task preference"):
        read_scores(other)


def test_models_follow_one_another_in_one_process_and_leave_nothing_behind(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    left = []
    for at in range(2):
        model = open_model(str(checkpoint), {})
        assert isinstance(model.api, MidspecAPI)
        left.append(weakref.ref(model.api._model.model))
        (tmp_path / str(at)).mkdir()
        run_preference(model, items[:1], nano, tmp_path / str(at))
        close_model(model)
        del model
    gc.collect()
    assert [ref() for ref in left] == [None, None]


@pytest.mark.parametrize("name", ["no/such-folder/at-all", "midspec//no/such/folder", "."])
def test_what_is_no_checkpoint_is_refused_before_anything_is_asked(
    name: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        run_preference(name, items, nano, tmp_path)
    assert not (tmp_path / "logs").exists()


def test_a_setting_that_the_provider_does_not_know_is_named(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="colour"):
        run_preference(str(checkpoint), items, nano, tmp_path, model_args={"colour": "red"})


def test_a_disk_that_is_full_is_told_as_such(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from midspec.core.errors import FolderError\n"
        "from midspec.evals import PreferenceConfig, run_preference, scripted_model\n"
        "from midspec.core.artifact import writable\n"
        "from midspec.core.records import Item\n"
        "folder = Path(sys.argv[1])\n"
        "items = [Item(id='i', set='s', domain='d', options=('brie', 'colby'))]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "try:\n"
        "    with writable(folder):\n"
        "        run_preference(scripted_model(['brie']), items, PreferenceConfig(), folder)\n"
        "except FolderError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert told.stdout.startswith(f"{tmp_path}: can't be written (File too large)"), told.stderr


def test_items_that_can_not_be_told_apart_are_refused(nano: PreferenceConfig, tmp_path: Path) -> None:
    item = Item(id="i", set="s", domain="d", options=("Brie", "brie"))
    with pytest.raises(DataError):
        run_preference(scripted_model(["brie"]), [item], nano, tmp_path)


def test_a_checkpoint_without_a_chat_template_is_refused(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    bare = shutil.copytree(checkpoint, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="has no chat template, so nothing can be asked"):
        run_preference(str(bare), items, nano, tmp_path)


def test_nothing_scored_for_one_fault_of_the_checkpoint_is_that_fault() -> None:
    def row(measure: str, value: float | None, unscored: str | None) -> ScoreRow:
        return ScoreRow(task="t", set="s", item="i", domain="d", measure=measure, value=value, unscored=unscored)

    for fault in ("CheckpointError('its weights are not finite')", "DataError('its weights are not finite')"):
        with pytest.raises(CheckpointError, match=r"^m: its weights are not finite"):
            raise_if_nothing_scored([row("a", None, fault), row("b", None, fault)], "m")
    with pytest.raises(CheckpointError, match=r"^m: every item failed: IndexError\('index out of range'\)"):
        raise_if_nothing_scored(
            [row("a", None, "IndexError('index out of range')"), row("b", None, "KeyError('x')")], "m"
        )
    raise_if_nothing_scored([row("a", 1.0, None), row("b", None, fault)], "m")
    raise_if_nothing_scored([row("a", None, "UnreachableError('the server gave no answer')")], "m")
    raise_if_nothing_scored([row("a", None, "the server said no")], "m")


@pytest.mark.parametrize("seed", [2**32, -1, 2**64 - 1])
def test_a_seed_that_no_generator_takes_is_refused_in_the_settings(seed: int) -> None:
    with pytest.raises(ValidationError, match="seed"):
        PreferenceConfig(seed=seed)
    with pytest.raises(ValidationError, match="seed"):
        TaskConfig(seed=seed)


def test_a_sample_of_a_log_holds_nothing_of_the_other_items(
    tmp_path: Path, items: list[Item], nano: PreferenceConfig
) -> None:
    run_preference(scripted_model(["alto ."]), items, nano, tmp_path)
    [path] = (tmp_path / "logs").iterdir()
    for sample in read_eval_log(path).samples or ():
        others = [item.id for item in items if item.id != sample.id]
        assert not any(f'"{other}"' in sample.model_dump_json() for other in others)
