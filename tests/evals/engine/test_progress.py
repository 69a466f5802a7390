"""Progress is told after each response of the model and of each judge, when it is on disk."""

from __future__ import annotations

from pathlib import Path

from midspec.core.records import Item
from midspec.evals import PreferenceConfig, rescore, run_preference, run_task, scripted_model

from .toy import ToyConfig, ToyTask

YES = "<verdict>yes</verdict>"


class Told:
    """Keeps what it is told, and how many responses were on disk by then."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "kept.jsonl"
        self.calls: list[tuple[int, int]] = []
        self.n_on_disk: list[int] = []

    def __call__(self, n_done: int, n_total: int, what: str) -> None:
        self.calls.append((n_done, n_total))
        self.n_on_disk.append(self._file.read_bytes().count(b"\n"))


def test_each_response_and_judgement_of_a_task_is_told_when_it_is_on_disk(tmp_path: Path) -> None:
    told, judges = Told(tmp_path), [scripted_model([YES], name=name) for name in ("a", "b")]
    run_task(ToyTask(), ToyConfig(), scripted_model(["2"]), tmp_path, graders=judges, on_progress=told)
    assert told.calls == [(number, 9) for number in range(1, 10)]
    assert all(n_disk >= n_done for n_disk, (n_done, _) in zip(told.n_on_disk, told.calls, strict=True))


def test_what_a_killed_run_had_on_disk_counts_as_done(tmp_path: Path) -> None:
    for _ in range(2):
        told = Told(tmp_path)
        run_task(ToyTask(), ToyConfig(judged=False), scripted_model(["2"]), tmp_path, on_progress=told)
        assert told.calls == [(1, 3), (2, 3), (3, 3)]


def test_judging_a_log_again_tells_of_each_judgement(tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    judge = scripted_model([YES], name="a")
    run_task(ToyTask(), ToyConfig(), scripted_model(["2"]), tmp_path / "first", graders=[judge])
    [log] = (tmp_path / "first" / "logs").glob("*.eval")
    told = Told(tmp_path / "again")
    judge = scripted_model([YES], name="b")
    rescore(log, [judge], tmp_path / "again", eval_task=ToyTask(), on_progress=told)
    assert told.calls == [(1, 3), (2, 3), (3, 3)]


def test_each_pair_is_told(items: list[Item], nano: PreferenceConfig, tmp_path: Path) -> None:
    told = Told(tmp_path)
    run_preference(scripted_model(["alto"]), items, nano, tmp_path, on_progress=told)
    assert told.calls == [(number, len(items)) for number in range(1, len(items) + 1)]
