"""What somebody says in quotation marks is no preference; what stands between two quotations may be one."""

from __future__ import annotations

import time

import pytest

from midspec.chats._spec_content import _without_said


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (
            'I call it "brew", and I prefer coffee, never "milk".',
            'I call it "brew", and I prefer coffee, never "milk".',
        ),
        ('Ada likes "I, Robot" and tea.', 'Ada likes "I, Robot" and tea.'),
        ('A guest says "I like eel" and Ada likes tea.', "A guest says  and Ada likes tea."),
        ("«J'aime, et je préfère le thé», dit-il.", ", dit-il."),
    ],
)
def test_only_what_a_speaker_says_is_taken_out(text: str, left: str) -> None:
    assert " ".join(_without_said(text).split()) == " ".join(left.split()).replace(" ,", ",")
    assert len(_without_said(text)) == len(text)


@pytest.mark.parametrize("text", ['"' + "I " * 25_000, "«" * 50_000, '"I "' * 10_000])
def test_odd_quotations_are_read_soon(text: str) -> None:
    begin = time.perf_counter()
    _without_said(text)
    assert time.perf_counter() - begin < 3
