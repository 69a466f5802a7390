"""Chats as tokens: what is trained on is what generating from the template's own prompt would be asked to give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from midspec.core.errors import CheckpointError, DataError
from midspec.core.records import Chat, Message
from midspec.models import ChatTemplate

from . import chat_templates as t
from .conftest import byte_level

HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
# Each with the tokens that its family has: those with a name, those listed as special, those special in tokenizer.json.
FAMILIES: dict[str, dict[str, Any]] = {
    "chatml": {"template": t.CHATML, "eos_token": "<|im_end|>", "special": ["<|im_start|>"]},
    "named system": {"template": t.NAMED_SYSTEM, "eos_token": "<|im_end|>", "special": ["<|im_start|>"]},
    "llama 3": {"template": t.LLAMA3, "eos_token": "<eos>", "bos_token": "<bos>", "special": HEADERS},
    "always a header": {"template": t.ALWAYS_HEADER, "eos_token": "<eos>", "bos_token": "<bos>", "special": HEADERS},
    "r1": {"template": t.R1, "eos_token": "<eos>", "bos_token": "<bos>", "special": ["<|User|>", "<|Assistant|>"]},
    "qwq": {"template": t.QWQ, "eos_token": "<|im_end|>", "special": ["<|im_start|>"]},
    "qwen 3": {"template": t.QWEN3, "eos_token": "<|im_end|>", "special": ["<|im_start|>"]},
    "qwen 3 thinking": {"template": t.QWEN3_THINKING, "eos_token": "<|im_end|>", "special": ["<|im_start|>"]},
    "gpt-oss": {
        "template": t.GPT_OSS,
        "eos_token": "<|return|>",
        "unnamed": ["<|start|>", "<|end|>", "<|message|>", "<|channel|>"],
    },
    "phi 3": {
        "template": t.PHI3,
        "eos_token": "<eos>",
        "unnamed": ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"],
    },
    "gemma": {
        "template": t.GEMMA,
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unnamed": ["<start_of_turn>", "<end_of_turn>"],
    },
    "gemma 4": {
        "template": t.GEMMA4,
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unnamed": ["<|turn>", "<turn|>", "<|channel>", "<channel|>"],
    },
    "nemotron": {"template": t.NEMOTRON, "eos_token": "<SPECIAL_12>", "special": ["<SPECIAL_11>"]},
    "glm": {"template": t.GLM, "eos_token": "<eos>", "unnamed": ["<|user|>", "<|assistant|>", "<|observation|>"]},
    "mistral": {"template": t.MISTRAL, "eos_token": "</s>", "bos_token": "<s>"},
    "mistral with system": {"template": t.MISTRAL_SYSTEM, "eos_token": "</s>", "bos_token": "<s>"},
    "nano": {"template": t.NANO, "eos_token": "<eos>", "special": ["<|im_start|>", "<|im_end|>", "<|eot_id|>"]},
    "no tokens": {"template": t.PLAIN, "eos_token": "<eos>"},
    "marks that are no tokens": {"template": t.CHATML, "eos_token": "<eos>"},
}
ENDS = {
    "chatml": "<|im_end|>",
    "named system": "<|im_end|>",
    "llama 3": "<|eot_id|>",
    "always a header": "<|eot_id|>",
    "qwq": "<|im_end|>",
    "qwen 3": "<|im_end|>",
    "qwen 3 thinking": "<|im_end|>",
    "gpt-oss": "<|return|>",
    "phi 3": "<|end|>",
    "gemma": "<end_of_turn>",
    "gemma 4": "<turn|>",
    "nemotron": "\n<SPECIAL_12>",
    "glm": "<|user|>",
    "mistral": "</s>",
    "mistral with system": "</s>",
    "nano": " <|im_end|>",
}


def tokenizer_of(family: str) -> Any:
    settings_of = dict(FAMILIES[family])
    return byte_level(settings_of.pop("template"), **settings_of)


def chat(*turns: str, system: str | None = None) -> Chat:
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=False)]
    first = [] if system is None else [Message(role="system", content=system)]
    return Chat(messages=(*first, *messages))


def given_to_generate(tokenizer: Any, messages: tuple[Message, ...], **args: Any) -> list[int]:
    """The library's own prompt for the turn after `messages`."""
    turns = [message.model_dump(exclude={"weight"}) for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=False, **args
    )
    return ids


