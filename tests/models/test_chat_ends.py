"""What ends a turn: control tokens with and without a name, the next role's token, a text that is no token."""

from __future__ import annotations

import pytest

from midspec.core.errors import DataError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate, generation_ends

from . import chat_templates as t
from .conftest import byte_level
from .test_chat import ENDS, FAMILIES, chat, tokenizer_of


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_of_a_turn_is_found_whether_the_tokenizer_names_it_or_not(family: str) -> None:
    tokenizer = tokenizer_of(family)
    found = tokenizer.convert_ids_to_tokens(list(ChatTemplate(tokenizer).end_ids))
    assert found[0] == tokenizer.eos_token
    assert found == list(dict.fromkeys([tokenizer.eos_token, ENDS.get(family, tokenizer.eos_token).strip()]))


def test_without_a_template_or_with_one_that_refuses_everything_eos_is_left() -> None:
    for template in (None, "{{ raise_exception('no') }}", "{{ messages[3].content }}"):
        tokenizer = byte_level(template, eos_token="<eos>")
        assert ChatTemplate(tokenizer).end_ids == (tokenizer.eos_token_id,)


def test_ends_of_a_generation_config_are_added_unless_they_are_ordinary_words() -> None:
    tokenizer = byte_level(t.CHATML, eos_token="<|im_end|>", unnamed=["<|im_start|>", "<|eom|>"])
    eom = tokenizer.convert_tokens_to_ids("<|eom|>")
    word = tokenizer("Hello")["input_ids"][0]
    assert ChatTemplate(tokenizer, ends=(eom, word)).end_ids == (tokenizer.eos_token_id, eom)
    assert generation_ends(object()) == ()


def test_a_template_whose_end_is_no_token_says_so_and_stops_at_the_text() -> None:
    template = ChatTemplate(tokenizer_of("marks that are no tokens"))
    assert template.stop_texts == ("<|im_end|>",)
    [row] = template.training_rows([chat("a", "b")])[0]
    assert template.tokenizer.decode(row.ids).endswith("assistant\nb<eos>")
    assert [warning.partition(":")[0] for warning in template.warnings] == [
        "the chat template ends no turn with a token",
        "the chat template writes <|im_end|>, <|im_start|> as text",
    ]
    assert ChatTemplate(tokenizer_of("no tokens")).stop_texts == ("\n### User:",)
    assert ChatTemplate(tokenizer_of("chatml")).warnings == []


COMMANDS_TOKENS = ["<|turn|>", "<|/turn|>", "<|answer|>", "<|/answer|>", "<|act|>", "<|/act|>"]
COMMANDS_TOKENS += ["<|user|>", "<|assistant|>", "<|tool|>"]


@pytest.mark.parametrize(
    ("template", "special", "end"),
    [
        (t.COMMAND, COMMANDS_TOKENS, "<|/answer|><|/turn|>"),
        (t.COMMAND_R7B, COMMANDS_TOKENS, "<|/answer|><|/turn|>"),
        (t.EOS_AFTER_ANSWERS, ["<|im_start|>", "<|im_end|>"], "<|im_end|><eos>"),
        (t.EOS_BEHIND_ALL, ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
        (t.ALWAYS_HEADER, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
    ],
)
def test_all_that_ends_a_turn_is_trained_on_and_nothing_of_what_ends_a_chat(
    template: str, special: list[str], end: str
) -> None:
    eos = "<|/turn|>" if "<|/turn|>" in special else "<eos>"
    tokenizer = byte_level(template, eos_token=eos, bos_token="<bos>", special=[one for one in special if one != eos])
    found = ChatTemplate(tokenizer)
    for turns in (["a", "b"], ["a", "b", "c", "d"]):
        trained = ""
        for row in found.training_rows([chat(*turns)])[0]:
            trained += tokenizer.decode(
                [one for one, is_trained in zip(row.ids, row.supervised, strict=True) if is_trained]
            )
        answers = [f"<|answer|>{one}" if "<|answer|>" in special else one for one in turns[1::2]]
        assert trained == "".join(one + end for one in answers)
    names = tokenizer.convert_ids_to_tokens(list(found.end_ids))
    assert sorted(names) == sorted({eos, *(one for one in special if one in end)})


CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}


@pytest.mark.parametrize("template", [t.COMMAND, t.COMMAND_R7B])
def test_of_a_call_that_ends_otherwise_than_an_answer_no_header_is_trained_on(template: str) -> None:
    special = [token for token in COMMANDS_TOKENS if token != "<|/turn|>"]
    tokenizer = byte_level(template, eos_token="<|/turn|>", bos_token="<bos>", special=special)
    asked, called = Message(role="user", content="a"), Message(role="assistant", content="", tool_calls=(CALL,))
    after = [Message(role="tool", content="x"), Message(role="assistant", content="b")]
    for more, ends in (([], ""), (after, "<|answer|>b<|/answer|><|/turn|>")):
        [row] = ChatTemplate(tokenizer).training_rows([Chat(messages=(asked, called, *more))])[0]
        trained = [one for one, is_trained in zip(row.ids, row.supervised, strict=True) if is_trained]
        assert tokenizer.decode(trained) == f"<|act|>look<|/act|><|/turn|>{ends}"


@pytest.mark.parametrize("thought", ["", "Sun."])
@pytest.mark.parametrize("said", ["", "I look."])
def test_an_answer_is_trained_on_behind_what_was_said_beside_a_call_before_it(said: str, thought: str) -> None:
    special = ["<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>"]
    tokenizer = byte_level(t.GPT_OSS_CALLS, eos_token="<|return|>", special=special)
    template = ChatTemplate(tokenizer)
    turns = [
        Message(role="user", content="Weather?"),
        Message(role="assistant", content=said, tool_calls=(CALL,)),
        Message(role="tool", content="sunny"),
        Message(role="assistant", content="It is sunny.", reasoning_content=thought or None),
    ]
    [row] = template.training_rows([Chat(messages=tuple(turns))])[0]
    before = [turn.model_dump(exclude_none=True) for turn in turns[:-1]]
    asked = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    answer = f"<|channel|>{thought}<|end|><|start|>assistant" if thought else ""
    answer += "<|message|>It is sunny.<|return|>"
    assert tokenizer.decode(row.ids) == asked + answer
    trained = tokenizer.decode([one for one, is_trained in zip(row.ids, row.supervised, strict=True) if is_trained])
    beside = f"<|channel|>{said}<|end|><|start|>assistant" if said else ""
    assert trained == f"{beside} to=look<|message|>{{}}<|call|>{answer}"
    with pytest.raises(DataError, match=r"does not write|not how it begins"):  # a turn that is left out is none
        ChatTemplate(
            byte_level(t.GPT_OSS_CALLS.replace("+ m.content }}", "}}"), eos_token="<|return|>", special=special)
        ).training_rows([Chat(messages=tuple(turns))])
