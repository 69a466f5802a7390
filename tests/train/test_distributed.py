"""Several processes train one model: what each takes, and that together they make what one makes (gloo, on the CPU)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.errors import ConfigError
from midspec.train import MetricsRow, TrainJob, train
from midspec.train._ranks import ProcessLostError, Ranks, check_agreement, divide_rows, ranks_of_environment

MakeJob = Callable[..., TrainJob]
LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}
TWO = {"processes": 2, "save_every_updates": 2}


# What each process takes ---------------------------------------------------------------------------------------


@given(st.data())
def test_every_row_goes_to_one_process_in_its_update_and_only_empty_ones_are_added(data: st.DataObject) -> None:
    n, rows_per_update = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    divisors = [size for size in range(1, rows_per_update + 1) if rows_per_update % size == 0]
    wanted = data.draw(st.sampled_from(divisors))
    n_rows = data.draw(st.integers(1, 4 * rows_per_update))
    all_rows = [(number,) for number in range(n_rows)]
    updates = [all_rows[at : at + rows_per_update] for at in range(0, n_rows, rows_per_update)]
    rows, micro_batch, accumulation = divide_rows(updates, rows_per_update, Ranks(n=n), wanted)
    assert micro_batch <= wanted
    # Trainer deals batches to processes in turn, and takes `accumulation` of each process for an update.
    batches = [rows[at : at + micro_batch] for at in range(0, len(rows), micro_batch)]
    size = n * accumulation
    dealt = [[row for batch in batches[at : at + size] for row in batch] for at in range(0, len(batches), size)]
    assert [[row for row in update if row] for update in dealt] == updates
    if n > 1:
        assert len(rows) % (size * micro_batch) == 0, "no process has more batches than another"


def test_alone_unless_the_environment_says_otherwise() -> None:
    assert ranks_of_environment({}) == Ranks(rank=0, n=1, local_rank=0)
    assert ranks_of_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Ranks(3, 4, 1)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "accelerate launch"),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch"),
        ({"ACCELERATE_TORCH_DEVICE": "xpu"}, "accelerate launch"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE set, and RANK, WORLD_SIZE, LOCAL_RANK are needed"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "no process 2 of 2"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "MPI"),
    ],
)
def test_a_start_in_which_each_process_may_think_that_it_is_alone_is_refused(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ranks_of_environment(environment)
    assert "midspec train --processes N" in str(caught.value)


def test_a_library_that_counts_other_processes_is_not_trained_with() -> None:
    check_agreement(Ranks(0, 2, 0), accelerate=2, transformers=2)
    with pytest.raises(ConfigError, match="2 processes were started, and accelerate counts 1"):
        check_agreement(Ranks(0, 2, 0), accelerate=1, transformers=2)


# Two as one ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path, tiny_model: Callable[..., Any]) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_model("llama").save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    return folder


def trained(job: TrainJob, folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    folder.mkdir(parents=True, exist_ok=True)
    train(job, folder, device="cpu", **options)
    return weights_of(folder)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def metrics(folder: Path) -> list[MetricsRow]:
    return list(read_rows(folder / "metrics.jsonl", MetricsRow))


# One process computes small models by hand (`_decoder.py`), several do not: equal sums in another order.
def assert_same(one: Path, other: Path, tolerance: float = 5e-6) -> None:
    rows, others = metrics(one), metrics(other)
    assert [row.update for row in rows] == [row.update for row in others]
    assert [row.tokens for row in rows] == [row.tokens for row in others]
    assert [row.loss for row in rows] == pytest.approx([row.loss for row in others], abs=tolerance)
    assert [row.grad_norm for row in rows] == pytest.approx([row.grad_norm for row in others], rel=10 * tolerance)
    weights, other_weights = weights_of(one), weights_of(other)
    assert weights.keys() == other_weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, other_weights[name], atol=tolerance, rtol=0)


def processes_of(parent: int) -> dict[int, int]:
    """Find the processes of a training that a process has started: their ids, by rank."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            rank = re.search(rb"\0RANK=(\d+)\0", b"\0" + (entry / "environ").read_bytes())
        except OSError:
            continue
        if rank and stat[0] != "Z" and int(stat[1]) == parent:
            found[int(rank[1])] = int(entry.name)
    return found


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def wait_for_end(pids: list[int], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "a process outlived its training"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_all_weights_as_one_does(make_job: MakeJob, tmp_path: Path) -> None:
    # Row by row, clipped, with updates whose rows two processes can't share evenly.
    recipe = {"micro_batch": 1, "warmup_updates": 2, "weight_decay": 0.1, "max_grad_norm": 0.5}
    recipe |= {"n_updates": None, "rows_per_update": 5, "n_epochs": 2}
    trained(make_job(recipe=recipe), tmp_path / "one")
    trained(make_job(recipe=recipe, execution=TWO), tmp_path / "two")
    assert_same(tmp_path / "one", tmp_path / "two")
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_an_adapter_as_one_does_in_bfloat16_with_checkpointing(
    make_job: MakeJob, base: Path, tmp_path: Path
) -> None:
    job = {"stage": "midtrain", "parent": str(base), "recipe": LORA | {"precision": "bfloat16", "micro_batch": 2}}
    execution = {"gradient_checkpointing": True}
    trained(make_job(**job, execution=execution), tmp_path / "one")
    trained(make_job(**job, execution=execution | TWO), tmp_path / "two")
    # Sums of other halves round otherwise: at three digits of a number by its kind.
    assert_same(tmp_path / "one", tmp_path / "two", tolerance=2e-3)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_process_ends_the_others_and_the_same_job_goes_on(
    make_job: MakeJob, base: Path, tmp_path: Path
) -> None:
    start = {"stage": "midtrain", "parent": str(base), "recipe": LORA}
    job = make_job(**start, execution=TWO)
    pids: list[int] = []

    def kill_at_5(progress: Any) -> None:
        if progress.update == 5 and not pids:
            found = processes_of(os.getpid())
            pids.extend(found.values())
            os.kill(found[1], signal.SIGKILL)

    with pytest.raises(ProcessLostError, match=r"process 1 of 2 was killed by signal 9.*goes on from the last"):
        trained(job, tmp_path / "halting", on_progress=kill_at_5)
    wait_for_end(pids, within_s=10)
    seen: list[int] = []
    trained(job, tmp_path / "halting", on_progress=lambda progress: seen.append(progress.update))
    assert 3 <= seen[0] <= 7
    assert not list((tmp_path / "halting").glob(".checkpoints"))
    trained(make_job(**start), tmp_path / "straight")
    assert_same(tmp_path / "straight", tmp_path / "halting")


class StoppedError(BaseException):
    """What the command line's handler raises."""


@pytest.fixture
def _raising_handler() -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("_raising_handler")
def test_a_stop_lets_all_processes_save_the_same_update(make_job: MakeJob, tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"n_updates": None, "n_epochs": 20, "learning_rate": 1e-3}
    job = make_job(recipe=recipe, execution={"processes": 2})

    def stop_at_2(progress: Any) -> None:
        if progress.update == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError):
        trained(job, tmp_path / "halting", on_progress=stop_at_2)
    (saved,) = (tmp_path / "halting" / ".checkpoints").iterdir()
    n_saved = int(saved.name.rpartition("-")[2])
    assert [row.update for row in metrics(saved)] == list(range(1, n_saved + 1))
    assert 2 <= n_saved <= 20, "it stopped soon after the signal"
    # From a checkpoint of two by one.
    more: list[int] = []
    trained(make_job(recipe=recipe), tmp_path / "halting", on_progress=lambda progress: more.append(progress.update))
    assert more == list(range(n_saved + 1, more[-1] + 1)), "no update is left out, and none is made twice"
    trained(make_job(recipe=recipe), tmp_path / "straight")
    assert_same(tmp_path / "straight", tmp_path / "halting", tolerance=1e-4)