def trained(tokenizer: Any, given_chat: Chat, **args: Any) -> list[str]:
    """The trained-on stretches of a chat, as text; each stands behind what generating is given."""
    rows = ChatTemplate(tokenizer, args).training_rows([given_chat])[0]
    turns = [at for at, m in enumerate(given_chat.messages) if m.role == "assistant" and m.weight]
    stretches = []
    for ids, marks in rows:
        starts = [at for at, mark in enumerate(marks) if mark and (at == 0 or not marks[at - 1])]
        for start in starts:
            end = next((at for at in range(start, len(ids)) if not marks[at]), len(ids))
            wanted = given_to_generate(tokenizer, given_chat.messages[: turns[len(stretches)]], **args)
            assert ids[:start] == wanted, "the tokens before a turn are those that generating is given"
            stretches.append(tokenizer.decode(ids[start:end]))
    assert len(stretches) == len(turns)
    return stretches


@pytest.mark.parametrize("family", ENDS)
def test_only_assistant_turns_are_trained_on_with_their_end(family: str) -> None:
    tokenizer = tokenizer_of(family)
    space = " " if family.startswith("mistral") else ""
    block = {"qwen 3": "<think>\n\n</think>\n\n", "qwen 3 thinking": "\n</think>\n\n", "qwq": "\n</think>\n\n"}
    before = block.get(family, "<|channel|>final<|message|>" if family == "gpt-oss" else space)
    wanted = [before + answer + ENDS[family] for answer in ("I am the assistant.", "Fine, you?")]
    assert trained(tokenizer, chat("Who are you?", "I am the assistant.", "And today?", "Fine, you?")) == wanted


@pytest.mark.parametrize("family", ["chatml", "named system", "llama 3", "always a header", "phi 3", "gemma", "nano"])
def test_a_row_is_what_the_template_writes_of_the_whole_chat_where_it_keeps_its_turns(family: str) -> None:
    tokenizer = tokenizer_of(family)
    turns = chat("Who are you?", "I am the assistant.", "And today?", "Fine, you?")
    [row] = ChatTemplate(tokenizer).training_rows([turns])[0]
    messages = [{"role": message.role, "content": message.content} for message in turns.messages]
    assert row.ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)


REASONED = chat("One?", "<think>\nfirst\n</think>\n\nYes.", "Two?", "<think>\nsecond\n</think>\n\nNo.")


@pytest.mark.parametrize("family", ["r1", "qwq", "qwen 3", "qwen 3 thinking"])
def test_no_turn_is_trained_on_without_its_reasoning(family: str) -> None:
    tokenizer = tokenizer_of(family)
    end = "<eos>" if family == "r1" else "<|im_end|>"
    opened = "<think>\n" if family == "qwen 3" else ""
    wanted = [f"{opened}{why}\n</think>\n\n{said}{end}" for why, said in (("first", "Yes."), ("second", "No."))]
    assert trained(tokenizer, REASONED) == wanted


@pytest.mark.parametrize("family", ["r1", "qwq", "qwen 3", "qwen 3 thinking", "gpt-oss"])
def test_reasoning_in_a_field_of_its_own_is_trained_on_like_reasoning_in_the_text(family: str) -> None:
    tokenizer = tokenizer_of(family)
    answer = Message(role="assistant", content="Yes.", reasoning_content="because")
    in_field = Chat(messages=(Message(role="user", content="One?"), answer))
    [said] = trained(tokenizer, in_field)
    if family == "gpt-oss":
        assert (
            said
            == "<|channel|>analysis<|message|>because<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
        )
    else:
        assert [said] == trained(tokenizer, chat("One?", "<think>\nbecause\n</think>\n\nYes."))


def test_reasoning_that_says_the_same_as_the_answer_is_not_taken_for_it() -> None:
    tokenizer = tokenizer_of("r1")
    tokenizer.chat_template = t.R1.replace("<think>\n", "")
    assert trained(tokenizer, chat("One?", "<think>\nYes.\n</think>\n\nYes.")) == [
        "<think>\nYes.\n</think>\n\nYes.<eos>"
    ]


def test_reasoning_without_line_feeds_stays_so_where_the_prompt_has_none() -> None:
    tokenizer = byte_level(t.V31, eos_token="<eos>", bos_token="<bos>", special=["<|User|>", "<|Assistant|>"])
    assert trained(tokenizer, chat("One?", "<think>why</think>Yes."), thinking=True) == ["why</think>Yes.<eos>"]
    assert trained(tokenizer, chat("One?", "Yes."), thinking=False) == ["Yes.<eos>"]


def test_a_switch_that_closes_reasoning_beforehand_trains_every_turn_behind_the_closed_block() -> None:
    tokenizer = tokenizer_of("qwen 3")
    two = chat("One?", "Yes.", "Two?", "No.")
    assert trained(tokenizer, two, enable_thinking=False) == ["Yes.<|im_end|>", "No.<|im_end|>"]
    with pytest.raises(DataError, match=r"message 2 has reasoning.*closes it beforehand"):
        trained(tokenizer, REASONED, enable_thinking=False)


