"""A whole study, really run: every kind of step, worker processes, a report at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from midspec.core.artifact import Built, build, read_record, read_rows
from midspec.core.errors import ConfigError, DataError, FolderError, MidspecError, MissingError, StaleError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Estimate, Identity, Record
from midspec.lab import data_path
from midspec.study import Event, parse_study, plan, report_again, reports_against, run_study
from midspec.study._inputs import File
from midspec.study.execution._executor import StepTask
from midspec.study.execution._worker import _check_inputs

from .conftest import with_two_arms

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny.yaml"
FRAMES = ROOT / "src" / "midspec" / "lab" / "_data" / "frames.yaml"


def ran(text: str, out: Path, **settings: object) -> list[Event]:
    """Run a study; gives what it told."""
    told: list[Event] = []
    run_study(parse_study(text, home=out.parent), out, on_event=told.append, **settings)  # type: ignore[arg-type]
    return told


def done(events: list[Event]) -> list[str]:
    return [event.step for event in events if event.kind == "done"]


@pytest.fixture
def own_run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be changed."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def test_rows_only_runs_need_no_models(tiny_text: str, tmp_path: Path) -> None:
    events = ran(tiny_text, tmp_path / "run", only=["corpus/thrift"])
    assert sorted(done(events)) == ["corpus/thrift-s1", "corpus/thrift-s2", "spec/thrift"]
    log = (tmp_path / "run" / "logs" / "worker-1.log").read_text(encoding="utf-8")
    assert log == ""


def test_an_error_is_raised_after_all_that_does_not_depend_on_it(tiny_text: str, tmp_path: Path) -> None:
    templates = tmp_path / "own.yaml"
    shutil.copy(FRAMES, templates)
    text = tiny_text.replace("*corpus, spec: thrift", "*corpus, spec: thrift, templates: own.yaml")
    told: list[Event] = []

    def watch(event: Event) -> None:
        """Damage the templates after they were looked at, and before a step reads them."""
        templates.write_text("nothing: here\n", encoding="utf-8")
        told.append(event)

    with pytest.raises(MidspecError, match=r"own\.yaml"):
        run_study(parse_study(text, home=tmp_path), tmp_path / "run", only=["corpus"], on_event=watch, workers=2)
    assert sorted(done(told)) == ["corpus/america-s1", "corpus/america-s2", "spec/america", "spec/thrift"]
    assert sorted(event.step for event in told if event.kind == "fail") == ["corpus/thrift-s1", "corpus/thrift-s2"]
    assert not list((tmp_path / "run").rglob(".*.part"))


@pytest.mark.parametrize("change", ["gone", "changed", "touched"])
def test_a_result_that_was_changed_by_hand_is_not_gone_on_from(change: str, tiny_text: str, tmp_path: Path) -> None:
    study = parse_study(tiny_text, home=tmp_path)
    run_study(study, tmp_path, only=["spec"])
    path = tmp_path / "steps" / "spec" / "america" / "spec.md"
    text = path.read_text(encoding="utf-8")
    path.unlink()
    if change == "gone":
        assert not path.exists()
    else:
        path.write_text(text + "\nNova likes rain.\n" * (change == "changed"), encoding="utf-8")
    if change == "touched":
        assert "corpus/america-s1" in run_study(study, tmp_path, only=["corpus/america-s1"])
        # It was read once, and not by every process from now on; what is changed later is still found.
        assert path.stat().st_mtime_ns == path.with_name("record.json").stat().st_mtime_ns
        path.write_text("else", encoding="utf-8")
        shutil.rmtree(tmp_path / "steps" / "corpus")
    with pytest.raises(DataError, match=r"spec\.md: is gone, or was changed after it was made.*Remove "):
        run_study(study, tmp_path, only=["corpus/america-s1"])


def test_a_change_while_the_files_are_read_is_still_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file is changed when it was read already, and the second one, as copied, is younger still."""

    def make(folder: Path) -> Built:
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text(name, encoding="utf-8")
        return Built(outputs=("a.txt", "b.txt"))

    place = tmp_path / "made"
    build(place, Identity(step="x@1", inputs={}, config={}), make)
    first, second = place / "a.txt", place / "b.txt"
    task = cast(StepTask, SimpleNamespace(job=SimpleNamespace(places={"made": place}), step=SimpleNamespace(kind="x")))
    now_ns = time.time_ns()
    for path, age_s in ((place / "record.json", 20), (second, 15), (first, 10)):
        os.utime(path, ns=(now_ns - age_s * 10**9,) * 2)
    read = File.digest

    def while_changing(self: File, records: dict[str, Record]) -> str:
        found = read(self, records)
        if self.path == str(first):
            first.write_text("else", encoding="utf-8")
            os.utime(second, ns=(time.time_ns(), time.time_ns()))
        return found

    monkeypatch.setattr(File, "digest", while_changing)
    _check_inputs(task)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"a\.txt: is gone, or was changed"):
        _check_inputs(task)


