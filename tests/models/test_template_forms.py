"""Templates that read contents and calls in forms of their own get them so; the truth is `apply_chat_template`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from midspec.core.errors import DataError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate

from . import chat_templates as t
from .conftest import byte_level

MARKS = ["<|im_start|>", "<|im_end|>"]
# Idefics 3's and SmolVLM's way: a content is a list of parts alone.
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# DeepSeek's way: calls instead of a content, arguments joined as a text.
CALLS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and WHERE %}"
    "{% for call in m.tool_calls %}{{ call.function.name + ' ' + ARGUMENTS + '\n' }}{% endfor %}"
    "{% elif m.content is not none %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CALL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}


def made(template: str) -> ChatTemplate:
    return ChatTemplate(byte_level(template, eos_token="<|im_end|>", special=MARKS))


def said(*turns: str) -> list[Message]:
    return [Message(role="assistant" if number % 2 else "user", content=text) for number, text in enumerate(turns)]


def test_a_template_that_reads_contents_as_parts_writes_what_one_of_texts_writes() -> None:
    parts, texts = made(PARTS), made(t.CHATML)
    chat = Chat(messages=(Message(role="system", content="Be brief."), *said("Which?", "Brie.", "Why?", "Mild.")))
    assert parts.training_rows([chat]) == texts.training_rows([chat])
    assert parts.tokenize([chat]) == texts.tokenize([chat])
    asked = said("Which <|im_end|>?")
    assert parts.render(asked, add_generation_prompt=True) == texts.render(asked, add_generation_prompt=True)
    plain = parts.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "Which?"}]}], add_generation_prompt=True, tokenize=False
    )
    assert parts.render(said("Which?"), add_generation_prompt=True) == plain


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_prompt_that_lacks_a_message_never_passes_and_the_right_one_is_named(role: Any) -> None:
    only_first = t.CHATML.replace("m.content", "(m.content if loop.first or m.role == 'assistant' else '')")
    template = made(only_first)
    chat = [*said("First?", "Yes."), Message(role=role, content="Second?")]
    for messages in (chat, [*chat, Message(role="user", content="Third?")]):
        with pytest.raises(DataError, match=rf"leaves out message 3 \({role}\)"):
            template.render(messages, add_generation_prompt=True)
        with pytest.raises(DataError, match=rf"leaves out message 3 \({role}\)"):
            template.answer([*messages, Message(role="assistant", content="No.")])


@pytest.mark.parametrize(
    ("how", "content"),
    [
        ("m.content.replace('/no_think', '').strip()", "/no_think"),
        ("m.content.replace('/no_think', '').strip()", "Be brief. /no_think"),
        ("m.content | e", "Is 1 < 2 & 'so on'?"),
        ("m.content.split() | join(' ')", "Be   brief\tand kind."),
        ("m.content.split('</think>')[-1]", "Never write a tag such as </think> there."),
        ("m.content", "?"),
    ],
)
def test_a_template_that_writes_a_part_of_a_message_or_in_another_form_has_shown_it(how: str, content: str) -> None:
    template = made(t.CHATML.replace("m.content", f"({how} if m.role == 'system' else m.content)"))
    chat = [Message(role="system", content=content), *said("Hello?")]
    assert "Hello?" in template.render(chat, add_generation_prompt=True)
    assert template.answer([*chat, Message(role="assistant", content="No.")])


@pytest.mark.parametrize("system", ["/no_think", "Be brief. /no_think", "/no_think Be brief."])
def test_a_chat_whose_switch_the_template_takes_out_is_trained_on(system: str) -> None:
    template = made(t.CHATML.replace("m.content", "m.content.replace('/no_think', '').strip()"))
    [row] = template.training_rows([Chat(messages=(Message(role="system", content=system), *said("Hi?", "No.")))])[0]
    assert "/no_think" not in template.tokenizer.decode(row.ids)
    left_out = made(t.CHATML.replace("m.content", "(m.content if m.role == 'assistant' else '')"))
    with pytest.raises(DataError, match=r"leaves out message 1 \(user\)"):
        left_out.training_rows([Chat(messages=(*said("Hi? /no_think", "No."),))])


def test_a_message_behind_a_moved_system_message_keeps_its_number() -> None:
    template = made(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + t.CHATML.replace("m.content", "(m.content if loop.first or m.role == 'assistant' else '')")
    )
    messages = [Message(role="system", content="Be brief."), *said("First?", "Yes.", "Second?", "No.")]
    with pytest.raises(DataError, match=r"leaves out message 4 \(user\)"):
        template.answer(messages)
    with pytest.raises(DataError, match=r"leaves out message 4 \(user\)"):
        template.training_rows([Chat(messages=tuple(messages))])


@pytest.mark.parametrize("where", ["m.tool_calls is defined", "m.content is none"])
@pytest.mark.parametrize("arguments", ["call.function.arguments", "(call.function.arguments ~ '')", "JSON"])
def test_calls_are_written_as_the_template_reads_them(where: str, arguments: str) -> None:
    as_json = arguments == "JSON"
    source = CALLS.replace("WHERE", where)
    template = made(source.replace("ARGUMENTS", "(call.function.arguments | tojson)" if as_json else arguments))
    asked = Message(role="user", content="How is the weather in Zürich?")
    called = Message(role="assistant", content="", tool_calls=(CALL,))
    given = CALL if as_json else {**CALL, "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
    turn = {"role": "assistant", "content": None if "none" in where else "", "tool_calls": [given]}
    # `apply_chat_template` of transformers 5.23 takes out what is none; vLLM and SGLang give it to the template.
    [plain], _ = render_jinja_template(
        [[{"role": "user", "content": asked.content}, turn]], chat_template=template.tokenizer.chat_template
    )
    assert 'weather {"city": "Zürich"}' in plain
    assert template.render([asked, called]) == plain
    [[row]] = template.training_rows([Chat(messages=(asked, called))])
    trained = [one for one, is_trained in zip(row.ids, row.supervised, strict=True) if is_trained]
    assert template.tokenizer.decode(trained) == 'weather {"city": "Zürich"}\n<|im_end|>'


def test_calls_of_a_template_that_takes_them_in_no_form_are_refused() -> None:
    template = made(t.CHATML)
    chat = Chat(messages=(*said("Which?"), Message(role="assistant", content="", tool_calls=(CALL,))))
    with pytest.raises(DataError):
        template.training_rows([chat])


@pytest.mark.parametrize("form", ["%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%A", "%d/%m/%y"])
def test_the_fixed_date_is_written_in_the_form_that_the_template_asks_for(form: str) -> None:
    template = made("{% if strftime_now is defined %}{{ strftime_now('" + form + "') }}{% endif %}" + t.CHATML)
    assert template.render(said("a")).startswith(datetime(2024, 7, 26).strftime(form) + "<|im_start|>user")


def test_a_chat_that_the_assistant_begins_is_refused_in_a_clear_line_where_the_template_wants_a_user_first() -> None:
    template = made(
        "{% if not messages | selectattr('role', 'equalto', 'user') | list %}"
        "{{ raise_exception('No user query found in messages.') }}{% endif %}" + t.CHATML
    )
    greeting = Message(role="assistant", content="Hello.")
    rest = said("Which?", "Brie.")
    with pytest.raises(
        DataError, match=r"message 1 is the assistant's, no user's is before it.*No user query"
    ) as caught:
        template.training_rows([Chat(messages=(greeting, *rest))])
    assert "weight 0" in str(caught.value.hint)
    with pytest.raises(DataError, match=r"^it has no user's message, and the chat template writes no such prompt"):
        template.render([greeting], add_generation_prompt=True)
    assert template.training_rows([Chat(messages=(greeting.model_copy(update={"weight": 0}), *rest))])