@pytest.mark.parametrize("family", ["gemma 4", "nemotron"])
def test_reasoning_behind_a_prompt_that_closes_it_is_refused(family: str) -> None:
    with pytest.raises(DataError, match=r"message 2 has reasoning, and .* prompt closes it beforehand"):
        trained(tokenizer_of(family), chat("One?", "<think>\nfirst\n</think>\n\nYes."))


def test_reasoning_that_a_template_has_no_place_for_is_refused() -> None:
    answer = Message(role="assistant", content="Yes.", reasoning_content="because")
    with pytest.raises(DataError, match="message 2 has reasoning, for which the chat template has no place"):
        trained(tokenizer_of("llama 3"), Chat(messages=(Message(role="user", content="One?"), answer)))


def test_chats_that_become_several_rows_and_empty_reasoning_are_counted() -> None:
    template = ChatTemplate(tokenizer_of("qwen 3"))
    rows = template.training_rows([chat("One?", "Yes."), chat("One?", "Yes.", "Two?", "No."), REASONED])
    assert [len(of_chat) for of_chat in rows] == [1, 2, 2]
    assert [note.rpartition(": ")[2] for note in template.notes] == ["2 (4 rows)", "3"]


@pytest.mark.parametrize("family", ["qwen 3", "r1", "chatml"])
def test_an_answer_whose_reasoning_never_ends_is_told(family: str) -> None:
    def told(answer: str) -> bool:
        template = ChatTemplate(tokenizer_of(family))
        template.training_rows([chat("One?", answer)])
        return any(note.startswith("answers that open reasoning and never close it") for note in template.notes)

    assert told("<think>\nOn the one hand, and on the")
    assert not told("<think>\nfirst\n</think>\n\nYes.")
    assert not told("It is written between <think> tags.")


@pytest.mark.parametrize(
    ("arguments", "is_told"),
    [({"q": "x"}, False), ({}, False), ('{"q": ', True), ('{"q": "x"}', True), (["x"], True), (None, True)],
)
def test_a_call_whose_arguments_are_no_object_is_told(arguments: JsonValue, is_told: bool) -> None:
    call: dict[str, JsonValue] = {"type": "function", "function": {"name": "look", "arguments": arguments}}
    turn = Message(role="assistant", content="", tool_calls=(call,))
    template = ChatTemplate(tokenizer_of("qwen 3"))
    template.training_rows([Chat(messages=(Message(role="user", content="One?"), turn))])
    assert any(note.startswith("answers that call a tool with arguments") for note in template.notes) is is_told


def test_the_last_turn_alone_can_be_had_behind_its_prompt() -> None:
    for family in ("chatml", "r1", "qwen 3", "gpt-oss", "no tokens"):
        tokenizer = tokenizer_of(family)
        [row] = ChatTemplate(tokenizer).tokenize([chat("One?", "Yes.", "Two?", "No.")])
        prompt = given_to_generate(tokenizer, chat("One?", "Yes.", "Two?").messages)
        assert row.ids[: len(prompt)] == prompt
        assert row.supervised == [False] * len(prompt) + [True] * (len(row.ids) - len(prompt))


def test_a_turn_of_weight_0_is_seen_and_not_trained_on() -> None:
    messages = (
        Message(role="user", content="One?"),
        Message(role="assistant", content="Wrong.", weight=0),
        Message(role="user", content="No, one?"),
        Message(role="assistant", content="Right."),
    )
    for family, end in (("chatml", "<|im_end|>"), ("gpt-oss", "<|return|>")):
        tokenizer = tokenizer_of(family)
        said = trained(tokenizer, Chat(messages=messages))
        assert [text.rpartition("<|message|>")[2] for text in said] == ["Right." + end]
        [row] = ChatTemplate(tokenizer).training_rows([Chat(messages=messages)])[0]
        assert "Wrong." in tokenizer.decode(row.ids)
    nothing = Chat(messages=messages[:2])
    with pytest.raises(DataError, match="without an assistant turn to train on"):
        trained(tokenizer_of("chatml"), nothing)


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALLS = (
    Message(role="user", content="Rome?"),
    Message(role="assistant", content="I look.", tool_calls=(CALL,)),
    Message(role="tool", content="20 C, no clouds", tool_call_id="1"),
    Message(role="assistant", content="It is sunny."),
)


