"""One training run or one evaluation, measured in a process of its own: `training.py` starts it, in either environment.

    python benchmarks/training_worker.py train JOB.yaml OUT
    python benchmarks/training_worker.py evaluate CHECKPOINT ITEMS.jsonl OUT

It uses what every version of the package offers, and prints one line of JSON: CPU seconds, tokens, losses, peak memory.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def train_job(job_file: str, out: str) -> dict[str, Any]:
    """Train, and measure from the end of the first update to the end of the last."""
    from midspec.train import load_job, train

    marks: list[tuple[int, float, float]] = []
    Path(out).mkdir(parents=True)
    built = train(
        load_job(Path(job_file)),
        Path(out),
        on_progress=lambda progress: marks.append((progress.tokens, progress.loss, time.process_time())),
        device="cpu",
    )
    tokens, seconds = marks[-1][0] - marks[0][0], marks[-1][2] - marks[0][2]
    kept = ("precision", "attention", "loss", "adapters", "layers")
    return {
        "tokens_a_cpu_second": tokens / seconds,
        "updates_a_cpu_second": (len(marks) - 1) / seconds,
        "losses": [loss for _, loss, _ in marks],
        "execution": {name: built.execution[name] for name in kept if name in built.execution},
    }


def evaluate(checkpoint: str, items_file: str, out: str) -> dict[str, Any]:
    """Ask all items with the default settings; the choices are by log-probability and by the generated answer."""
    from midspec.evals import PreferenceConfig, read_items, run_preference

    items = read_items(Path(items_file))
    Path(out).mkdir(parents=True)
    start = time.process_time()
    run_preference(checkpoint, items, PreferenceConfig(), Path(out), model_args={"device": "cpu"})
    seconds = time.process_time() - start
    rows = [json.loads(line) for line in (Path(out) / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"cpu_seconds": seconds, "rows": rows}


def main() -> None:
    """Run what the first argument names, and print the measures."""
    import torch

    torch.set_num_threads(1)
    kind, *arguments = sys.argv[1:]
    measured = {"train": train_job, "evaluate": evaluate}[kind](*arguments)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    measured["peak_mib"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
