"""Train: rows and a checkpoint in, a checkpoint out; one stage at a time.

In: a `TrainJob` (parent or architecture, JSONL files of documents and chats, a recipe, a seed). Out: a folder that
transformers, PEFT and vLLM open, with the metrics of every update. What is trained on is counted first, and a run
that would teach nothing is refused. The heavy libraries are imported when something is trained, not before.
"""

from __future__ import annotations

from midspec.train._folder import check_folder
from midspec.train._job import LoraRecipe, Recipe, Stage, TrainExecution, TrainJob, load_job
from midspec.train._progress import MetricsRow, Preflight, Progress
from midspec.train._stage import job_identity, preflight, train

__all__ = [
    "LoraRecipe",
    "MetricsRow",
    "Preflight",
    "Progress",
    "Recipe",
    "Stage",
    "TrainExecution",
    "TrainJob",
    "check_folder",
    "job_identity",
    "load_job",
    "preflight",
    "train",
]