def test_calls_of_tools_are_trained_on_as_the_template_writes_them() -> None:
    tokenizer = tokenizer_of("qwen 3")
    said = trained(tokenizer, Chat(messages=CALLS), enable_thinking=False)
    assert said[0] == 'I look.\n<tool_call>\nweather {"city": "Rome"}\n</tool_call><|im_end|>'
    assert said[1] == "It is sunny.<|im_end|>"
    rows = ChatTemplate(tokenizer).training_rows([Chat(messages=CALLS, tools=(TOOL,))])[0]
    assert all(tokenizer.decode(row.ids).startswith('<|im_start|>system\n{"type": "function"') for row in rows)


def test_a_call_ends_with_the_token_of_what_answers_it_where_the_next_role_ends_a_turn() -> None:
    assert trained(tokenizer_of("glm"), Chat(messages=CALLS)) == [
        "I look.<tool_call>weather<|observation|>",
        "It is sunny.<|user|>",
    ]


@pytest.mark.parametrize(
    ("messages", "tools", "says"),
    [
        (CALLS[:2], (), "message 2 as it is"),
        ((*CALLS[:1], Message(role="assistant", content="Yes.")), (TOOL,), "leaves out the tool weather"),
    ],
)
def test_what_a_template_leaves_out_is_refused(messages: tuple[Message, ...], tools: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ChatTemplate(tokenizer_of("chatml")).training_rows([Chat(messages=messages, tools=tools)])


def test_a_message_that_a_template_leaves_out_is_refused() -> None:
    tokenizer = tokenizer_of("chatml")
    tokenizer.chat_template = t.CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'tool' %}")
    messages = (*CALLS[:1], Message(role="assistant", content="I look."), *CALLS[2:])
    with pytest.raises(DataError, match=r"leaves out message 3 \(tool\)"):
        ChatTemplate(tokenizer).training_rows([Chat(messages=messages)])


@pytest.mark.parametrize("template", [t.GEMMA2, t.DROPS_SYSTEM, t.MISTRAL], ids=["refused", "dropped", "other roles"])
def test_a_system_message_that_a_template_does_not_take_heads_the_first_question(template: str) -> None:
    marks = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = byte_level(template, eos_token="<eos>", bos_token="<bos>", special=marks)
    made = ChatTemplate(tokenizer)
    system = chat("Which cheese?", "Brie.", system="Be brief.")
    moved = chat("Be brief.\n\nWhich cheese?", "Brie.")
    assert made.training_rows([system]) == made.training_rows([moved])
    assert made.render(system.messages[:2], add_generation_prompt=True) == made.render(
        moved.messages[:1], add_generation_prompt=True
    )
    assert len(made.prompt_notes) == 1
    assert ChatTemplate(tokenizer_of("chatml")).render(system.messages).startswith("<|im_start|>system\nBe brief.")


