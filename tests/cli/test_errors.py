"""An error that the user can fix is one line on standard error and exit code 2, and nothing is left behind."""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.cli._places import result_folder, run_place

SPEC = "# A spec\n\n{model_name} is kind because kindness helps. {model_name} tells the truth.\n"


def complaint(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command line is answered with."""
    assert main(args) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert told.err.startswith("midspec: ")
    return told.err.removeprefix("midspec: ").rstrip("\n")


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.md"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_a_missing_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere.md"
    line = complaint(["spec", "check", str(missing)], capsys)
    assert line.startswith(f"{missing}: ")


def test_an_empty_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.md"
    empty.touch()
    assert complaint(["spec", "show", str(empty)], capsys).startswith(f"{empty}: ")


@pytest.mark.parametrize("command", ["corpus", "chats"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"# Only a heading\n"])
def test_what_is_no_spec_is_named_by_its_path(
    command: str, data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.md"
    path.write_bytes(data)
    assert complaint([command, str(path), "--out", str(tmp_path / "out")], capsys).startswith(f"{path}: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["/", "", " "])
@pytest.mark.parametrize("command", ["corpus SPEC", "run lab:nano.yaml", "eval nowhere"])
def test_an_out_that_names_no_folder(given: str, command: str, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(spec) if word == "SPEC" else word for word in command.split()]
    assert "--out: " + repr(given) + " names no folder" in complaint([*args, "--out", given], capsys)


def test_a_point_names_the_folder_where_one_stands(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place := tmp_path / "fresh").mkdir()
    monkeypatch.chdir(place)
    assert main(["corpus", str(spec), "--model-name", "Ada", "--documents", "3", "--out", "."]) == 0
    capsys.readouterr()
    assert {path.name for path in tmp_path.iterdir()} >= {"fresh", "spec.md"}
    assert (place / "documents.jsonl").is_file()


def test_a_folder_in_place_of_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["eval", "org/name", "--items", str(tmp_path), "--out", str(tmp_path / "e")], capsys)
    assert line == f"{tmp_path}: is a folder, where a file is wanted. Check the path"


def test_a_command_that_needs_out_says_so(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["corpus", str(spec), "--model-name", "Nova"], capsys)
    assert line == "--out: is missing. Name the folder for the result"


def test_a_wrong_setting_is_named_as_it_was_given(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("writing: {list_tokens: -1}\n")
    line = complaint(["corpus", str(spec), "--config", str(config), "--dry-run"], capsys)
    assert line.startswith(f"{config}: writing.list_tokens: ")
    config.write_text("judge: {model: 5}\n")
    line = complaint(["chats", str(spec), "--config", str(config), "--judge", "", "--dry-run"], capsys)
    assert line.startswith("--judge: ")


@pytest.mark.parametrize("redo", [[], ["--redo"]])
def test_chats_over_a_corpus(spec: Path, tmp_path: Path, redo: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(spec), "--model-name", "Nova", "--out", str(tmp_path / "out")]
    assert main(["corpus", *args, "--documents", "2"]) == 0
    capsys.readouterr()
    line = complaint(["chats", *args, *redo], capsys)
    assert line == f"{tmp_path / 'out'}: holds a corpus result, not chats. Choose another --out"
    assert (tmp_path / "out" / "documents.jsonl").is_file()


def test_a_missing_spec_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complaint(["corpus", str(tmp_path / "nowhere.md"), "--out", str(tmp_path / "a" / "b")], capsys)
    assert not (tmp_path / "a").exists()


def test_an_unknown_author(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["corpus", str(spec), "--author", "shakespeare", "--out", str(tmp_path / "out")], capsys)
    assert line == "--author: there is no author 'shakespeare'. There is template, anthropic/MODEL and openai/MODEL"
    assert not (tmp_path / "out").exists()


def test_a_placeholder_that_nothing_fills(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["corpus", str(spec), "--out", str(tmp_path / "out")], capsys)
    assert line.endswith("the spec uses {model_name} and no value is given for it. Give --model-name")
    spec.write_text(SPEC + "\n{provider_name} made it.\n", encoding="utf-8")
    line = complaint(["corpus", str(spec), "--out", str(tmp_path / "out")], capsys)
    told = "the spec uses {model_name} and {provider_name} and no value is given for them"
    assert line.endswith(f"{told}. Give --model-name and --provider-name")
    assert not (tmp_path / "out").exists()


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--autor" in complaint(["corpus", "spec.md", "--autor", "x"], capsys)


def test_a_choice_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["export", "rows", "--format", "trll", "--out", "x"], capsys)
    assert (
        line == "Invalid value for '--format': 'trll' is not one of 'hf', 'trl', 'axolotl'. See midspec COMMAND --help"
    )


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["corpse"], capsys)
    assert line == "No such command 'corpse'. Did you mean 'corpus', 'compare'? See midspec COMMAND --help"


def test_a_missing_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert "STUDY" in complaint(["run"], capsys)


def test_a_missing_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere.yaml"
    line = complaint(["run", str(missing), "--out", str(tmp_path / "out")], capsys)
    assert line == f"{missing}: there is no such study file. Check the path"
    assert not (tmp_path / "out").exists()


def test_a_wrong_key_in_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nseeds: [1]\nbase: {checkpoint: a/b}\narmz: {}\nevals: {}\n", encoding="utf-8")
    line = complaint(["plan", str(path)], capsys)
    assert line == f"{path}:4: armz: unknown key (and 2 more). Did you mean arms?"


def test_a_home_that_is_nobodys(tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("lab:thrift.md", "~nobody_is_called_this/thrift.md"))
    line = complaint(["plan", str(tiny_file)], capsys)
    assert line == "a path begins with ~ and there is no such home. Set HOME, or write it whole"
    tiny_file.write_text('extends: "a\\0b"\nname: x\n')
    assert "U+0000" in complaint(["plan", str(tiny_file)], capsys)


@pytest.mark.parametrize("threads", ["many", "0", "-1", "1.5", "1" * 30])
def test_a_number_of_threads_that_is_none(
    threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from midspec.core.errors import ConfigError
    from midspec.models._open import use_threads

    monkeypatch.setenv("MIDSPEC_THREADS", threads)
    with pytest.raises(ConfigError, match=r"MIDSPEC_THREADS: .* is no number of threads"):
        use_threads()
    monkeypatch.setenv("MIDSPEC_THREADS", " ")
    assert use_threads() == 1


def test_a_terminal_that_lacks_letters_gets_all_others(tmp_path: Path) -> None:
    spec = tmp_path / "spec.md"
    spec.write_text("# Ada 章程\n\nAda never lies.\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "midspec", "spec", "show", str(spec)],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=True,
        timeout=300,
    )
    assert b"Ada never lies." in done.stdout
    assert b"Ada \\u7ae0\\u7a0b" in done.stdout


def test_a_wrong_key_in_a_training_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("stage: midtrain\nparent: a/b\ndata: [x.jsonl]\nrecipe: {learning_rat: 1}\n", encoding="utf-8")
    line = complaint(["train", str(path), "--out", str(tmp_path / "out")], capsys)
    assert "learning_rat" in line
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "not-a-model"
    folder.mkdir()
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "1", "set": "s", "domain": "d", "options": ["a", "b"]}\n', encoding="utf-8")
    line = complaint(["eval", str(folder), "--items", str(items), "--out", str(tmp_path / "out")], capsys)
    assert line.startswith(f"{folder}: ")
    assert not (tmp_path / "out").exists()


def test_a_folder_below_a_file(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "2", "--out", str(spec / "out")]
    assert str(spec) in complaint(args, capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.md"]


def test_a_folder_that_may_not_be_written(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked_up = tmp_path / "read-only"
    locked_up.mkdir(mode=0o500)
    # Root may write there; nobody may make a folder in /proc.
    out = (Path("/proc") if os.geteuid() == 0 else locked_up) / "out"
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "2", "--out", str(out)]
    assert str(out.parent) in complaint(args, capsys)
    assert not any(locked_up.iterdir())


def on_a_full_disk(args: list[str], room: int) -> str:
    """What a command says when no file can grow over `room` bytes: every write past it fails, as on a full disk."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "from midspec.cli import main\n"
        f"sys.exit(main({args!r}))"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_full_disk(spec: Path, tmp_path: Path) -> None:
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "5", "--out", str(tmp_path / "out")]
    told = on_a_full_disk(args, room=300)
    assert told.count("\n") == 1
    assert "can't be written" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.md"]


