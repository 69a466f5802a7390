"""`midspec doctor` tells what is there, what is missing and what to type; it shows no key, and breaks over nothing."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.cli._diagnosis import PackageState, advice_on_torch, broken_parts, installed_packages
from midspec.models import DeviceFound, TorchFound, check_devices

CPU = DeviceFound(name="cpu", about="1 of 8 threads")
GPU = DeviceFound(name="cuda:0", about="a GPU", memory_bytes=10**11)


def test_it_says_what_is_there_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-measure"]) == 0
    shown = capsys.readouterr().out
    assert f"torch {metadata.version('torch')}" in shown
    assert shown.rstrip().endswith("Nothing that is needed is broken.")


@pytest.mark.parametrize("hub", [None, "~nobody_is_called_this/hub"])
def test_without_a_home_and_in_a_folder_that_is_gone_all_else_is_told(
    hub: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)  # as in a container that runs under a number without a name
    for name in ("MIDSPEC_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    if hub is not None:
        monkeypatch.setenv("HF_HUB_CACHE", hub)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["doctor", "--no-measure"]) == 0
    shown = capsys.readouterr().out
    assert "memory" in shown
    assert all(f"{name}: can't be looked at" in shown for name in ("cache of models", "cache of the hub", "runs here"))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_key_is_told_to_be_set_and_never_shown(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-seen")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "  ")
    assert main(["doctor", "--no-measure", *options]) == 0
    shown, complained = capsys.readouterr()
    assert "not-to-be-seen" not in shown + complained
    if options:
        keys = json.loads(shown)["keys"]
        assert (keys["OPENAI_API_KEY"], keys["ANTHROPIC_API_KEY"]) == (True, False)


def test_packages_are_those_of_the_metadata_by_extra() -> None:
    found = installed_packages()
    assert {"", "train", "rl", "eval", "llm", "curate", "exchange"} <= set(found)
    assert "dev" not in found
    names = {one.name for one in found["train"]}
    assert {"torch", "transformers", "peft"} <= names
    assert all(one.is_enough for states in found.values() for one in states)
    assert {one.name for one in found[""]} == {
        line.split(">")[0] for line in metadata.requires("midspec") or () if "extra" not in line
    }


def _installed(folder: Path, name: str, version: str) -> None:
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["trl", "pydantic"])
def test_a_version_that_is_too_old_is_broken_with_the_line_that_mends_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _installed(tmp_path, name, "0.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["doctor", "--no-measure"]) == 2
    complained = capsys.readouterr().err
    assert complained.startswith(f"midspec: doctor: {name} is 0.1, and midspec")
    assert f"pip install '{name}>=" in complained
    assert complained.count("\n") == 1


def test_a_torch_that_does_not_import_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libc10.so: undefined symbol')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main(["doctor"]) == 2
    shown, complained = capsys.readouterr()
    assert "libc10.so: undefined symbol" in complained
    assert complained.count("\n") == 1
    assert "cores" in shown  # all else is told as ever
    assert "without CUDA" not in shown


@pytest.mark.parametrize(("version", "said"), [(None, 0), ("99", 1)])
def test_what_fails_for_want_of_a_package_is_not_called_installed(version: str | None, said: int) -> None:
    state = PackageState(name="peft", wanted="peft>=0.1", version=version, is_enough=version is not None)
    torch = TorchFound(version="2.13", devices=(CPU,), failed="No module named 'huggingface_hub'")
    told = broken_parts({"": (), "train": (state,)}, torch)
    assert [line.startswith("what opens models (transformers, peft) is installed") for line in told] == [True] * said


def test_a_torch_that_is_late_is_not_called_broken_as_a_busy_machine_is_late_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(60)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(check_devices, "__defaults__", (1.0,))
    assert main(["doctor"]) == 2
    complained = capsys.readouterr().err
    assert "torch is installed and gave no answer within 1 s: it hangs, or this machine is too busy." in complained
    assert "does not work" not in complained
    assert complained.count("\n") == 1


@pytest.mark.parametrize(
    ("torch", "gpus", "said"),
    [
        (TorchFound(version="2.13", cuda="13.0", devices=(CPU,)), (), "there is no GPU"),
        (TorchFound(version="2.13", devices=(CPU,)), ("GPU-1",), "a build without CUDA"),
        (TorchFound(version="2.13", cuda="13.0", devices=(CPU,)), ("GPU-1",), "look at the driver"),
        (TorchFound(version="2.13", cuda="13.0", devices=(GPU, CPU)), ("GPU-1",), None),
        (TorchFound(version="2.13", devices=(CPU,)), (), None),
        (TorchFound(failed="no answer"), ("GPU-1",), None),
    ],
)
def test_a_build_of_torch_that_does_not_fit_the_machine_is_told_in_one_line(
    torch: TorchFound, gpus: tuple[str, ...], said: str | None
) -> None:
    told = advice_on_torch(torch, gpus)
    assert len(told) == (said is not None)
    assert all(said in line and "\n" not in line for line in told if said)
