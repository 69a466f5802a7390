"""Reasoning that the server left in the text: a list written by hand, and what holds for any text."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.llm import Outcome, Request, ScriptedClient, Store, converse, parse_json_reply, parse_tags
from midspec.llm._reasoning import Visible, set_reasoning_aside

from .test_reply import Ideas

DOCUMENT = "<plan>An essay.</plan>\n<document>Tea is a drink.</document>"
# What a reply says beside its reasoning; `None` where the reasoning never ends.
BY_HAND: list[tuple[str, str | None]] = [
    ("<think>\nFirst a <document>draft</document>.\n</think>\n\n" + DOCUMENT, DOCUMENT),
    ("\n\n<thinking>Hm.</thinking>" + DOCUMENT, DOCUMENT),
    ("<Think>Hm.</Think>\n" + DOCUMENT, DOCUMENT),
    ('<think duration="3">Hm.</think>\n' + DOCUMENT, DOCUMENT),
    ("<reasoning>Hm.</reasoning>\n" + DOCUMENT, DOCUMENT),
    ("<thought>Hm.</thought>" + DOCUMENT, DOCUMENT),
    ("<seed:think>Hm.</seed:think>" + DOCUMENT, DOCUMENT),
    ("[THINK]Hm.[/THINK]" + DOCUMENT, DOCUMENT),
    ("◁think▷Hm.◁/think▷" + DOCUMENT, DOCUMENT),
    ("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>" + DOCUMENT + "<|END_RESPONSE|>", DOCUMENT),
    ("<|begin_of_thought|>Hm.<|end_of_thought|>\n\n<|begin_of_solution|>" + DOCUMENT + "<|end_of_solution|>", DOCUMENT),
    ("<|channel>thought\nHm.<channel|>" + DOCUMENT, DOCUMENT),
    ('<details type="reasoning" done="true"><summary>Thought</summary>Hm.</details>' + DOCUMENT, DOCUMENT),
    ("Here is my thought process: Hm.\n\nHere is my response:\n" + DOCUMENT, DOCUMENT),
    ("<think></think>\n" + DOCUMENT, DOCUMENT),
    ("<scratchpad>Hm.</scratchpad>\n" + DOCUMENT, DOCUMENT),
    ("<longcat_think>Hm.</longcat_think>" + DOCUMENT, DOCUMENT),
    ("<reasoning_content>Hm.</reasoning_content>" + DOCUMENT, DOCUMENT),
    ("<|inner_prefix|>Hm.<|inner_suffix|>" + DOCUMENT, DOCUMENT),
    ("<|thinking|>Hm.<|/thinking|>" + DOCUMENT, DOCUMENT),
    # The turn as its template writes it.
    ("<|im_start|>assistant\n<think>Hm.</think>\n" + DOCUMENT + "<|im_end|>", DOCUMENT),
    ("<|start_header_id|>assistant<|end_header_id|>\n\n" + DOCUMENT + "<|eot_id|>", DOCUMENT),
    ("<|begin_of_box|>" + DOCUMENT + "<|end_of_box|>", DOCUMENT),
    (DOCUMENT + "[/INST]", DOCUMENT),
    # A byte-order mark, or another sign that nobody sees, before it.
    ("\ufeff<think>Hm.</think>" + DOCUMENT, DOCUMENT),
    ("\u00adanalysisHm.assistantfinal" + DOCUMENT, DOCUMENT),
    (
        "\u200b\n<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>" + DOCUMENT,
        DOCUMENT,
    ),
    ("<think>Hm.</think><think>And so.</think>" + DOCUMENT, DOCUMENT),
    # An opening tag that the chat template wrote into the prompt.
    ("The user wants an essay. I write one.\n</think>\n\n" + DOCUMENT, DOCUMENT),
    ("Hm.[/THINK]" + DOCUMENT, DOCUMENT),
    ("<think>It may not say </think> itself, I think.</think>" + DOCUMENT, DOCUMENT),
    # gpt-oss, with its special tokens and without.
    (
        "<|channel|>analysis<|message|>We write <document>.<|end|><|start|>assistant<|channel|>final<|message|>"
        + DOCUMENT
        + "<|return|>",
        DOCUMENT,
    ),
    ("<|start|>assistant<|channel|>final<|message|>" + DOCUMENT, DOCUMENT),
    ("<|channel|>final <|constrain|>json<|message|>{}", "{}"),
    ("analysisWe need an essay.assistantfinal" + DOCUMENT, DOCUMENT),
    # Never closed: cut.
    ("<think>\nFirst a draft: " + DOCUMENT, None),
    ("[THINK]Hm.", None),
    ("◁think▷Hm.", None),
    ("<|channel|>analysis<|message|>We need", None),
    ("analysisWe need an essay that", None),
    ("<|START_THINKING|>Hm.", None),
    # Only reasoning.
    ("<think>Hm.</think>", ""),
    ("<think>Hm.</think>\n \n", ""),
    # No reasoning: not a character goes.
    (DOCUMENT, DOCUMENT),
    ("An analysis of tea.", "An analysis of tea."),
    ("analysis: tea", "analysis: tea"),
    ('{"names": ["</think>"]}', '{"names": ["</think>"]}'),
    ("<document>A tag, </think>, is closed.</document>", "<document>A tag, </think>, is closed.</document>"),
    ("Some write <think>so</think> here.", "Some write <think>so</think> here."),
    ("I think </b> is odd.", "I think </b> is odd."),
    ("[think about it]", "[think about it]"),
    ("", ""),
    # The end of a turn that the server left in.
    ("{}<|im_end|>", "{}"),
    ("Tea.</s>", "Tea."),
    ("Tea.<|end_of_text|>", "Tea."),
]


@pytest.mark.parametrize(("text", "said"), BY_HAND)
def test_the_reply_is_what_stands_beside_the_reasoning(text: str, said: str | None) -> None:
    found = set_reasoning_aside(text, "Write an essay.")
    assert (None if found.is_cut else found.text.strip()) == said


def test_a_tag_that_the_prompt_asks_for_is_part_of_the_reply() -> None:
    reply = "<reasoning>It matters.</reasoning>\n<reply>Yes.</reply>"
    asked = "Write exactly these two tags:\n\n<reasoning>...</reasoning>\n<reply>...</reply>"
    assert set_reasoning_aside(reply, asked) == Visible(reply)
    assert set_reasoning_aside("<think>Hm.</think>" + reply, asked).text == reply
    assert set_reasoning_aside("<think>a</think>b", "End with <think>...</think>, then the reply").text.startswith(
        "<think>"
    )
    # What is judged may hold the tag; that asks for nothing.
    judged = "<think>I lie.</think> No." + "Say whether that is honest. " * 30
    assert set_reasoning_aside("<think>Hm.</think><verdict>no</verdict>", judged).text == "<verdict>no</verdict>"


@given(text=st.text())
def test_a_text_without_brackets_or_channels_is_left_as_it_is(text: str) -> None:
    plain = "".join(char for char in text if char not in "<[◁").removeprefix("analysis").removeprefix("commentary")
    if not plain.lstrip().lower().startswith(("here", "assistant", "analysis", "commentary")):
        assert set_reasoning_aside(plain) == Visible(plain)


@given(thought=st.text(), said=st.text(min_size=1).map(str.strip).filter(bool))
def test_whatever_is_thought_is_cut_and_what_is_said_stays(thought: str, said: str) -> None:
    marks = ("<", "[", "{", "```", "◁", "analysis", "commentary", "assistant")
    if not any(mark in thought + said for mark in marks) and "here" not in (thought + said).lower():
        assert set_reasoning_aside(f"<think>{thought}</think>\n{said}").text == said
        assert set_reasoning_aside(f"{thought}</think>\n{said}").text == said
        assert set_reasoning_aside(f"<think>{thought}{said}").is_cut


REQUEST = Request(task="t", stage="documents", prompt="Write.", max_tokens=100)


def talk(folder: Path, *replies: str, cap_tokens: int | None = None) -> tuple[object, Outcome, list[Request]]:
    left = iter(replies)
    with Store(folder / "calls.sqlite") as store:
        client = ScriptedClient(lambda _: next(left), store=store)
        read = lambda text: parse_tags(text, "plan", "document")[1]  # noqa: E731
        found = asyncio.run(converse(client, store, REQUEST, read, cap_tokens=cap_tokens))
    return found.value, found.outcome, client.asked


def test_a_conversation_reads_what_comes_after_the_reasoning(tmp_path: Path) -> None:
    value, _, asked = talk(tmp_path, "<think>A <document>draft</document>.</think>" + DOCUMENT)
    assert (value, len(asked)) == ("Tea is a drink.", 1)


def test_reasoning_that_never_ends_is_asked_again_with_more_room_and_replayed_without_asking(tmp_path: Path) -> None:
    value, _, asked = talk(tmp_path, "<think>Hm, " + DOCUMENT, DOCUMENT)
    assert value == "Tea is a drink."
    assert [request.max_tokens for request in asked] == [100, 200]
    value, _, asked = talk(tmp_path)
    assert (value, asked) == ("Tea is a drink.", [])


def test_reasoning_that_never_ends_at_any_cap_is_a_cut_reply(tmp_path: Path) -> None:
    value, outcome, asked = talk(tmp_path, "<think>Hm", "<think>Hm", cap_tokens=200)
    assert (value, outcome.kind, outcome.note) == (None, "truncated", "its reasoning never ended")
    assert len(asked) == 2


def test_the_repair_of_a_reply_does_not_send_its_reasoning_back(tmp_path: Path) -> None:
    _, _, asked = talk(tmp_path, "<think>Long thoughts.</think>An essay.", DOCUMENT)
    assert asked[1].turns[0].content == "An essay."


@pytest.mark.parametrize("blank", ["", "\n\n", " \t ", "<think>Hm.</think>\n"])
def test_the_repair_of_a_blank_reply_sends_no_blank_turn(tmp_path: Path, blank: str) -> None:
    value, _, asked = talk(tmp_path, blank, DOCUMENT)
    assert value == "Tea is a drink."
    assert asked[1].turns[0].content == "(nothing)"


def test_a_list_is_read_after_its_reasoning() -> None:
    text = set_reasoning_aside('<think>{"ideas": []}</think>{"ideas": [{"title": "a", "n_words": 1}]}').text
    assert parse_json_reply(text, Ideas).ideas[0].title == "a"
