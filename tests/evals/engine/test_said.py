"""What was thought and what was said are kept apart, however a model marks its thoughts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ContentReasoning, ContentText, ModelOutput

from midspec.core.reasoning import split_reasoning
from midspec.evals._inspect_task import response_of


@pytest.mark.parametrize(
    ("text", "reasoning", "said"),
    [
        ("plain answer ", "", "plain answer "),
        ("<think>a plan</think>\n\nthe answer", "a plan", "the answer"),
        ("<think>never closed", "never closed", ""),
        ("opened by the template</think> the answer", "opened by the template", "the answer"),
        ("<think>one</think> aside <think>two</think> the answer", "one aside two", "the answer"),
        ("the answer <think>cut", "cut", "the answer"),
        ("<think></think>", "", ""),
    ],
)
def test_thoughts_are_no_part_of_the_answer(text: str, reasoning: str, said: str) -> None:
    thought, aloud = split_reasoning(text)
    assert (" ".join(thought.split()), aloud) == (reasoning, said)


@given(st.text(alphabet="ab <>/think\n", max_size=60))
def test_no_tag_of_thinking_is_ever_left_in_an_answer_that_had_one(text: str) -> None:
    _, aloud = split_reasoning(text)
    assert "<think>" not in aloud
    assert "</think>" not in aloud


def test_a_thought_that_was_cut_off_leaves_an_empty_answer() -> None:
    assert split_reasoning("<think> hm, hm") == ("hm, hm", "")


def test_an_output_without_any_choice_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match="gave no answer"):
        response_of(ModelOutput(model="m"))


def test_of_a_thought_that_the_provider_hides_only_its_summary_is_kept() -> None:
    hidden = ContentReasoning(reasoning="gAAAAAB", summary="it adds up", redacted=True)
    message = ChatMessageAssistant(content=[hidden, ContentReasoning(reasoning="two"), ContentText(text="2")])
    said = response_of(ModelOutput(model="m", choices=[ChatCompletionChoice(message=message)]))
    assert (said.text, said.reasoning) == ("2", "it adds up\ntwo")
