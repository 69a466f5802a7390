"""The toy exam and its settings; judges and models that play a script."""

from __future__ import annotations

import pytest

from .toy import ToyConfig, ToyExam


@pytest.fixture
def exam() -> ToyExam:
    return ToyExam()


@pytest.fixture
def config() -> ToyConfig:
    return ToyConfig()