# The command ---------------------------------------------------------------------------------------------------


def write_config(job: TrainJob, path: Path) -> Path:
    path.write_text(yaml.safe_dump(job.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return path


def run(*command: str | Path, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    """Run a command beside this interpreter, with one thread and without a place among processes."""
    environment = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE"}}
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_torchrun_starts_what_the_option_starts_and_one_process_writes_and_prints(
    make_job: MakeJob, tmp_path: Path
) -> None:
    config = write_config(make_job(execution={"save_every_updates": 2}), tmp_path / "job.yaml")
    torchrun = ("torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")
    command = ("midspec", "train", config, "--device", "cpu", "--out")
    first = run(*torchrun, "-m", *command, tmp_path / "torchrun")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("pretrain: 60 documents") == 1
    again = run(*torchrun, "-m", *command, tmp_path / "torchrun")
    assert again.returncode == 0, again.stderr
    options = list(map(str, command[1:]))
    assert main([*options, str(tmp_path / "option"), "--processes", "2"]) == 0
    assert main([*options, str(tmp_path / "alone")]) == 0
    records = [read_record(tmp_path / name) for name in ("torchrun", "option", "alone")]
    assert len({record.fingerprint for record in records if record is not None}) == 1
    for name in ("torchrun", "option"):
        assert_same(tmp_path / "alone", tmp_path / name)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_accelerate_launch_is_refused_in_one_line(make_job: MakeJob, tmp_path: Path) -> None:
    config = write_config(make_job(), tmp_path / "job.yaml")
    launch = ("accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1", "-m")
    started = run(*launch, "midspec", "train", config, "--device", "cpu", "--out", tmp_path / "out")
    assert started.returncode != 0
    assert "training can't be started by accelerate launch. Start it by midspec train --processes N" in started.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_command_leaves_no_process_behind(make_job: MakeJob, tmp_path: Path) -> None:
    config = write_config(make_job(recipe={"n_epochs": 200, "n_updates": None}), tmp_path / "job.yaml")
    command = [
        sys.executable,
        "-m",
        "midspec",
        "train",
        str(config),
        "--out",
        str(tmp_path / "out"),
        "--processes",
        "2",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        deadline = time.monotonic() + 120
        while len(pids := processes_of(started.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(pids) == 2
        time.sleep(2)
        started.kill()
    wait_for_end(list(pids.values()))
