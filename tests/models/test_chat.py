from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import processors

from midspec.core.errors import CheckpointError, DataError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate, tokenize_chat

LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Reasoning of earlier turns is dropped; a last turn without reasoning gets an empty block.
QWEN3 = (
    "{% set ns = namespace(last=-1) %}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% set content = message['content'] %}{% set reason = '' %}"
    "{% if '</think>' in content %}"
    "{% set reason = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n' }}{% if loop.index0 > ns.last and (loop.last or reason) %}"
    "{{ '<think>\n' + reason.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
NANO = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|> {{ m.content }} <|im_end|> "
    "{% else %}<|eot_id|> {{ m.content }} <|im_end|> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> {% endif %}"
)
MISTRAL = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + '<|endoftext|>' }}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)


def chat(*turns: str, system: str | None = None) -> Chat:
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=False)]
    first = [] if system is None else [Message(role="system", content=system)]
    return Chat(messages=(*first, *messages))


def supervised(tokenizer: Any, given_chat: Chat, **args: Any) -> list[str]:
    """The trained-on stretches of a chat, as text."""
    ids, marks = tokenize_chat(tokenizer, given_chat, args)
    assert ids == tokenizer.apply_chat_template(
        [message.model_dump() for message in given_chat.messages], tokenize=True, return_dict=False, **args
    ), "the tokens are those of the template itself"
    stretches: list[list[int]] = []
    for number, (token, mark) in enumerate(zip(ids, marks, strict=True)):
        if mark and (number == 0 or not marks[number - 1]):
            stretches.append([])
        if mark:
            stretches[-1].append(token)
    return [tokenizer.decode(stretch) for stretch in stretches]


@pytest.mark.parametrize(
    ("template", "end"),
    [(None, "<|im_end|>"), (DEFAULT_SYSTEM, "<|im_end|>"), (LLAMA3, "<|eot_id|>"), (MISTRAL, "<|endoftext|>")],
    ids=["chatml", "default system", "llama3", "mistral"],
)
def test_only_assistant_turns_are_trained_on_with_their_end(
    byte_tokenizer: Any, template: str | None, end: str
) -> None:
    if template is not None:
        byte_tokenizer.chat_template = template
    space = " " if template == MISTRAL else ""
    turns = chat("Who are you?", "I am the assistant.", "And today?", "Fine, you?")
    assert supervised(byte_tokenizer, turns) == [space + "I am the assistant." + end, space + "Fine, you?" + end]
    if template != MISTRAL:
        with_system = chat("Hello", "Hello there", system="Be brief.")
        assert supervised(byte_tokenizer, with_system) == ["Hello there" + end]


def test_the_nano_style_with_spaces_around_everything(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = NANO
    assert supervised(byte_tokenizer, chat("a b", "c d", "e", "f")) == ["c d <|im_end|>", "f <|im_end|>"]


def test_a_template_that_drops_earlier_reasoning(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = QWEN3
    reasoned = chat("One?", "<think>\nfirst\n</think>\n\nYes.", "Two?", "<think>\nsecond\n</think>\n\nNo.")
    assert supervised(byte_tokenizer, reasoned) == ["Yes.<|im_end|>", "<think>\nsecond\n</think>\n\nNo.<|im_end|>"]
    plain = chat("One?", "Yes.", "Two?", "No.")
    assert supervised(byte_tokenizer, plain) == ["Yes.<|im_end|>", "<think>\n\n</think>\n\nNo.<|im_end|>"]


def test_its_switch_moves_the_empty_reasoning_into_the_prompt(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = QWEN3
    assert supervised(byte_tokenizer, chat("One?", "Yes."), enable_thinking=False) == ["Yes.<|im_end|>"]


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = "{{ strftime_now('%d %b %Y') + '\n' }}" + byte_tokenizer.chat_template
    turns = chat("a", "b").messages
    assert ChatTemplate(byte_tokenizer).render(turns).startswith("26 Jul 2024\n<|im_start|>user")
    assert len(ChatTemplate(byte_tokenizer).spans(turns)[1]) == 1


def test_what_the_user_says_can_look_like_an_answer(byte_tokenizer: Any) -> None:
    turns = chat("Say: Yes.", "Yes.", "Yes.", "Yes.")
    assert supervised(byte_tokenizer, turns) == ["Yes.<|im_end|>"] * 2


def test_a_space_that_the_template_puts_first_is_the_models_to_write(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = MISTRAL
    ids, marks = tokenize_chat(byte_tokenizer, chat("a", " the assistant"))
    first = marks.index(True)
    assert byte_tokenizer.decode(ids[first:]) == "  the assistant<|endoftext|>"
    assert byte_tokenizer.decode(ids[:first]).endswith("[/INST]")


def test_tokens_of_white_space_are_trained_on_where_offsets_leave_it_out(byte_tokenizer: Any) -> None:
    byte_tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert supervised(byte_tokenizer, chat("a   b", "if x:\n    y   \n z")) == ["if x:\n    y   \n z<|im_end|>"]


words = st.text(alphabet="ab {}é\n.<", min_size=1, max_size=12).filter(lambda text: text.strip() != "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(turns=st.lists(words, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0))
@pytest.mark.parametrize("template", [None, LLAMA3, QWEN3])
def test_every_chat_gives_back_its_answers(byte_tokenizer: Any, template: str | None, turns: list[str]) -> None:
    if template is not None:
        byte_tokenizer.chat_template = template
    got = supervised(byte_tokenizer, chat(*turns))
    answers = [answer.removesuffix("<|im_end|>").removesuffix("<|eot_id|>") for answer in got]
    answers = [answer.removeprefix("<think>\n\n</think>\n\n") for answer in answers]
    assert [answer.strip() for answer in answers] == [turn.strip() for turn in turns[1::2]]


def test_without_a_template_the_mend_is_said(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match=r"no chat template.*chat-tuned"):
        tokenize_chat(byte_tokenizer, chat("a", "b"))


def test_what_a_template_refuses_is_said_in_its_own_words(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = MISTRAL
    with pytest.raises(DataError, match="Only user and assistant roles are supported"):
        tokenize_chat(byte_tokenizer, chat("a", "b", system="c"))


ANOTHER_PROMPT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}bot: {% endif %}"
)
CHANGING_HEAD = (
    "{{ messages | length }}{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.parametrize("template", [ANOTHER_PROMPT, CHANGING_HEAD], ids=["another prompt", "a head that changes"])
def test_a_template_that_can_not_be_followed_is_refused(byte_tokenizer: Any, template: str) -> None:
    byte_tokenizer.chat_template = template
    with pytest.raises(DataError, match="template"):
        tokenize_chat(byte_tokenizer, chat("a", "b", "c", "d"))


def test_the_tokens_that_end_a_turn(byte_tokenizer: Any) -> None:
    ids = byte_tokenizer.convert_tokens_to_ids
    assert ChatTemplate(byte_tokenizer).end_ids == (ids("<|endoftext|>"), ids("<|im_end|>"))
    byte_tokenizer.chat_template = MISTRAL
    assert ChatTemplate(byte_tokenizer).end_ids == (ids("<|endoftext|>"),)
    byte_tokenizer.chat_template = None
    assert ChatTemplate(byte_tokenizer).end_ids == (ids("<|endoftext|>"),)
