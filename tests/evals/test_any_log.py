"""The scores of any Inspect log can be read: letters, truths, numbers, dictionaries, and what has none says why."""

from __future__ import annotations

import math
import shutil
from collections import Counter

import pytest
from inspect_ai import Task, eval_set, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.scorer import Score
from inspect_ai.solver import solver

from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.evals import read_logs

from ..inspect_runs import run, told

LETTERS = {"a": "C", "b": "I", "c": "P", "d": "N"}


def values(read) -> dict[tuple[str, str, int], float | None]:
    return {(row.scorer, row.item, row.epoch): row.value for row in read.scores}


def test_every_kind_of_score_becomes_the_number_that_inspect_takes_it_for(tmp_path):
    scores = LETTERS | {"e": True, "f": False, "g": 0.25, "h": 3, "i": "yes", "j": "0.5"}
    found = values(read_logs([str(run(tmp_path, "one", scores))]))
    wanted = [1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.25, 3.0, 1.0, 0.5]
    assert [found["told", item, 1] for item in scores] == wanted


def test_a_dictionary_is_one_scorer_a_key_and_epochs_are_kept_apart(tmp_path):
    scores = {("a", 1): {"safe": "C", "useful": 0.5}, ("a", 2): {"safe": "I", "useful": 1}}
    assert values(read_logs([str(run(tmp_path, "one", scores))])) == {
        ("told/safe", "a", 1): 1.0,
        ("told/useful", "a", 1): 0.5,
        ("told/safe", "a", 2): 0.0,
        ("told/useful", "a", 2): 1.0,
    }


def test_what_has_no_score_is_counted_with_its_reason(tmp_path):
    scores = {
        "a": "C",
        "b": math.nan,
        "c": Score.unscored(reason="the grader's reply was empty"),
        "d": "a poem",
        "e": RuntimeError("the sandbox is gone"),
        "f": [1, 0],
    }
    read = read_logs([str(run(tmp_path, "one", scores))])
    [log] = read.logs
    assert (log.n_planned, log.n_missing, log.n_scored) == (6, 0, {"told": 1})
    reasons = log.unscored["told"]
    assert sum(reasons.values()) == 5
    wanted = ("scored as NaN", "the grader's reply was empty", "the score 'a poem' is no number", "the score is a list")
    assert all(reasons[reason] == 1 for reason in wanted)
    assert any("the sandbox is gone" in reason for reason in reasons)


def test_json_logs_and_folders_are_read_and_a_limit_is_no_missing_sample(tmp_path):
    run(tmp_path / "logs", "one", LETTERS, form="json", limit=2)
    run(tmp_path / "logs", "two", LETTERS)
    read = read_logs([str(tmp_path / "logs")])
    assert Counter(log.arm for log in read.logs) == {"mockllm/one": 1, "mockllm/two": 1}
    assert {log.model: (log.n_planned, log.n_missing) for log in read.logs} == {
        "mockllm/one": (2, 0),
        "mockllm/two": (4, 0),
    }


def test_several_logs_of_an_arm_are_its_runs_in_order_and_names_go_first(tmp_path):
    logs = [run(tmp_path, "one", LETTERS, tags=["old"]) for _ in range(3)]
    for minute, path in enumerate(logs):  # Inspect counts in seconds, and the three take less
        log = read_eval_log(str(path))
        log.eval.created = f"2026-01-01T10:{minute:02}:00+00:00"
        write_eval_log(log, str(path))
    read = read_logs([f"x={logs[2]}", f"x={logs[0]}", f"y={logs[1]}"])
    assert [(log.arm, log.run) for log in read.logs] == [("x", 2), ("x", 1), ("y", 1)]
    assert {log.arm for log in read_logs(list(map(str, logs)), by="tag").logs} == {"old"}
    assert {log.arm for log in read_logs(list(map(str, logs)), by="file").logs} == {log.stem for log in logs}


def test_runs_are_paired_by_a_key_of_the_logs(tmp_path):
    logs = [run(tmp_path, model, LETTERS, metadata={"seed": seed}) for model, seed in (("a", 7), ("a", 5), ("b", 7))]
    read = read_logs(list(map(str, logs)), seed="seed")
    assert [(log.arm, log.seed, log.run) for log in read.logs] == [
        ("mockllm/a", "7", 2),
        ("mockllm/a", "5", 1),
        ("mockllm/b", "7", 2),
    ]
    again = run(tmp_path, "b", LETTERS, metadata={"seed": 7})
    with pytest.raises(DataError, match="2 logs of 'mockllm/b' have the seed '7'"):
        read_logs(list(map(str, [*logs, again])), seed="seed")


