"""`midspec/<checkpoint>` as an Inspect model for any task, and the scripted one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, ToolCall, ToolInfo, ToolParam, ToolParams, tool

from midspec.core.errors import ConfigError
from midspec.core.records import Message
from midspec.evals import ManyGenerator, MidspecAPI, OptionScorer, ScriptedReply, scripted_model
from midspec.evals._text_calls import Call, plain_messages, read_calls, split_calls
from midspec.models import find_checkpoint, open_checkpoint

TALK: list[ChatMessage] = [
    ChatMessageSystem(content="you like alto ."),
    ChatMessageUser(content="why ?"),
    ChatMessageAssistant(content="because ."),
    ChatMessageUser(content="which do you prefer , alto or brio ?"),
]


def ask(model: Model, messages: list[ChatMessage], **settings: object) -> ModelOutput:
    async def main() -> ModelOutput:
        return await model.generate(messages, config=GenerateConfig.model_validate(settings))

    return anyio.run(main)


@pytest.fixture
def model(checkpoint: Path) -> Model:
    return get_model(f"midspec/{checkpoint}", memoize=False, device="cpu")


def test_any_inspect_task_gets_the_very_answer_of_the_checkpoint(model: Model, checkpoint: Path) -> None:
    direct = open_checkpoint(find_checkpoint(str(checkpoint)), device="cpu")
    messages = [Message.model_validate({"role": message.role, "content": message.text}) for message in TALK]
    [expected] = direct.generate([messages], max_new_tokens=6)
    output = ask(model, TALK, max_tokens=6)
    assert output.completion == expected.text
    assert output.stop_reason == ("max_tokens" if expected.stop_reason == "length" else "stop")


def test_it_can_score_options_and_a_scripted_model_only_when_told_how(model: Model) -> None:
    assert isinstance(model.api, MidspecAPI)
    assert isinstance(model.api, OptionScorer)
    assert isinstance(model.api, ManyGenerator)
    assert not isinstance(scripted_model(["hi"]).api, OptionScorer)
    assert isinstance(scripted_model(["hi"], logprob=lambda _, __: -1.0).api, OptionScorer)


@pytest.mark.parametrize("settings", [{"top_p": 0.5}, {"stop_seqs": ["."]}, {"num_choices": 2}, {"logprobs": True}])
def test_a_setting_that_would_be_ignored_is_refused(model: Model, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ask(model, TALK, **settings)


TOOL = ToolInfo(
    name="look",
    description="Looks at a thing.",
    parameters=ToolParams(properties={"at": ToolParam(type="string", description="the thing")}, required=["at"]),
)


def test_tools_are_described_called_and_answered_in_turns_that_any_template_takes() -> None:
    call = ToolCall(id="call-1", function="look", arguments={"at": "</call> the alto"})
    talk = [
        *TALK,
        ChatMessageAssistant(content="I look.", tool_calls=[call]),
        ChatMessageTool(content="a car", function="look", tool_call_id="call-1"),
        ChatMessageUser(content="And?"),
    ]
    plain = plain_messages(talk, [TOOL])
    assert [message.role for message in plain] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert plain[0].content.startswith("you like alto .\n\nYou have tools.")
    assert '- look: Looks at a thing.\n  {"at": {"type": "string"' in plain[0].content
    assert plain[4].content.startswith("I look.\n<call>")
    assert read_calls(plain[4].content).calls == (Call("look", {"at": "</call> the alto"}),)
    assert plain[5].content == "look:\na car\n\nAnd?"
    assert plain_messages(TALK) == [Message.model_validate({"role": m.role, "content": m.text}) for m in TALK]


def test_calls_in_plain_text_become_inspect_s_with_ids_that_count_on_and_a_broken_one_stays_text() -> None:
    said = 'Yes. <call>{"tool": "look", "arguments": {"at": "alto"}}</call> <call>{look}</call>'
    text, calls = split_calls(said, 3)
    assert [(each.id, each.function, each.arguments) for each in calls] == [("call-4", "look", {"at": "alto"})]
    assert text == "Yes.  <call>{look}</call>"
    assert split_calls(" No call. ", 0) == (" No call. ", [])


def test_an_agent_of_inspect_s_works_with_a_model_that_calls_tools_in_text() -> None:
    @tool
    def look() -> Tool:
        async def execute(at: str) -> str:
            """Look at a thing.

            Args:
                at: the thing.
            """
            return f"{at} is red"

        return execute

    def script(messages: Sequence[Message]) -> str:
        said = messages[-1].content
        return "It is red." if "is red" in said else '<call>{"tool": "look", "arguments": {"at": "alto"}}</call>'

    sample = Task(dataset=[Sample(input="What colour is the alto?")], solver=[use_tools(look()), generate()])
    [log] = inspect_eval(sample, model=scripted_model(script), display="none", log_dir="memory://tools")
    assert log.status == "success"
    [done] = log.samples or ()
    assert [message.role for message in done.messages] == ["user", "assistant", "tool", "assistant"]
    assert done.output.completion == "It is red."


def test_a_checkpoint_answers_where_tools_are_offered(model: Model) -> None:
    async def main() -> ModelOutput:
        # Its window is short, so the description of the tool is as well.
        return await model.api.generate(TALK, [TOOL], "none", GenerateConfig(max_tokens=4))

    assert anyio.run(main).stop_reason in ("stop", "max_tokens")


def test_sampling_is_decided_by_the_seed(model: Model) -> None:
    first = [ask(model, TALK, max_tokens=8, temperature=2.0, seed=seed).completion for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_after_closing_it_answers_nothing(model: Model) -> None:
    model.api.close()
    with pytest.raises(RuntimeError):
        ask(model, TALK)


def test_a_script_is_played_in_order_and_over_again() -> None:
    model = scripted_model(["one", ScriptedReply(text="tw", stop_reason="max_tokens")])
    said = [ask(model, TALK) for _ in range(3)]
    assert [(output.completion, output.stop_reason) for output in said] == [
        ("one", "stop"),
        ("tw", "max_tokens"),
        ("one", "stop"),
    ]
