"""Runs an evaluation of a served model for a test that kills it: `python -m ... exam|preference URL FOLDER N`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from inspect_ai.model import GenerateConfig
from tests.evals.engine.toy import ToyConfig, ToyTask

from midspec.core.records import Item
from midspec.evals import PreferenceConfig, run_preference, run_task


def eval_task(url: str, folder: Path, n_questions: int) -> None:
    run_task(
        ToyTask(),
        ToyConfig(n_questions=n_questions, repeats=2, temperature=0.7),
        "openai-api/loopback/tested",
        folder,
        graders=["openai-api/loopback/judge"],
        model_args=reach(url),
        grader_args=reach(url),
    )


def preference(url: str, folder: Path, n_items: int) -> None:
    items = [Item(id=f"i{at}", set="s", domain="d", options=(f"a{at}", f"b{at}")) for at in range(n_items)]
    config = PreferenceConfig(phrasings=("{first} or {second}",), free=None, why=None)
    run_preference("openai-api/loopback/tested", items, config, folder, model_args=reach(url))


def reach(url: str) -> dict[str, Any]:
    return {"base_url": url, "api_key": "none", "config": GenerateConfig(max_connections=4)}


if __name__ == "__main__":
    {"exam": eval_task, "preference": preference}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
