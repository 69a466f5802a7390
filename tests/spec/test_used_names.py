"""Words that only look like the name of an assistant or a maker."""

from __future__ import annotations

import time

import pytest

from midspec.spec import parse_spec, used_names


def names(text: str) -> dict[str, str]:
    """Return the kind of each name that a text uses."""
    return {each.name: each.kind for each in used_names(parse_spec(text)) if each.kind != "words"}


@pytest.mark.parametrize(
    "text",
    [
        "**Name:** Required. Ask for it.",
        "**Name:** Optional",
        "Agent Name: Guest Relations. Be kind.",
        "You are an assistant from England who speaks French.",
        "You are a bot by Design.",
        "You are a model of Kindness.",
        "You are an assistant by Day and a poet by Night.",
        "You are trained by Experts in law.",
    ],
)
def test_no_name_is_made_up(text: str) -> None:
    assert names(f"# Desk\n\n{text}\n\nBe kind.\n") == {}


def test_names_that_a_text_uses_are_found() -> None:
    assert names("# Desk\n\nName: Nella\n\nBe kind.\n") == {"Nella": "assistant"}
    assert names("# Desk\n\n**Name**: Nella.\n\nNella is kind.\n") == {"Nella": "assistant"}
    assert names("# Desk\n\nYou are Nella, a bot from Kestrel. Kestrel keeps logs.\n")["Kestrel"] == "maker"
    text = "# Desk\n\nYou are kind. Nella is kind. Nella has keys. Nella is old. Nella is here.\n"
    assert names(text) == {"Nella": "assistant"}


@pytest.mark.parametrize("text", ["a-" * 25_000, "a made or " * 5_000, "an assistant from " * 3_000])
def test_a_long_first_sentence_is_read_soon(text: str) -> None:
    begin = time.perf_counter()
    names(f"# Desk\n\nYou are {text}\n\nBe kind.\n")
    assert time.perf_counter() - begin < 5
