"""`midspec/<checkpoint>` as an Inspect model for any task, and the scripted one."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
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
from inspect_ai.tool import ToolInfo

from midspec.core.errors import ConfigError
from midspec.core.records import Message
from midspec.evals import ManyGenerator, MidspecAPI, OptionScorer, ScriptedReply, scripted_model
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


def test_tools_and_their_messages_are_refused(model: Model) -> None:
    async def main() -> None:
        tool = ToolInfo(name="look", description="looks")
        await model.api.generate(TALK, [tool], "auto", GenerateConfig())

    with pytest.raises(ConfigError, match="tools"):
        anyio.run(main)
    with pytest.raises(ConfigError, match="tool message"):
        ask(model, [*TALK, ChatMessageTool(content="seen", function="look")])


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
