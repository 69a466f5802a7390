"""A half-way checkpoint whose files are damaged, or that can't be read at present."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midspec.core.errors import CheckpointError
from midspec.train import TrainJob

from .test_train import StopError, losses, stop_after, trained

MakeJob = Callable[..., TrainJob]


def _halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _blank(path: Path) -> None:
    """What a loss of power leaves of a file whose length was written and whose content was not."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("optimizer.pt", _halve),
        ("optimizer.pt", _blank),
        ("optimizer.pt", Path.unlink),
        ("rng_state.pth", _halve),
        ("rng_state.pth", Path.unlink),
        ("model.safetensors", _halve),
        ("model.safetensors", lambda path: path.write_bytes(b"")),
        ("model.safetensors", Path.unlink),
        ("trainer_state.json", _halve),
        ("config.json", _halve),
        ("metrics.jsonl", _halve),
        ("metrics.jsonl", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_damaged_half_way_checkpoint_is_told_and_the_same_job_begins_anew(
    make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], Any]
) -> None:
    job = make_job(execution={"save_every_updates": 2}, recipe={"n_updates": 3})
    with pytest.raises(StopError):
        trained(job, tmp_path / "out", on_progress=stop_after(3))
    (checkpoint,) = (tmp_path / "out" / ".checkpoints").iterdir()
    damage(checkpoint / name)
    seen: list[int] = []
    trained(job, tmp_path / "out", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [1, 2, 3]
    (told,) = (record.getMessage() for record in caplog.records if record.name.startswith("midspec"))
    assert told.startswith(f"{checkpoint}: the half-way checkpoint is damaged (")
    assert told.endswith(f"and is {checkpoint.name}.damaged now: training begins anew")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "trainer_state.json"])
def test_a_half_way_checkpoint_that_can_not_be_read_now_stays_and_is_gone_on_from(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    job = make_job(execution={"save_every_updates": 2}, recipe={"n_updates": 3})
    with pytest.raises(StopError):
        trained(job, tmp_path / "out", on_progress=stop_after(3))
    opened = Path.open

    def faulty(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        for reads in ("open", "read_bytes"):
            patched.setattr(Path, reads, faulty if reads == "open" or name.endswith("json") else Path.read_bytes)
        with pytest.raises(CheckpointError, match="half-way checkpoint can't be read"):
            trained(job, tmp_path / "out")
    seen: list[int] = []
    trained(job, tmp_path / "out", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [3]


def test_behind_a_damaged_checkpoint_an_older_whole_one_is_gone_on_from(
    make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(execution={"save_every_updates": 2})
    trained(job, tmp_path / "straight")
    with pytest.raises(StopError):
        trained(job, tmp_path / "halting", on_progress=stop_after(5))
    (whole,) = (tmp_path / "halting" / ".checkpoints").iterdir()
    later = shutil.copytree(whole, whole.with_name("checkpoint-6"))
    _halve(later / "scheduler.pt")
    seen: list[int] = []
    trained(job, tmp_path / "halting", on_progress=lambda progress: seen.append(progress.update))
    assert seen == [5, 6, 7]
    assert f"{later}: the half-way checkpoint is damaged" in caplog.text
    assert "training goes on after update 4" in caplog.text
    assert losses(tmp_path / "halting") == losses(tmp_path / "straight")
