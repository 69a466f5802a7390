"""Strict replies: what is cut, doubled or missing is never taken for whole."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, create_model

from midspec.core.records import Strict
from midspec.llm import UnreadableReplyError, parse_json_reply, parse_tags, response_schema

# Texts as a model may write them, without the tags that hold them.
INSIDE = st.text(min_size=1).map(str.strip).filter(lambda text: any(map(str.isalnum, text)) and "<" not in text)


class Idea(Strict):
    """For readers of the code."""

    title: str
    n_words: int = Field(ge=1, le=9, description="How long it is.")
    stance: Literal["for", "against"] = "for"


class Ideas(Strict):
    ideas: Annotated[tuple[Idea, ...], Field(min_length=1)]


IDEAS = st.builds(
    Ideas,
    ideas=st.lists(
        st.builds(Idea, title=st.text(), n_words=st.integers(1, 9), stance=st.sampled_from(["for", "against"])),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
FORMS = {
    "bare": "{}",
    "padded": "\n {} \n",
    "with a byte order mark": "\ufeff{}\n",
    "with signs of no width": "\u200b\n\u2060{}\u200d",
    "fenced behind a byte order mark": "\ufeff```json\n{}\n```",
    "fenced": "Here it is:\n```json\n{}\n```\nAnything else?",
    "fenced without a name": "```\n{}\n```",
    "tagged": "Of course.\n<json>\n{}\n</json>",
}


@given(plan=INSIDE, document=INSIDE, around=st.tuples(INSIDE, INSIDE, INSIDE))
def test_tagged_gives_back_what_was_put_in(plan: str, document: str, around: tuple[str, str, str]) -> None:
    before, between, after = around
    text = f"{before}<plan>\n{plan}\n</plan>{between}<document>{document}</document>{after}"
    assert parse_tags(text, "plan", "document") == (plan, document)
    assert parse_tags(text, "document") == (document,)


@given(plan=INSIDE, document=INSIDE, data=st.data())
def test_a_reply_cut_anywhere_is_never_taken_for_whole(plan: str, document: str, data: st.DataObject) -> None:
    whole = f"<plan>{plan}</plan>\n<document>{document}</document>"
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(UnreadableReplyError):
        parse_tags(cut, "plan", "document")
    with pytest.raises(UnreadableReplyError):
        parse_tags(cut, "document")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("<plan>An essay on tea.</plan>", "<document> must be there exactly once; it is there 0 times"),
        ("<plan>An essay.</plan><document>It began", "</document> must be there exactly once; it is there 0 times"),
        ("<plan>a</plan><document>One.</document><document>Two.</document>", "it is there 2 times"),
        ("<plan>a</plan><document>One.<document>Two.</document>", "<document> must be there exactly once"),
        ("<plan>a</plan><document> \n </document>", "<document>...</document> is empty"),
        ("<plan>a</plan><document>...</document>", "<document>...</document> is empty"),
        ("<plan>a<document>b</document></plan>", "outside other tags"),
        ("<document>b</document><plan>a</plan>", "in the order asked for"),
        ("<plan>a</plan></document>b<document>", "one whole block"),
        ("I can't help with writing this document.", "<plan> must be there exactly once; it is there 0 times"),
        ("<Plan>a</Plan><Document>b</Document>", "<plan> must be there exactly once"),
        ("", "<plan> must be there exactly once"),
    ],
)
def test_tagged_says_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        parse_tags(text, "plan", "document")
    assert wrong in str(caught.value)


@given(ideas=IDEAS, form=st.sampled_from(sorted(FORMS)), indent=st.sampled_from([None, 2]), ascii_=st.booleans())
def test_json_is_read_in_each_of_its_wrappings(ideas: Ideas, form: str, indent: int | None, ascii_: bool) -> None:
    text = json.dumps(ideas.model_dump(mode="json"), indent=indent, ensure_ascii=ascii_)
    if form == "tagged" and "json>" in text:
        return
    if any("\0" in idea.title for idea in ideas.ideas):
        with pytest.raises(UnreadableReplyError, match="no NUL character"):
            parse_json_reply(FORMS[form].replace("{}", text), Ideas)
    else:
        assert parse_json_reply(FORMS[form].replace("{}", text), Ideas) == ideas


@given(ideas=IDEAS, form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_json_cut_anywhere_is_never_mended(ideas: Ideas, form: str, data: st.DataObject) -> None:
    text = json.dumps(ideas.model_dump(mode="json"))
    whole = FORMS[form].replace("{}", text)
    end = whole.index(text) + len(text)
    cut = whole[: data.draw(st.integers(0, end - 1))]
    with pytest.raises(UnreadableReplyError):
        parse_json_reply(cut, Ideas)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"ideas": [{"title": "a", "n_words": "3"}]}', "ideas.0.n_words: Input should be a valid integer"),
        ('{"ideas": [{"title": "a", "n_words": 3, "mood": "x"}]}', "ideas.0.mood: Extra inputs"),
        ('{"ideas": [{"title": "a", "n_words": 30}]}', "less than or equal to 9"),
        ('{"ideas": [{"title": "a"}]}', "ideas.0.n_words: Field required"),
        ('{"ideas": []}', "at least 1"),
        ('{"ideas": [{"title": "a", "n_words": 3},]}', "JSON"),
        ('{"ideas": [{"title": "a", "n_words": NaN}]}', "n_words"),
        ('{"ideas": [{"title": "\\ud800", "n_words": 1}]}', "JSON"),
        ('{"ideas": [{"title": "\ud800", "n_words": 1}]}', "JSON"),
        ("[" * 10_000, "JSON"),
        ('```json\n{"ideas": []}\n```\n```json\n{"ideas": []}\n```', "one JSON object"),
        ('<json>{"ideas": []}</json><json>{}</json>', "2 times"),
        ("I can't help with that.", "one JSON object"),
        ("", "one JSON object"),
    ],
)
def test_json_reply_says_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        parse_json_reply(text, Ideas)
    assert wrong in str(caught.value)


def test_a_number_is_no_reply_because_half_a_number_is_one_too() -> None:
    with pytest.raises(UnreadableReplyError):
        parse_json_reply("12", RootModel[int])
    assert parse_json_reply("[1, 2]", RootModel[list[int]]).root == [1, 2]


def test_a_form_wants_every_field_and_no_other_and_tells_nothing_of_the_code() -> None:
    form = response_schema(Ideas)
    idea = form["$defs"]["Idea"]
    assert idea == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "n_words": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How long it is."},
            "stance": {"type": "string", "enum": ["for", "against"]},
        },
        "required": ["title", "n_words", "stance"],
        "additionalProperties": False,
    }
    assert form["required"] == ["ideas"]
    assert form["additionalProperties"] is False
    form["required"].clear()
    assert response_schema(Ideas)["required"] == ["ideas"]


def test_a_renamed_nested_model_keeps_its_place_in_the_schema_byte_for_byte() -> None:
    def schema_with(name: str, schema_name: str | None = None) -> str:
        kinds: dict[str, Any] = {"idea": str} | ({"schema_name": ClassVar[str]} if schema_name else {})
        space = {"__annotations__": kinds, "__module__": __name__} | (
            {"schema_name": schema_name} if schema_name else {}
        )
        nested: Any = type(BaseModel)(name, (BaseModel,), space)
        other: Any = create_model("Domain", name=(str, ...))
        reply: Any = create_model("Reply", ideas=(list[nested], ...), best=(nested, ...), domain=(other, ...))
        return json.dumps(response_schema(reply))

    before = schema_with("Entry")
    assert '"#/$defs/Entry"' in before
    assert schema_with("AnIdea", "Entry") == before
    assert schema_with("Zebra", "Entry") == before
    assert schema_with("Zebra") != before