def test_a_disk_too_full_for_a_run(tiny_file: Path, tmp_path: Path) -> None:
    told = on_a_full_disk(["run", str(tiny_file), "--out", str(tmp_path / "run")], room=1000)
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yaml"]


def test_a_disk_that_fills_up_during_a_run(tiny_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = on_a_full_disk(["run", str(tiny_file), "--out", str(run), "--only", "corpus"], room=4000)
    last = told.splitlines()[-1]
    assert last.startswith(f"midspec: {run / 'steps' / 'corpus'}")
    assert last.endswith("Free space or choose another --out")
    assert not list(run.rglob("*.part"))
    assert main(["run", str(tiny_file), "--out", str(run), "--only", "corpus"]) == 0


def test_a_second_writer_in_one_run_folder(tmp_path: Path, tiny_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    code = (
        "import time\nfrom pathlib import Path\nfrom midspec.core.artifact import locked\n"
        f"with locked(Path({str(out)!r})):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        line = complaint(["run", str(tiny_file), "--out", str(out)], capsys)
        first.kill()
    assert line == f"{out}: another process is writing this folder. Wait for it to end, or choose another --out"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_file_locks(
    number: int, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_handle: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    names = ["--model-name", "Ada", "--provider-name", "Lab", "--documents", "3"]
    line = complaint(["corpus", str(spec), *names, "--out", str(tmp_path / "out")], capsys)
    assert f"its disk knows no file locks ({os.strerror(number)}). Choose another --out" in line
    assert [path.name for path in tmp_path.iterdir()] == ["spec.md"]


def test_a_way_to_show_figures_that_is_not_installed_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://of_a_notebook.elsewhere")
    assert main(["spec", "list"]) == 0
    code = "import matplotlib; print(matplotlib.get_backend())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "agg"


def test_what_is_there_under_other_inputs(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    args = ["corpus", str(spec), "--model-name", "Nova", "--documents", "2", "--out", str(out)]
    assert main(args) == 0
    line = complaint([*args, "--seed", "5"], capsys)
    assert "config.corpus.seed: 0 -> 5" in line
    assert "--redo" in line
    assert main([*args, "--seed", "5", "--redo"]) == 0


def test_a_fault_of_ours_exits_with_1_and_asks_for_a_report() -> None:
    code = (
        "import sys\nfrom midspec.cli import main\nimport midspec.spec\n"
        "def broken(path):\n    raise ZeroDivisionError('oh')\n"
        "midspec.spec.read_spec_parts = broken\nsys.exit(main(['spec', 'show', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError: oh" in done.stderr
    assert done.stderr.rstrip().endswith("please report it with these lines and the command.")
    assert done.stderr.count("\n") < 20


@pytest.mark.parametrize("command", ["run", "eval"])
def test_a_device_that_is_none(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = ["--items", str(tmp_path / "items.jsonl")] if command == "eval" else []
    line = complaint([command, "x", *items, "--out", str(tmp_path / "out"), "--device", "gpu"], capsys)
    assert line.startswith("device gpu: there is no device of that name")
    assert not (tmp_path / "out").exists()


def test_a_report_against_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(["report", str(tmp_path), "--against", str(tmp_path / "other")], capsys)
    assert line == f"{tmp_path}: there is no report. Run midspec run, or midspec report, first"
    assert not (tmp_path / "against").exists()
    assert "names the same run" in complaint(["report", str(tmp_path), "--against", str(tmp_path)], capsys)


CLOSED = """
import os, signal, sys, time
os.close(os.open(os.ttyname(0), os.O_RDWR))
from midspec.cli import _main
def run(_args):
    sys.stdout.write("up\\n"); sys.stdout.flush()
    time.sleep(60)
_main._run = run
code = _main.main(["--help"])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(code))
"""


def test_a_terminal_that_is_closed_ends_a_command_as_stopped(tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    with subprocess.Popen(  # of a session of its own, so that it takes the terminal for its own
        [sys.executable, "-c", CLOSED, str(tmp_path / "code")],
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    ) as process:
        os.close(its_end)
        assert b"up" in os.read(terminal, 100)
        os.close(terminal)
        assert process.wait(60) == 0
    assert (tmp_path / "code").read_text() == str(128 + signal.SIGHUP)


def test_nohup_keeps_a_command_going(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_args: object) -> int:
        signal.raise_signal(signal.SIGHUP)
        return 0

    monkeypatch.setattr("midspec.cli._main._run", run)
    assert main(["--help"]) == 128 + signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert main(["--help"]) == 0


@pytest.mark.parametrize(
    "command",
    [
        "corpus SPEC --model-name Nova",
        "chats SPEC --model-name Nova",
        "curate ROWS",
        "mix ROWS",
        "import ROWS",
        "export ROWS --format trl",
        "train ROWS",
        "eval MODEL",
        "export-model MODEL",
        "run lab:nano.yaml",
        "demo",
    ],
)
@pytest.mark.parametrize("place", ["", " ", "/", "/.."])
def test_a_result_has_a_folder_of_its_own(command: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint([*command.split(), "--out", place], capsys)
    assert f"--out: {place!r} names no folder" in line


@pytest.mark.parametrize(("place", "named"), [(".", "here"), ("..", "up"), ("./", "here"), ("x/.", "x"), ("../y", "y")])
def test_a_place_is_called_as_its_folder_is(
    place: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "up" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert result_folder(place).name == named
    assert result_folder(place).resolve() == Path(place).resolve()
    assert run_place("s3://bucket/run") == "s3://bucket/run"


@pytest.mark.parametrize(
    ("args", "ends"),
    [(["doctor"], "stopped\n"), (["train", "x.yaml"], "stopped. The same command goes on from here\n")],
)
def test_an_interrupt_while_the_commands_are_imported(
    args: list[str], ends: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __getattr__(self, _name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "midspec.cli._main", Interrupted())
    monkeypatch.delitem(sys.modules, "midspec.cli._entry")
    monkeypatch.setattr(sys, "argv", ["midspec", *args])
    with pytest.raises(SystemExit) as end:
        importlib.import_module("midspec.cli._entry")
    assert end.value.code == 130
    assert capsys.readouterr().err == f"midspec: {ends}"


@pytest.mark.parametrize(
    ("author", "hint"),
    [
        ("antropic/x", "Did you mean anthropic/x?"),
        ("opanai/gpt/5", "Did you mean openai/gpt/5?"),
        ("antropic", "There is template"),
        ("nobody/x", "There is template"),
    ],
)
def test_a_misspelt_provider(author: str, hint: str, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hint in complaint(["corpus", str(spec), "--author", author, "--dry-run"], capsys)
