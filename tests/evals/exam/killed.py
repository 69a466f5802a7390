"""Runs the toy exam on a served model with a served judge, for a test that kills it: `python -m ... URL FOLDER N`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from inspect_ai.model import GenerateConfig
from tests.evals.exam.toy import ToyConfig, ToyExam

from midspec.evals.exam import run_exam


def main(url: str, folder: str, n_questions: str) -> None:
    reach: dict[str, Any] = {"base_url": url, "api_key": "none", "config": GenerateConfig(max_connections=4)}
    run_exam(
        ToyExam(),
        ToyConfig(n_questions=int(n_questions), repeats=2, temperature=0.7),
        "openai-api/loopback/tested",
        Path(folder),
        graders=["openai-api/loopback/judge"],
        model_args=reach,
        grader_args=reach,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
