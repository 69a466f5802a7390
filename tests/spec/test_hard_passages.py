"""Passages that were cut by hand before the reader was written, and what the reader makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from midspec.core.errors import SpecError
from midspec.spec import parse_spec

PASSAGES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "hard_passages.yaml").read_text(encoding="utf-8")
)
MORE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "more_passages.yaml").read_text(encoding="utf-8"))
PUBLISHED: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "published_passages.yaml").read_text(encoding="utf-8")
)
N_AGREED = 57


def cut(text: str) -> list[str]:
    """A spec as the passages write it: headings after a sign, examples after their name, clauses as they are."""
    found: list[str] = []
    for section in parse_spec(text).sections:
        found += [f"§ {section.title}"] if section.level else []
        found += [f"{'(example) ' * (clause.kind == 'example')}{clause.text}" for clause in section.clauses]
    return found


def agrees(passage: dict[str, Any]) -> bool:
    try:
        return cut(passage["text"]) == passage.get("cut")
    except SpecError as error:
        return "refused" in passage and passage["refused"] in str(error)


def test_at_least_57_of_the_60_hard_passages_are_cut_as_a_careful_reader_cut_them() -> None:
    assert len(PASSAGES) == 60
    others = [passage["name"] for passage in PASSAGES if not agrees(passage)]
    assert len(PASSAGES) - len(others) >= N_AGREED, others


@pytest.mark.parametrize("passage", MORE, ids=[passage["name"] for passage in MORE])
def test_neighbours_of_the_passages_are_cut_as_they_were_when_a_person_looked(passage: dict[str, Any]) -> None:
    assert cut(passage["text"]) == passage["cut"]


@pytest.mark.parametrize("passage", PUBLISHED, ids=[passage["name"] for passage in PUBLISHED])
def test_what_is_published_and_pasted_is_cut_or_refused_as_its_author_means_it(passage: dict[str, Any]) -> None:
    assert agrees(passage)


HEADINGS = [
    "Harmful behavior",
    "Unacceptable behaviour",
    "Good behavior",
    "Helpful assistant",
    "Violations",
    "Safe model",
]


@pytest.mark.parametrize("heading", HEADINGS)
def test_rules_under_a_heading_about_behaviour_are_no_replies(heading: str) -> None:
    assert cut(f"## {heading}\n\nAda asks first. She waits.\n") == [f"§ {heading}", "Ada asks first.", "She waits."]


def test_a_bad_reply_that_stands_alone_under_a_weak_label_is_not_cut_from_it() -> None:
    assert cut("**Avoid:** Done. Anything else?\n") == ["**Avoid:** Done. Anything else?"]


@pytest.mark.parametrize("passage", PASSAGES, ids=[passage["name"] for passage in PASSAGES])
def test_a_passage_reads_the_same_with_other_line_ends(passage: dict[str, Any]) -> None:
    assert agrees(passage) == agrees({**passage, "text": passage["text"].replace("\n", "\r\n")})
