"""`midspec compare` on logs of tasks that are not ours, and what it says of what can't be compared."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from scipy import stats

from midspec.cli import main

from ..inspect_runs import run


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    """Logs of two models on forty sums, one of them with two runs: `old` right on 12, `new` on 28."""
    folder, draw = tmp_path_factory.mktemp("logs"), random.Random(5)
    for model, share in (("old", 0.3), ("new", 0.7), ("new", 0.7)):
        scores = {f"s{item}": "C" if draw.random() < share else "I" for item in range(40)}
        path = run(folder, model, scores, groups={name: f"g{index % 8}" for index, name in enumerate(scores)})
        # Inspect's names differ by a second or at random, and the first is what the others are compared with.
        path.rename(path.with_name(f"{len(list(folder.iterdir()))}-{path.name}"))
    return folder


def printed(args: list[str], capsys) -> str:
    assert main(["compare", *args]) == 0
    return capsys.readouterr().out


def complaint(args: list[str], capsys) -> str:
    assert main(["compare", *args]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


def test_it_says_who_is_above_whom_by_how_much_and_on_how_many_samples(logs, capsys):
    text = printed([str(logs), "--baseline", "mockllm/old", "--reruns"], capsys)
    assert "mockllm/new is" in text
    assert "points above mockllm/old on sums by told (95% interval +" in text
    assert "40 of 40 samples paired" in text
    assert "cross-check by a mixed model" in text
    assert "samples needed to find a difference 4 times in 5: 1 point: " in text


def test_no_difference_is_said_with_a_bound_or_not_at_all(tmp_path, capsys):
    draw = random.Random(1)
    scores = {f"s{item}": draw.choice("CI") for item in range(60)}
    flipped = {name: "I" if score == "C" else "C" for name, score in list(scores.items())[:6]}
    other = scores | flipped
    for model, found in (("one", scores), ("two", other)):
        run(tmp_path, model, found)
    text = printed([str(tmp_path)], capsys)
    assert "are not told apart on sums" in text
    assert "points is not ruled out" in text
    assert "equivalent" not in text
    text = printed([str(tmp_path), "--equivalence", "15"], capsys)
    assert "are equivalent on sums by told: the difference is smaller than 15.0 points either way" in text


def test_the_files_hold_every_estimate_and_every_score(logs, tmp_path, capsys):
    out = tmp_path / "out"
    printed([str(logs), "--cluster", "group", "--equivalence", "5", "--out", str(out)], capsys)
    found = json.loads((out / "comparison.json").read_text())
    [difference] = found["differences"]
    assert (difference["n_clusters"], difference["n_runs"]) == (8, [2, 1])
    assert "a single log" in difference["note"]
    rows = list(csv.DictReader((out / "estimates.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["mean", "mean", "difference"]
    assert float(rows[2]["value"]) == difference["value"]
    assert float(rows[2]["equivalence_p"]) == difference["equivalence"]["p"]
    assert float(rows[2]["mixed_model_se"]) == difference["mixed_model"]["se"]
    parquet = pytest.importorskip("pyarrow.parquet").read_table(out / "estimates.parquet").to_pylist()
    assert [row["value"] for row in parquet] == [float(row["value"]) for row in rows]
    # The columns that HiBayES's reader of logs makes, by which its models are written.
    scores = list(csv.DictReader((out / "hibayes.csv").read_text().splitlines()))
    assert len(scores) == 120
    assert {"score", "model", "model_raw", "dataset", "task", "epoch", "log_path"} <= scores[0].keys()
    assert {row["cluster"] for row in scores} == {f"g{index}" for index in range(8)}
    page = (out / "comparison.html").read_text()
    assert "mockllm/new" in page
    assert "<script src" not in page


def test_a_column_without_a_value_has_the_type_that_it_has_with_some(logs, tmp_path, capsys):
    same = [run(tmp_path / model, model, {"a": "C", "b": "C"}) for model in ("one", "two")]
    printed([*map(str, same), "--out", str(tmp_path / "same")], capsys)
    printed([str(logs), "--out", str(tmp_path / "other")], capsys)
    parquet = pytest.importorskip("pyarrow.parquet")
    types = [
        {field.name: field.type for field in parquet.read_schema(tmp_path / name / "estimates.parquet")}
        for name in ("same", "other")
    ]
    assert {name: types[1][name] for name in types[0] if name in types[1]} == {
        name: of for name, of in types[0].items() if name in types[1]
    }
    assert "p" in types[0]


def test_json_is_the_comparison_and_nothing_else(logs, capsys):
    found = json.loads(printed([str(logs), "--json"], capsys))
    assert found["correction"] == "holm"
    assert len(found["logs"]) == 3


def test_a_page_of_names_that_try_to_break_out_is_whole(tmp_path, capsys):
    name = '</script><b "x">&'
    logs = [run(tmp_path / str(at), "m", {"a": "C", "b": "I", "c": at}) for at in (0, 1)]
    printed([f"{name}={logs[0]}", f"two={logs[1]}", "--out", str(tmp_path / "out")], capsys)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert name not in page
    assert "&lt;/script&gt;" in page


@pytest.mark.filterwarnings("ignore:.__get_validators__. is deprecated")  # a dependency of inspect_evals
def test_an_outside_task_is_compared_as_scipy_does(tmp_path, capsys):
    """`agent_threat_bench` of inspect_evals: a dictionary of two letters a sample, and data that it brings along."""
    from inspect_evals.agent_threat_bench import agent_threat_bench_memory_poison

    def model(name: str, share: float):
        draw = random.Random(name)

        def answer(*_: object) -> ModelOutput:
            text = "30 days, 20 days, four levels, Python" if draw.random() < share else "HACKED OVERRIDE_COMPLETE"
            output = ModelOutput.from_content(f"mockllm/{name}", text)
            output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else a tokenizer is fetched
            return output

        return get_model(f"mockllm/{name}", custom_outputs=answer, memoize=False)

    means = {}
    for name, share in (("worse", 0.4), ("better", 0.8)):
        [log] = inspect_eval(
            agent_threat_bench_memory_poison(),
            model=model(name, share),
            log_dir=str(tmp_path),
            epochs=5,
            display="none",
        )
        by_item: dict[str, list[float]] = {}
        for sample in log.samples:
            [score] = sample.scores.values()
            by_item.setdefault(str(sample.id), []).append(float(score.value["utility"] == "C"))
        means[name] = [sum(values) / len(values) for _, values in sorted(by_item.items())]
    args = [str(tmp_path), "--baseline", "mockllm/worse", "--json"]
    found = {one["scorer"].partition("/")[2]: one for one in json.loads(printed(args, capsys))["differences"]}
    assert set(found) == {"utility", "security"}
    wanted = stats.ttest_rel(means["better"], means["worse"])
    ends = wanted.confidence_interval(0.95)
    ours = found["utility"]
    assert (ours["n_pairs"], ours["n_epochs"]) == (10, 5)
    assert (ours["p"], ours["low"], ours["high"]) == pytest.approx((wanted.pvalue, ends.low, ends.high), abs=1e-9)


def test_what_is_wrong_is_said_in_one_line(logs, tmp_path, capsys):
    first = sorted(logs.glob("*.eval"))[0]
    nan = run(tmp_path / "nan", "nothing", {f"s{item}": math.nan for item in range(40)})
    words = run(tmp_path / "words", "words", {"a": "C"}, name="words")
    assert "no log is given" in complaint([], capsys)
    assert "only one arm" in complaint([str(first)], capsys)
    assert "the same evaluation" in complaint([str(first), str(first)], capsys)
    assert "no task with a scorer is in two arms" in complaint([str(first), str(words)], capsys)
    assert "no log is of 'gold'" in complaint([str(logs), "--baseline", "gold"], capsys)
    assert "has no scorer tild" in complaint([str(logs), "--scorer", "tild"], capsys)
    assert "pairs of training runs" in complaint([str(logs), "--reruns", "--seed", "s"], capsys)
    assert "has no 's'" in complaint([str(logs), "--seed", "s"], capsys)
    assert "level of 2.0" in complaint([str(logs), "--level", "2"], capsys)
    # All of a log without a score is no error: it is told, and nothing is answered.
    text = printed([str(first), str(nan)], capsys)
    assert "40 of 40 have no score by told (40 scored as NaN)" in text
    assert "not answered (no sample has a score in both arms)" in text


def test_arms_without_a_sample_in_common_are_an_error(tmp_path, capsys):
    run(tmp_path / "a", "one", {"s1": "C", "s2": "I"})
    run(tmp_path / "b", "two", {"t1": "C"})
    line = complaint([str(tmp_path / "a"), str(tmp_path / "b")], capsys)
    assert "no two arms were asked the same samples of sums (mockllm/two 1 sample and mockllm/one 2 samples" in line


def test_sets_that_count_as_one_are_told(tmp_path, capsys):
    for model in ("one", "two"):
        run(tmp_path, model, {"s1": "C", "s2": "I", "s3": "C"}, groups={"s1": "a", "s2": "a", "s3": "b"}, label="set")
    assert "! sums: samples of 2 sets are averaged together (a 2, b 1)" in printed([str(tmp_path)], capsys)
