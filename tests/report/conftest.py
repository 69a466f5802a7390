from __future__ import annotations

from pathlib import Path

import pytest

from midspec.report import write_report

from .simulated import evil_report, simulated_report
from .simulated_evidence import report_with_evidence, transcripts
from .simulated_tasks import report_with_tasks


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory) -> Path:
    """A written report of the whole simulated study."""
    folder = tmp_path_factory.mktemp("report")
    write_report(simulated_report(), folder)
    return folder


@pytest.fixture(scope="session")
def evil_folder(tmp_path_factory) -> Path:
    """A written report in which every free text tries to break out."""
    folder = tmp_path_factory.mktemp("evil")
    write_report(evil_report(), folder)
    return folder


@pytest.fixture(scope="session")
def tasks_folder(tmp_path_factory) -> Path:
    """A written report of the simulated study with evaluation tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    write_report(report_with_tasks(), folder)
    return folder


@pytest.fixture(scope="session")
def evidence_folder(tmp_path_factory) -> Path:
    """A written report of the simulated study with all that stands beside its rates, and transcripts."""
    folder = tmp_path_factory.mktemp("evidence")
    write_report(report_with_evidence(), folder, transcripts=transcripts())
    return folder
