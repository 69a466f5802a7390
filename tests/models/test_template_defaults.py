"""Switches and a system message that are written into a chat template, as whoever reads the checkpoint gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from midspec.core.errors import ConfigError
from midspec.models import ChatTemplate, default_system_text, named_assistant, set_template_defaults

from . import chat_templates as t
from .conftest import byte_level
from .test_chat import FAMILIES, tokenizer_of

ASK: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
CHAT: list[dict[str, Any]] = [*ASK, {"role": "assistant", "content": "Hi."}]


def rendered(tokenizer: Any, turns: list[dict[str, Any]], **args: Any) -> str:
    return str(tokenizer.apply_chat_template(turns, tokenize=False, **args))


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_written_where_nothing_is_asked_for_and_a_switch_that_nobody_reads_changes_nothing(
    family: str,
) -> None:
    tokenizer = tokenizer_of(family)
    before = tokenizer.chat_template
    assert set_template_defaults(tokenizer, {}).chat_template == before
    plain = [rendered(tokenizer, turns, add_generation_prompt=ask) for turns in (ASK, CHAT) for ask in (True, False)]
    set_template_defaults(tokenizer, {"some_switch": True})
    assert plain == [
        rendered(tokenizer, turns, add_generation_prompt=ask) for turns in (ASK, CHAT) for ask in (True, False)
    ]


@pytest.mark.parametrize("first", ["\n", "  ", "\n  {% if true %}x{% endif %}", "{%- if true %}x{% endif %}"])
def test_white_space_at_the_head_of_a_template_stays_as_it_is(first: str) -> None:
    tokenizer = byte_level(first + t.CHATML, eos_token="<eos>")
    before = rendered(tokenizer, CHAT)
    assert rendered(set_template_defaults(tokenizer, {"a": 1}, None), CHAT) == before


def test_a_switch_is_saved_with_the_tokenizer_and_gives_way_to_whoever_says_otherwise(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("qwen 3")
    wanted = rendered(tokenizer, ASK, add_generation_prompt=True, enable_thinking=False)
    thinking = rendered(tokenizer, ASK, add_generation_prompt=True)
    set_template_defaults(tokenizer, {"enable_thinking": False})
    tokenizer.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert rendered(opened, ASK, add_generation_prompt=True) == wanted != thinking
    assert rendered(opened, ASK, add_generation_prompt=True, enable_thinking=True) == thinking
    once = opened.chat_template
    assert set_template_defaults(opened, {"enable_thinking": False}).chat_template == once, "said twice, written once"
    later = set_template_defaults(opened, {"enable_thinking": True})
    assert rendered(later, ASK, add_generation_prompt=True) == thinking, "a later stage's own goes first"


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(value=values)
def test_every_value_is_read_by_the_template_as_it_was_given(value: Any) -> None:
    tokenizer = byte_level("{{ switch | tojson }}", eos_token="<eos>")
    given_by_hand = rendered(tokenizer, ASK, switch=value)
    assert rendered(set_template_defaults(tokenizer, {"switch": value}), ASK) == given_by_hand


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=20))
def test_a_default_system_message_is_one_that_the_chat_could_have_brought(text: str) -> None:
    tokenizer = tokenizer_of("named system")
    brought = rendered(tokenizer, [{"role": "system", "content": text}, *CHAT])
    own = rendered(tokenizer, [{"role": "system", "content": "Be brief."}, *CHAT])
    set_template_defaults(tokenizer, {}, text)
    assert rendered(tokenizer, CHAT) == brought
    assert rendered(tokenizer, [{"role": "system", "content": "Be brief."}, *CHAT]) == own


def test_named_templates_all_get_the_defaults() -> None:
    tokenizer = byte_level(None, eos_token="<eos>")
    tokenizer.chat_template = {"default": t.QWEN3, "tool_use": t.QWEN3}
    set_template_defaults(tokenizer, {"enable_thinking": False})
    assert all("enable_thinking = false" in text for text in tokenizer.chat_template.values())


@pytest.mark.parametrize("name", ["enable-thinking", "messages", "a b", "{{", ""])
def test_what_is_no_switch_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no switch of a chat template"):
        set_template_defaults(tokenizer_of("qwen 3"), {name: 1})


@pytest.mark.parametrize(
    ("template", "text", "named"),
    [
        (t.NAMED_SYSTEM, "You are Qwen, made by Alibaba.", "Qwen"),
        (t.CHATML, "", None),
        (t.NAMED_SYSTEM.replace("Qwen, made by Alibaba", "a helpful assistant"), "You are a helpful assistant.", None),
        (
            t.NAMED_SYSTEM.replace("Qwen, made by Alibaba", "a helpful AI named SmolLM"),
            "You are a helpful AI named SmolLM.",
            "SmolLM",
        ),
        (t.NAMED_SYSTEM.replace("You are Qwen, made by", "A model by"), "A model by Alibaba.", "Alibaba"),
    ],
)
def test_the_text_that_a_template_adds_and_whom_it_names(template: str, text: str, named: str | None) -> None:
    tokenizer = byte_level(template, eos_token="<|im_end|>", special=["<|im_start|>"])
    assert default_system_text(ChatTemplate(tokenizer)) == text
    assert named_assistant(text) == named
    set_template_defaults(tokenizer, {}, "You are Ada.")
    assert default_system_text(ChatTemplate(tokenizer)) == "You are Ada."
