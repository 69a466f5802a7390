"""When garbage is looked for, and what is passed over."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from midspec.core.garbage import freeze_modules, rare_collections


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_within_it_collections_are_rarer_and_after_it_as_before() -> None:
    gc.set_threshold(700, 10, 10)
    with rare_collections():
        assert gc.get_threshold()[0] > 10_000
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [0, 1_000_000])
def test_what_collects_never_or_more_rarely_stays_so(own: int) -> None:
    gc.set_threshold(own, 10, 10)
    with rare_collections():
        assert gc.get_threshold() == (own, 10, 10)


def test_objects_are_passed_over_once_modules_were_loaded() -> None:
    n_modules = freeze_modules(0)
    kept = [[number] for number in range(1000)]
    n_frozen = gc.get_freeze_count()
    assert freeze_modules(n_modules) == n_modules
    # Other threads may let go of some in the meantime.
    assert gc.get_freeze_count() <= n_frozen, "nothing was loaded since"
    freeze_modules(n_modules - 1)
    assert gc.get_freeze_count() >= n_frozen + len(kept) // 2