def test_clusters_are_those_of_the_samples_metadata(tmp_path):
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    log = str(run(tmp_path, "one", LETTERS, groups=groups))
    assert {row.item: row.cluster for row in read_logs([log], cluster="group").scores} == groups
    assert {row.item: row.cluster for row in read_logs([log]).scores} == {item: item for item in LETTERS}
    with pytest.raises(ConfigError, match=r"has no 'grup' in its metadata. Did you mean group\?"):
        read_logs([log], cluster="grup")


def test_a_sample_without_a_value_is_a_cluster_of_its_own_and_whole_numbers_are_one_however_they_are_kept(tmp_path):
    """As tables give them in which some values are missing: whole numbers with a point there, and NaN."""
    log = str(run(tmp_path, "one", LETTERS, groups={"a": 2.0, "b": 2, "c": math.nan, "d": None}))
    other = str(run(tmp_path, "two", LETTERS, groups={"a": 2, "b": 2.0, "c": None, "d": ""}))
    read = read_logs([log, other], cluster="group")
    assert {row.item: row.cluster for row in read.scores} == {
        "a": "2",
        "b": "2",
        "c": "c, by itself",
        "d": "d, by itself",
    }
    assert "2 samples without a value of 'group': each counts by itself" in read.notes


def test_a_sample_that_one_log_lacks_stays_in_its_cluster_and_groups_that_differ_are_refused(tmp_path):
    """Counted as a group of its own it would make an interval too narrow."""
    groups = {"a": "x", "b": "x", "c": "y", "d": "y"}
    log = run(tmp_path, "one", LETTERS, groups=groups)
    other = run(tmp_path, "two", LETTERS, groups=groups)
    cut = altered(other, tmp_path / "cut.eval", status="error", samples=read_eval_log(str(other)).samples[:1])
    for order in ([log, cut], [cut, log]):
        rows = read_logs(list(map(str, order)), cluster="group", unfinished=True).scores
        assert {(row.item, row.cluster) for row in rows} == set(groups.items())
    moved = run(tmp_path, "three", LETTERS, groups=groups | {"b": "y"})
    with pytest.raises(
        DataError, match=r"group of the sample 'b' is 'y', and 'x' in .*values are the same in all logs"
    ):
        read_logs([str(log), str(moved)], cluster="group")