def test_templates_that_do_not_fit_are_told_before_any_step(tiny_text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("nothing: here\n", encoding="utf-8")
    text = tiny_text.replace("*corpus, spec: thrift", "*corpus, spec: thrift, templates: bad.yaml")
    told: list[Event] = []
    with pytest.raises(MidspecError, match=r"corpora\.thrift: .*bad\.yaml: name: Field required"):
        run_study(parse_study(text, home=tmp_path), tmp_path / "run", on_event=told.append, workers=2)
    assert not done(told)


def test_a_folder_with_files_of_others_is_no_run_folder(tiny_text: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "study.yaml").write_text("my own\n", encoding="utf-8")
    with pytest.raises(FolderError, match="mine: holds files that are not a midspec run"):
        ran(tiny_text, mine, only=["spec"])
    assert [path.name for path in mine.iterdir()] == ["study.yaml"]
    with pytest.raises(FolderError, match=r"study\.yaml: is a file, not a folder"):
        ran(tiny_text, mine / "study.yaml", only=["spec"])


def test_an_unknown_step_is_refused_with_the_nearest(tiny_text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--only: there is no step 'corpus/thrit-s1'. Did you mean corpus/thrift-s1"):
        ran(tiny_text, tmp_path / "run", only=["corpus/thrit-s1"])
    assert not (tmp_path / "run").exists()


def test_a_report_needs_a_finished_run(tiny_text: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no study run"):
        report_again(tmp_path)
    ran(tiny_text, tmp_path / "run", only=["spec"])
    with pytest.raises(MissingError, match="steps are not done"):
        report_again(tmp_path / "run")


@pytest.mark.slow
def test_every_step_leaves_a_record_and_the_run_a_report(run_folder: Path) -> None:
    planned = plan(parse_study(TINY.read_text(encoding="utf-8"), home=TINY.parent), run_folder)
    assert {step.state for step in planned.steps} == {"done"}
    data = json.loads((run_folder / "report" / "report_data.json").read_text(encoding="utf-8"))
    assert [arm["name"] for arm in data["arms"]] == ["base", "AFT", "MSM(america)+AFT", "MSM(thrift)+AFT"]
    assert any("lowered the floor" in warning for warning in data["warnings"])
    assert any("competence gate" in warning for warning in data["warnings"])
    assert not any("not matched" in warning for warning in data["warnings"])
    held_out = [row for entry in data["health"] if entry["kind"] == "contamination" for row in entry["rows"]]
    assert {row["value"] for row in held_out} == {"0 of 40", "0 of 24"}
    assert [len(sample["answers"]) for sample in data["samples"]] == [4, 4]
    assert (run_folder / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_estimates_have_every_arm_and_the_contrast(run_folder: Path) -> None:
    analysis = run_folder / "steps" / "analysis"
    rates = list(read_rows(analysis / "estimates.jsonl", Estimate))
    assert {rate.n_seeds for rate in rates if rate.measure == "choice_logprob"} == {2}
    [contrast] = read_rows(analysis / "contrasts.jsonl", Estimate)
    assert contrast.name == "the spec decides"
    assert contrast.n_scored > 0


@pytest.mark.slow
def test_what_a_base_leans_to_cancels_exactly_over_its_world_and_the_mirrored_one(
    tiny_text: str, tmp_path: Path
) -> None:
    twice = tiny_text.replace("  world: nano\n", "  world: nano\n  midtrainings: 2\n  mirror: true\n")
    ran(with_two_arms(twice), tmp_path / "run", workers=1)
    analysis = tmp_path / "run" / "steps" / "analysis"
    rates = {(one.arm, one.set, one.measure): one for one in read_rows(analysis / "estimates.jsonl", Estimate)}
    base = rates["base", "conflict", "margin_logprob"]
    assert (base.n_seeds, base.n_items) == (1, 40)
    assert base.value == pytest.approx(0, abs=1e-5)
    assert base.within_sd is not None
    assert base.within_sd > 1e-3, "in one of the two worlds it leans"
    assert rates["base", "conflict", "choice_logprob"].value == pytest.approx(0.5)
    assert rates["MSM(america)+AFT", "conflict", "choice_logprob"].n_scored == 40
    assert (tmp_path / "run" / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_second_run_does_nothing(own_run: Path, tiny_text: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in own_run.rglob("record.json")}
    events = ran(tiny_text, own_run)
    assert [event.kind for event in events] == ["begin", "end"]
    assert before == {path: path.stat().st_mtime_ns for path in own_run.rglob("record.json")}


@pytest.mark.slow
def test_a_changed_study_is_refused_with_what_changed_until_redo_accepts_it(own_run: Path, tiny_text: str) -> None:
    changed = tiny_text.replace("name: the spec decides", "name: what decides")
    with pytest.raises(StaleError) as caught:
        ran(changed, own_run)
    assert 'config.contrasts[0].name: "the spec decides" -> "what decides"' in str(caught.value)
    assert "--redo 'analysis'" in str(caught.value)
    assert done(ran(changed, own_run, redo=["analysis"])) == ["analysis", "report"]
    data = json.loads((own_run / "report" / "report_data.json").read_text(encoding="utf-8"))
    assert data["warnings"][0] == (
        "The contrasts were changed after results existed: 'what decides' was added; 'the spec decides' was removed."
    )
    assert data["contrasts_changed"]
    assert done(ran(changed, own_run)) == []
    assert done(ran(tiny_text, own_run, redo=["analysis"])) == ["analysis", "report"]
    assert "fixed before the run" in (own_run / "report" / "report.html").read_text(encoding="utf-8")


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the record of a result, which then is the record of what it says."""
    path = folder / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    record["fingerprint"] = fingerprint(record["identity"])
    path.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.slow
def test_what_a_result_lacks_is_asked_for_by_run_and_told_by_plan_and_neither_report_nor_other_steps_ask(
    own_run: Path, tiny_text: str
) -> None:
    """And a run that ended between these answers and the analysis is gone on with by the same command."""
    name = "eval/base-s1"
    folder = own_run / "steps" / name
    (folder / "kept.jsonl").touch()
    edited(folder, lambda record: record["execution"]["extra"].update(n_missing=1))
    study = parse_study(tiny_text, home=own_run.parent)
    assert any(name in warning and "lacks" in warning for warning in plan(study, own_run).warnings)
    with pytest.raises(StaleError, match="analysis was made from other inputs"):
        ran(tiny_text.replace("name: the spec decides", "name: what decides"), own_run)
    told: list[Event] = []
    report_again(own_run, on_event=told.append)
    assert done(told) == ["report"]
    assert done(ran(tiny_text, own_run, only=["midtrain/*"])) == []
    assert done(ran(tiny_text, own_run, only=[name])) == [name]
    assert done(ran(tiny_text, own_run)) == []
    edited(
        own_run / "steps" / "analysis", lambda record: record["identity"]["inputs"].update({"scores/base/1": "0" * 64})
    )
    assert done(ran(tiny_text, own_run)) == ["analysis", "report"]
    edited(own_run / "steps" / "analysis", lambda record: record["identity"]["inputs"].update(other="0" * 64))
    with pytest.raises(StaleError, match="analysis was made from other inputs"):
        ran(tiny_text, own_run)


def test_a_changed_spec_is_told_by_its_name(tmp_path: Path, tiny_text: str) -> None:
    mine = tmp_path / "mine.md"
    mine.write_bytes(data_path("america.md").read_bytes())
    text = tiny_text.replace("lab:america.md", "mine.md")
    ran(text, tmp_path / "run", only=["spec/america"], workers=1)
    mine.write_text(mine.read_text(encoding="utf-8").replace("kind", "fair") + "\nNew.\n", encoding="utf-8")
    with pytest.raises(StaleError, match=r"spec/america was made from other inputs \(.*mine\.md was changed\)"):
        ran(text, tmp_path / "run", only=["spec/america"], workers=1)


@pytest.mark.slow
def test_a_report_is_written_anew_without_the_study_file(own_run: Path) -> None:
    page = own_run / "report" / "report.html"
    before = read_record(own_run / "report")
    assert report_again(own_run) == page
    after = read_record(own_run / "report")
    assert before is not None
    assert after is not None
    assert (after.fingerprint, after.execution != before.execution) == (before.fingerprint, True)


@pytest.mark.slow
def test_every_rate_of_a_run_opens_its_transcripts_and_two_runs_are_compared(own_run: Path, run_folder: Path) -> None:
    data = json.loads((own_run / "report" / "report_data.json").read_text(encoding="utf-8"))
    links = {(link["arm"], link["set"]): link["file"] for link in data["transcripts"]}
    assert {(one["arm"], one["set"]) for one in data["estimates"]} == set(links)
    record = read_record(own_run / "report")
    assert record is not None
    assert {*links.values(), "estimates.csv", "estimates.parquet"} <= set(record.outputs)
    assert all(one["n_scored"] == one["n_asked"] for one in data["raw"])
    page, sentences = reports_against(own_run, run_folder)
    assert page.is_file()
    assert sentences[-1] == "The study files say the same."
    with pytest.raises(ConfigError, match="--against: names the same run"):
        reports_against(own_run, own_run)
    with pytest.raises(MissingError, match="there is no report"):
        reports_against(own_run, own_run / "steps")
    (own_run / "report" / "report_data.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="holds no report of this version"):
        reports_against(run_folder, own_run)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def _mind_sigint() -> None:
    # A shell starts its background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_workers_end_with_the_run_however_it_ends(tmp_path: Path, signum: int, code: int) -> None:
    command = [sys.executable, "-m", "midspec", "run", str(TINY), "--out", str(tmp_path / "run"), "--workers", "2"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_mind_sigint
    ) as run:
        assert run.stderr is not None
        while "world/" not in run.stderr.readline():
            pass
        workers = _children(run.pid)
        assert workers
        os.kill(run.pid, signum)
        told = run.stderr.read()
    assert run.returncode == code
    assert "Traceback" not in told
    if code > 0:
        assert told.splitlines()[-1] == "midspec: stopped. The same command goes on from here"
    deadline = time.monotonic() + 60
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


@pytest.mark.slow
def test_killed_twice_and_resumed_is_equal_to_straight(run_folder: Path) -> None:
    script = ROOT / "benchmarks" / "kill_resume.py"
    command = [sys.executable, str(script), str(TINY), "--kills", "2", "--workers", "1", "--straight", str(run_folder)]
    compared = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert compared.stdout.rstrip().endswith("done twice: 0; differences from the straight run: 0")
