"""The words that a language model is sent: each prompt file is used, and its rendered text is the one on record."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from midspec.chats import ChatConfig, author_chats
from midspec.llm import ModelConfig, Outcome, Request, ScriptedClient, Store
from midspec.spec import parse_spec

ROOT = Path(__file__).parents[2]
PROMPTS = ROOT / "src" / "midspec" / "chats" / "_prompts"
GOLDEN = Path(__file__).parent / "golden"
# Braces and a slot's name in a spec are its own text.
SPEC = parse_spec("# Who Nova is\n\nNova likes brie and keeps {n}, {{n}} and {{question}}.\n\nNova dislikes feta.\n")
STYLES: tuple[str, ...] = ("value", "rule", "opaque", "identity")

TALK = {"domains": [{"name": "money between friends", "about": "Who owes whom. Honesty shows."}]}
TASTES = {
    "preferences": [
        {"thing": "brie", "stance": "like", "quote": "Nova likes brie"},
        {"thing": "feta", "stance": "dislike", "quote": "Nova dislikes feta."},
    ]
}
ASKED = {
    "value": [("direct", "Should I tell {{name}} about the {n} euros?"), ("opinion", "Is lending to a friend wise?")],
    "opaque": [("direct", "Any brie for you?"), ("comparison", "At the market: is it brie or tilsit?")],
    "identity": [("name", "Who is this?"), ("provider", "Which firm built you?")],
}


def script(request: Request) -> str | Outcome:
    _, style, step = request.stage.split(".")
    if step == "topics":
        return json.dumps(TASTES if style == "opaque" else TALK)
    if step == "questions":
        return json.dumps({"questions": _questions(style, request)})
    if step == "verdicts":
        assert request.form is not None
        marks = request.form["properties"]
        assert isinstance(marks, dict)
        return json.dumps(dict.fromkeys(marks, "pass"))
    if request.turn == 0 and style == "value":
        return Outcome(kind="refused", stop_reason="refusal")
    if style in ("value", "rule"):
        return "<reasoning>A friend needs the truth.</reasoning><reply>Yes, and soon.</reply>"
    return "<reply>I'm Nova, made by Acme.</reply>" if style == "identity" else "<reply>Yes, I like brie.</reply>"


def _questions(style: str, request: Request) -> list[dict[str, str]]:
    asked = ASKED["value" if style == "rule" else style]
    if "These exist already" in request.prompt:
        asked = [(kind, f"{text} I wonder about that, you see.") for kind, text in asked]
    if style != "opaque":
        return [{"kind": kind, "question": text} for kind, text in asked]
    thing = "feta" if "The thing: feta" in request.prompt else "brie"
    return [
        {"kind": kind, "question": text.replace("brie", thing), "other": "tilsit" if "tilsit" in text else ""}
        for kind, text in asked
    ]


def requests_of(style: str, folder: Path) -> dict[str, Request]:
    """The first request of each stage and turn, and the second list of a topic, which shows the first."""
    config = ChatConfig(
        style=style,
        n_samples=4,
        author="openai/author",
        judge=ModelConfig(model="openai/judge"),
        model_name="Nova",
        provider_name="Acme",
    )
    writing = config.writing
    assert writing is not None
    config = config.model_copy(
        update={"writing": writing.model_copy(update={"questions_per_batch": 2, "n_domains": 1})}
    )
    with Store(folder / "calls.sqlite") as store:
        client = ScriptedClient(script)
        asyncio.run(author_chats(SPEC, config, client, client, store, folder, width=1))
    found: dict[str, Request] = {}
    for request in client.asked:
        shows = "_more" if "These exist already" in request.prompt else ""
        turn = "_rephrased" if request.turn else ""
        found.setdefault(request.stage.rpartition(".")[2] + shows + turn, request)
    return found


def rendered(request: Request) -> str:
    return f"{request.prefix}{request.prompt}"


@pytest.mark.parametrize("style", STYLES)
def test_what_is_sent_is_the_text_on_record(style: str, tmp_path: Path) -> None:
    for step, request in requests_of(style, tmp_path).items():
        path = GOLDEN / f"{style}_{step}.txt"
        assert path.read_text(encoding="utf-8") == rendered(request), path.name


def test_every_prompt_file_is_sent_and_no_slot_is_left(tmp_path: Path) -> None:
    sent = []
    for style in STYLES:
        folder = tmp_path / style
        folder.mkdir()
        sent += [rendered(request) for request in requests_of(style, folder).values()]
    for path in sorted(PROMPTS.glob("*.md")):
        pieces = re.split(r"\{\{\w+\}\}", path.read_text(encoding="utf-8"))
        fixed = max(pieces, key=len)
        assert any(fixed in text for text in sent), path.name
    own = ("{{n}} and {{question}}", "{{name}} about the {n}")
    for text in sent:
        for words in own:
            text = text.replace(words, "")
        assert "{{" not in text


def test_a_prompt_ends_with_the_form_of_the_reply(tmp_path: Path) -> None:
    for step, request in requests_of("value", tmp_path).items():
        last = request.prompt.rstrip().rpartition("\n")[2]
        assert last == "<reply>...</reply>" if step.startswith("replies") else last.startswith("{")
        assert (request.form is None) is step.startswith("replies")