def test_a_damaged_log_is_told_in_one_line_wherever_it_is_damaged(tmp_path):
    whole = run(tmp_path, "one", LETTERS).read_bytes()
    damaged, told = tmp_path / "damaged.eval", list[str]()
    for start in range(0, len(whole), max(1, len(whole) // 12)):
        for data in (whole[:start], whole[:start] + bytes(64) + whole[start + 64 :]):
            damaged.write_bytes(data)
            try:
                read_logs([str(damaged)])
            except DataError as error:
                told.append(str(error))
    assert sum("made or copied again" in line for line in told) >= 12
    assert not [line for line in told if "\n" in line]


def test_a_log_of_another_version_of_the_data_is_refused(tmp_path):
    one, other = run(tmp_path, "one", LETTERS), run(tmp_path, "two", LETTERS, question="What is {} and 2?")
    with pytest.raises(DataError, match="4 of 4 samples ask something else than in"):
        read_logs([str(one), str(other)])


def test_settings_that_differ_are_told(tmp_path):
    one, other = (
        run(tmp_path, "one", LETTERS),
        run(tmp_path, "two", {(item, 2): "C" for item in LETTERS} | {("a", 1): "C"}),
    )
    # The second is short of scores in epoch 1, so only its settings are of interest.
    notes = read_logs([str(one), str(other)]).notes
    assert any("epochs are not the same in all logs: 1 in mockllm/one; 2 in mockllm/two" in note for note in notes)


def altered(log, path, **changes):
    found = read_eval_log(str(log))
    write_eval_log(found.model_copy(update=changes), str(path))
    return path


def rewritten(path, change):
    """The path of a log after `change` was made in it."""
    log = read_eval_log(str(path))
    change(log)
    write_eval_log(log, str(path))
    return str(path)


def test_logs_of_one_model_s_name_that_are_of_several_models_are_told(tmp_path):
    """`hf/local` stands for any folder, and a server's model for each of its adapters."""
    logs = [run(tmp_path, "one", LETTERS) for _ in range(3)]
    assert read_logs([str(log) for log in logs]).notes == ()

    def trained(name):
        return lambda log: log.eval.model_args.update(model_path=name)

    paths = [rewritten(log, trained(name)) for log, name in zip(logs, ("./first", "./second", "./second"), strict=True)]
    (note,) = read_logs(paths).notes
    wanted = (
        'mockllm/one: its logs count as runs of one model, and have arguments {"model_path": "./first"} and {"model_p'
    )
    assert note.startswith(wanted)
    assert read_logs(paths[1:]).notes == ()
    assert read_logs([f"{arm}={path}" for arm, path in zip("abb", paths, strict=True)]).notes == ()

    def answered(log):
        for sample in log.samples:
            sample.output.model = "adapter-2"

    (note,) = read_logs([paths[1], rewritten(paths[2], answered)]).notes
    assert 'have answers by ["mockllm/one"] and ["adapter-2"]' in note


def test_targets_that_are_not_the_same_in_all_logs_are_told(tmp_path):
    logs = [run(tmp_path, model, LETTERS) for model in ("one", "two")]

    def corrected(log):
        log.samples[1].target = "another"

    def shuffled(log):
        corrected(log)
        log.samples[1].choices = ["x", "y"]

    (note,) = read_logs([str(logs[0]), rewritten(logs[1], corrected)]).notes
    assert note.endswith(": 1 sample has not the same target in all logs ('b', for one)")
    assert read_logs([str(logs[0]), rewritten(logs[1], shuffled)]).notes == ()


def test_a_log_that_did_not_end_well_is_refused_or_its_missing_samples_are_counted(tmp_path):
    log = run(tmp_path, "one", LETTERS)
    whole = read_eval_log(str(log))
    cut = altered(log, tmp_path / "cut.eval", status="cancelled", samples=whole.samples[:3])
    with pytest.raises(DataError, match=r"did not end well \(status: cancelled\)"):
        read_logs([str(cut)])
    [found] = read_logs([str(cut)], unfinished=True).logs
    assert (found.n_planned, found.n_missing, found.n_scored) == (4, 1, {"told": 3})
    assert found.unscored == {"told": {"not in the log (status: cancelled)": 1}}


def test_the_same_evaluation_twice_and_the_same_sample_twice_are_refused(tmp_path):
    log = run(tmp_path, "one", LETTERS)
    copy = shutil.copy(log, tmp_path / "copy.eval")
    with pytest.raises(DataError, match="is the same evaluation as"):
        read_logs([str(log), str(copy)])
    samples = read_eval_log(str(log)).samples
    twice = altered(log, tmp_path / "twice.json", samples=[*samples, samples[0]])
    with pytest.raises(DataError, match="the sample 'a' is there twice in epoch 1"):
        read_logs([str(twice)])


def test_what_is_no_log_and_has_no_score_is_refused(tmp_path):
    (tmp_path / "notes.eval").write_text("no log")
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="no log is given"):
        read_logs([])
    with pytest.raises(MissingError, match="there is no such log"):
        read_logs([str(tmp_path / "nowhere.eval")])
    with pytest.raises(MissingError, match="no Inspect log in this folder"):
        read_logs([str(tmp_path / "empty")])
    for name in ("notes.eval", "notes.json"):
        with pytest.raises(DataError, match="not an Inspect log"):
            read_logs([str(tmp_path / name)])
    unscored = altered(run(tmp_path, "one", LETTERS), tmp_path / "unscored.eval", samples=[])
    with pytest.raises(DataError, match="no sample has a score"):
        read_logs([str(unscored)])
    with pytest.raises(ConfigError, match=r"has no scorer tolt.* There is told"):
        read_logs([str(run(tmp_path, "two", LETTERS))], scorers=["tolt"])
    with pytest.raises(ConfigError, match="the log has no tag"):
        read_logs([str(run(tmp_path, "two", LETTERS))], by="tag")


@pytest.mark.parametrize("epochs", [10**12, 2**70, -3])
def test_a_number_of_epochs_that_can_not_be_is_refused_and_never_counted_to(epochs, tmp_path):
    log = run(tmp_path, "one", LETTERS)
    about = read_eval_log(str(log)).eval
    odd = about.model_copy(update={"config": about.config.model_copy(update={"epochs": epochs})})
    damaged = altered(log, tmp_path / "damaged.json", eval=odd)
    with pytest.raises(DataError, match=r"4 items were asked .* times each, and holds 4 samples"):
        read_logs([str(damaged)])


@pytest.mark.parametrize("epoch", [10**9, 0, -1])
def test_a_sample_of_an_epoch_that_can_not_be_is_refused_and_takes_no_memory(epoch, tmp_path):
    log = run(tmp_path, "one", LETTERS)
    first, *rest = read_eval_log(str(log)).samples
    damaged = altered(log, tmp_path / "damaged.json", samples=[first.model_copy(update={"epoch": epoch}), *rest])
    with pytest.raises(DataError, match=r"the sample 'a' is of epoch .*, and there are at most 4"):
        read_logs([str(damaged)])


def test_samples_of_more_epochs_than_a_log_says_are_read(tmp_path):
    """Logs that were put together by hand say 1, or nothing."""
    log = run(tmp_path, "one", {("a", epoch): "C" for epoch in (1, 2, 3)})
    about = read_eval_log(str(log)).eval
    silent = about.model_copy(update={"config": about.config.model_copy(update={"epochs": None})})
    assert len(values(read_logs([str(altered(log, tmp_path / "silent.json", eval=silent))]))) == 3


def test_epochs_that_logs_take_together_by_something_else_than_their_mean_are_told(tmp_path):
    thrice = {("a", epoch): "C" if epoch == 1 else "I" for epoch in (1, 2, 3)}
    one, other = run(tmp_path, "one", thrice), run(tmp_path, "two", thrice)
    about = read_eval_log(str(one)).eval

    def reduced(names: list[str] | None, epochs: int = 3) -> str:
        config = about.config.model_copy(update={"epochs_reducer": names, "epochs": epochs})
        changed = altered(one, tmp_path / "max.eval", eval=about.model_copy(update={"config": config}))
        return "\n".join(read_logs([str(changed), str(other)]).notes)

    assert reduced(["mean"]) == reduced(None) == ""
    assert """the epochs' reducer is not the same in all logs: ["max"] in mockllm/one; ["mean"] in""" in reduced(
        ["max"]
    )
    assert "epochs are averaged here, and the logs' own scores are by max, at_least_2" in reduced(["max", "at_least_2"])
    assert "reducer" not in reduced(["max"], epochs=1)


@pytest.mark.parametrize("score", [1e308, -1e308, 1e61])
def test_a_score_that_is_too_large_to_average_is_none_and_says_so(tmp_path, score):
    [log] = read_logs([str(run(tmp_path, "one", {"a": score, "b": 1.0}))]).logs
    assert log.n_scored == {"told": 1}
    assert log.unscored == {"told": {f"the score {score:.4g} is too large to be averaged": 1}}


def test_a_log_that_was_tried_again_counts_by_its_retry_alone_and_is_told(tmp_path):
    """Inspect itself tries again here: `eval_set` leaves a log that failed beside the one of its retry."""
    calls = []

    def outside() -> Task:
        @solver
        def flaky():
            async def solve(state, generate):
                calls.append(state.sample_id)
                if calls == ["a", "b"]:
                    raise RuntimeError("the server is gone")
                return state

            return solve

        data = MemoryDataset([Sample(input="Q?", target="x", id=name) for name in ("a", "b")], name="data")
        scores = {("a", 1): "C", ("b", 1): "I"}
        return Task(dataset=data, solver=flaky(), scorer=told(scores), version=1)

    outside.__module__ = "no_package"
    ended, _ = eval_set(
        task(name="flaky")(outside)(),
        model="mockllm/one",
        log_dir=str(tmp_path),
        display="none",
        max_samples=1,
        retry_wait=0.01,
        retry_cleanup=False,
    )
    failed, whole = sorted(
        (read_eval_log(str(path)) for path in tmp_path.glob("*.eval")), key=lambda log: log.status == "success"
    )
    assert ended
    assert failed.status == "error"
    for unfinished in (True, False):
        read = read_logs([str(tmp_path)], unfinished=unfinished)
        assert [(log.status, log.n_planned, log.run) for log in read.logs] == [("success", 2, 1)]
        [note] = read.notes
        assert "did not end well (status: error) and was tried again; its retry counts alone" in note
        assert note.startswith(failed.location.removeprefix("file://"))
        assert note.endswith(whole.location.removeprefix("file://"))