def test_a_template_that_writes_the_date_writes_the_same_one_every_day(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = "{{ strftime_now('%d %b %Y') + '\n' }}" + byte_tokenizer.chat_template
    turns = chat("a", "b")
    assert ChatTemplate(byte_tokenizer).render(turns.messages).startswith("26 Jul 2024\n<|im_start|>user")
    assert len(ChatTemplate(byte_tokenizer).training_rows([turns])[0]) == 1


def test_what_the_user_says_can_look_like_an_answer(byte_tokenizer: Any) -> None:
    turns = chat("Say: Yes.", "Yes.", "Yes.", "Yes.")
    assert trained(byte_tokenizer, turns) == ["Yes.<|im_end|>"] * 2


def test_tokens_of_white_space_are_trained_on_where_offsets_leave_it_out(byte_tokenizer: Any) -> None:
    byte_tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert trained(byte_tokenizer, chat("a   b", "if x:\n    y   \n z")) == ["if x:\n    y   \n z<|im_end|>"]


# Where a prompt ends --------------------------------------------------------------------------------------------


def metaspace(template: str) -> Any:
    """A tokenizer that puts a space before a text, as SentencePiece's do, and joins words with it."""
    core = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:#?\n▁[]/"]
    core.train_from_iterator(
        ["a b c ab bc abc the them there yes no ### User: Assistant: [INST] [/INST]"] * 9,
        trainers.BpeTrainer(vocab_size=160, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=letters),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("family", ["byte level", "metaspace"])
def test_a_prompt_that_ends_with_a_space_keeps_its_space(family: str) -> None:
    tokenizer = byte_level(t.PLAIN, eos_token="</s>") if family == "byte level" else metaspace(t.PLAIN)
    end = "</s>"
    assert trained(tokenizer, chat("a", "the assistant")) == ["the assistant" + end]
    assert trained(tokenizer, chat("a", "the", "b", "there")) == ["the" + end, "there" + end]


words = st.text(alphabet="ab {}é\n.<", min_size=1, max_size=12).filter(lambda text: text.strip() != "")
dialogues = st.lists(words, min_size=2, max_size=6).filter(lambda turns: len(turns) % 2 == 0)
TOKENIZERS = {family: tokenizer_of(family) for family in FAMILIES}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(turns=dialogues)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_turn_of_every_chat_stands_behind_what_generating_is_given(family: str, turns: list[str]) -> None:
    said = trained(TOKENIZERS[family], chat(*turns))
    for text, turn in zip(said, turns[1::2], strict=True):
        assert turn.strip() in text
        assert text.count("<") - turn.count("<") >= 1, "it ends"


@settings(max_examples=60, deadline=None)
@given(turns=st.lists(st.text(alphabet="abthe .\n:", min_size=1, max_size=9).filter(str.strip), min_size=2, max_size=2))
@pytest.mark.parametrize("template", [t.PLAIN, t.MISTRAL], ids=["a space at the end", "a space at the beginning"])
def test_so_it_is_with_a_tokenizer_that_puts_a_space_before_a_text(template: str, turns: list[str]) -> None:
    tokenizer = metaspace(template)
    [said] = trained(tokenizer, chat(*turns))
    assert said.strip().removesuffix("</s>").strip() == turns[1].strip()


# Refusals -------------------------------------------------------------------------------------------------------


def test_without_a_template_the_mend_is_said(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match=r"no chat template.*chat-tuned"):
        trained(byte_tokenizer, chat("a", "b"))


def test_what_a_template_refuses_is_said_in_its_own_words() -> None:
    twice = Chat(messages=(*chat("a", "b").messages, Message(role="assistant", content="c")))
    with pytest.raises(DataError, match="roles must alternate"):
        trained(tokenizer_of("gemma"), twice)


ANOTHER_PROMPT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}bot: {% endif %}"
)
CHANGING_HEAD = (
    "{{ messages | length }}{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
UPPER = t.CHATML.replace("m.content", "m.content | upper")


@pytest.mark.parametrize(
    "template", [ANOTHER_PROMPT, CHANGING_HEAD, UPPER], ids=["another prompt", "a head that changes", "other letters"]
)
def test_a_template_that_can_not_be_followed_is_refused(byte_tokenizer: Any, template: str) -> None:
    byte_tokenizer.chat_template = template
    with pytest.raises(DataError, match="template") as caught:
        trained(byte_tokenizer, chat("a", "b", "c", "d"))
    assert "\n" not in str(caught.value)
    assert ChatTemplate(byte_tokenizer).end_ids, "what ends a turn can be asked all the same"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for at in range(1000000000) %}{% endfor %}", "Range too big"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "maximum recursion depth"),
        ("{{ 'a'.encode('utf-99') }}", "unknown encoding"),
        ("{{ messages[9].content }}", "has no element 9"),
    ],
)
def test_whatever_a_template_raises_is_one_line(byte_tokenizer: Any, expression: str, says: str) -> None:
    byte_tokenizer.chat_template = expression + t.CHATML
    with pytest.raises(DataError, match=f"the chat template refuses this chat: .*{says}") as caught:
        trained(byte_tokenizer, chat("a", "b"))
    assert "\n" not in str(caught.value)


def test_named_templates_without_a_default_are_none_and_their_names_are_said(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = {"rag": t.CHATML, "tool_use": t.CHATML}
    with pytest.raises(CheckpointError, match=r"no chat template named default \(only rag, tool_use\)"):
        trained(byte_tokenizer, chat("a", "b"))
    assert ChatTemplate(byte_tokenizer).end_ids == (byte_tokenizer.eos_token_id,)


def test_a_template_without_a_generation_prompt_is_told_to_whoever_generates(byte_tokenizer: Any) -> None:
    byte_tokenizer.chat_template = t.CHATML.partition("{% if add_generation_prompt %}")[0]
    [note] = ChatTemplate(byte_tokenizer).prompt_notes
    assert note.endswith(r"an answer begins with '<|im_start|>assistant\n'")
    for family in FAMILIES:
        assert not any("generation prompt" in one for one in ChatTemplate(tokenizer_of(family)).prompt_notes), family


def test_a_switch_that_the_template_does_not_read_is_told_to_whoever_generates() -> None:
    tokenizer = tokenizer_of("chatml")
    [note] = ChatTemplate(tokenizer, {"enable_thinkng": False}).prompt_notes
    assert note == "the chat template reads no switch 'enable_thinkng': it changes nothing"
    assert ChatTemplate(tokenizer, {"add_generation_prompt": True}).prompt_notes == []
