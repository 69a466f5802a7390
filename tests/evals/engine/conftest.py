"""The toy exam and its settings; judges and models that play a script."""

from __future__ import annotations

import pytest

from .toy import ToyConfig, ToyTask


@pytest.fixture
def eval_task() -> ToyTask:
    return ToyTask()


@pytest.fixture
def config() -> ToyConfig:
    return ToyConfig()
