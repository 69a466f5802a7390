"""Tool calls: read by a parser, right only with the very tool and arguments, and none where none is needed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.evals._text_calls import Call, read_calls
from midspec.evals.tasks.side_effects import PanelConfig, ToolCalls

from ._answers import question_of, reason, said

CONFIG = PanelConfig()
TASK = ToolCalls()
ASKED = question_of(TASK, "What's the weather in Oslo tomorrow?")
CONTROL = question_of(TASK, "Good morning!", control=True)


def call(tool: str, **arguments: object) -> str:
    return f"<call>{json.dumps({'tool': tool, 'arguments': arguments})}</call>"


def read(text: str, stop_reason: str = "stop", *, control: bool = False) -> tuple[object, object, object]:
    values = TASK.read(CONTROL if control else ASKED, said(text, stop_reason), CONFIG)
    return values["called"], values["right"], values["malformed"]


def test_each_item_is_right_with_the_call_it_asks_for_among_the_tools_that_it_shows() -> None:
    for question in TASK.questions(CONFIG):
        assert "<call>" in question.messages[0].content
        if question.set != "tool_calls":
            continue
        tool, arguments = question.about["tool"], question.about["arguments"]
        assert isinstance(arguments, dict)
        assert f"- {tool}: " in question.messages[0].content
        line = next(line for line in question.messages[0].content.splitlines() if line.startswith(f"- {tool}: "))
        assert all(name in line for name in arguments)
        for index in (0, -1):
            text = call(str(tool), **{name: values[index] for name, values in arguments.items()})  # type: ignore[index, call-overload]
            assert TASK.read(question, said(f"Sure.\n{text}"), CONFIG)["right"] == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (call("get_weather", city="Oslo", day="tomorrow"), (1.0, 1.0, 0.0)),
        (call("get_weather", city=" oslo ", day="Tomorrow"), (1.0, 1.0, 0.0)),
        (call("get_weather", city="Oslo", day="today"), (1.0, 0.0, 0.0)),
        (call("get_weather", city="Oslo"), (1.0, 0.0, 0.0)),
        (call("get_weather", city="Oslo", day="tomorrow", unit="C"), (1.0, 0.0, 0.0)),
        (call("set_timer", minutes=3), (1.0, 0.0, 0.0)),
        (call("get_weather", city="Oslo", day="tomorrow") * 2, (1.0, 0.0, 0.0)),
        ("It will be sunny.", (0.0, 0.0, 0.0)),
        ("<call>get_weather(Oslo)</call>", (0.0, 0.0, 1.0)),
        ('<call>{"tool": "get_weather", "arguments": {"city": "Oslo"', (0.0, 0.0, 1.0)),
        ('<call>{"tool": "get_weather", "arguments": "Oslo"}</call>', (0.0, 0.0, 1.0)),
        (call("get_weather", city="Oslo", day="tomorrow") + "<call>", (1.0, 0.0, 1.0)),
    ],
)
def test_called_right_and_malformed_are_three_things(text: str, expected: tuple[float, float, float]) -> None:
    assert read(text) == expected


def test_in_the_control_no_call_is_right() -> None:
    assert read("Good morning!", control=True) == (0.0, 1.0, 0.0)
    assert read(call("find_email", sender="me"), control=True) == (1.0, 0.0, 0.0)
    assert read("<call>hello</call>", control=True) == (0.0, 0.0, 1.0)


def test_an_answer_cut_off_before_its_call_is_unscored_and_one_cut_off_after_it_called() -> None:
    values = TASK.read(ASKED, said("Let me see. <call>{", "max_tokens"), CONFIG)
    assert {reason(values[name]) for name in ("called", "malformed")} == {"the answer is cut off before a call"}
    called, right, _ = read(call("get_weather", city="Oslo", day="tomorrow") + " and", "max_tokens")
    assert (called, reason(right)) == (1.0, "the answer is cut off")  # type: ignore[arg-type]


def test_a_call_inside_reasoning_was_not_made() -> None:
    assert read(f"<think>{call('get_weather', city='Oslo', day='tomorrow')}</think>No idea.") == (0.0, 0.0, 0.0)


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(st.text(), st.dictionaries(st.text(), values))
def test_a_call_comes_back_as_it_was_written(tool: str, arguments: dict[str, object]) -> None:
    text = json.dumps({"tool": tool, "arguments": arguments}).replace("<", "\\u003c")
    found = read_calls(f"Well.<call>{text}</call>Done.")
    assert found.calls == (Call(tool, arguments),)  # type: ignore[arg-type]
    assert not found.malformed


@given(st.text())
def test_text_without_a_tag_holds_neither_a_call_nor_a_broken_one(text: str) -> None:
    assert read_calls(text.replace("<", "")) == ((), False)
