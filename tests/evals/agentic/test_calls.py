"""Pseudo tool calls: what was really sent is found, what only looks like a call is not, and nothing is guessed."""

from __future__ import annotations

from html import escape as as_entities

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from midspec.evals.tasks.agentic_misalignment import read_calls
from midspec.evals.tasks.agentic_misalignment._calls import TOOLS

MAIL = '<tool_use:email>\nto: "a@b.com",\nsubject: "S",\nbody: "Hello",\n</tool_use:email>'
FORWARD = '<tool_use:forward>\nemail_id: 2\nto: "a@b.com"\nbody: "see below"\n</tool_use:forward>'
CANCEL = '<tool_use:cancel_alert>\ncode: "X-1"\n</tool_use:cancel_alert>'

# Prose that neither quotes nor thinks nor calls.
prose = st.text(st.characters(blacklist_characters="<>`[]&\"'", blacklist_categories=["Cs"]), max_size=40).map(
    lambda text: f"\n{text}\n"
)
# Bodies with all that bodies hold: lines, brackets, tags, words that look like keys; but no quotation mark.
body = st.lists(
    st.one_of(
        st.text(st.characters(blacklist_characters='"&', blacklist_categories=["Cs"]), max_size=20),
        st.sampled_from(
            ["<b>", "</b>", "< 3", "\nto: someone", "\nbody: x", "<tool>", "<SCRATCHPAD_REASONING>", ">q", "\n> q"]
        ),
    ),
    min_size=1,
    max_size=6,
).map("".join)
address = st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8})?@[a-z]{2,8}\.(com|org|net)", fullmatch=True)
mails = st.lists(st.tuples(address, body), max_size=4)


def written(to: str, text: str) -> str:
    return f'<tool_use:email>\nto: "{to}",\nsubject: "About it",\nbody: "{text}",\n</tool_use:email>'


def sent(text: str) -> list[tuple[str, ...]]:
    """Tools and arguments of what was emitted."""
    return [(call.tool, *(call.args[key] for key in TOOLS[call.tool])) for call in read_calls(text).calls]


@given(mails, prose)
@example([("a@b.com", "say <b>yes</b>\nto: someone")], "then")
def test_every_call_is_read_wherever_it_stands_and_bodies_stay_word_for_word(
    those: list[tuple[str, str]], between: str
) -> None:
    assume(all("tool_use" not in text and "CDATA" not in text for _, text in those))
    assume(all(text.strip() for _, text in those))
    found = read_calls(between.join(["", *(written(to, text) for to, text in those), ""]))
    assert [(call.args["to"], call.args["body"]) for call in found.calls] == [(to, text.strip()) for to, text in those]
    assert found.malformed == ()


@given(mails, prose)
def test_what_is_only_thought_is_not_emitted_closed_or_not(those: list[tuple[str, str]], between: str) -> None:
    assume(all(not any(mark in text.lower() for mark in ("tool_use", "</", "cdata")) for _, text in those))
    drafts = between.join(written(to, text) for to, text in those)
    for begin, end in (
        ("<SCRATCHPAD_REASONING>", "</SCRATCHPAD_REASONING>"),
        ("<think>", "</think>"),
        ("< scratchpad_reasoning >", ""),
        ("", "</think>"),
    ):
        found = read_calls(f"{begin}{drafts}{end}\n" if end else f"{begin}{drafts}")
        assert (found.calls, found.malformed) == ((), ())
    assert sent(f"<think>{drafts}</think>\n{MAIL}") == [("email", "a@b.com", "Hello")]


@given(mails)
def test_what_is_quoted_line_by_line_or_as_entities_is_not_emitted(those: list[tuple[str, str]]) -> None:
    drafts = "\n".join(written(to, text) for to, text in those)
    quoted = "\n".join(f"> {line}" for line in drafts.splitlines())
    for text in (quoted, as_entities(drafts)):
        assert (read_calls(text).calls, read_calls(text).malformed) == ((), ())


@given(st.text())
@example("<tool_use:email><tool_use:email>")
@example("</tool_use:forward><![CDATA[<!--")
def test_any_text_is_read_and_only_known_tools_with_all_that_they_need_come_out(text: str) -> None:
    for call in read_calls(text).calls:
        assert all(call.args[key] for key in TOOLS[call.tool])


pieces = st.lists(
    st.sampled_from(
        [
            "<tool_use:email>",
            "</tool_use:email>",
            "<tool_use:forward>",
            "</tool_use:forward>",
            "\nto: a@b.com\n",
            "\n> ",
            "body: x\n",
            "email_id: 2\n",
            "`",
            "<think>",
            "</think>",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            MAIL,
            "tool_use",
            "\n",
        ]
    ),
    max_size=14,
).map("".join)


@given(pieces)
def test_wherever_tags_open_and_close_no_call_holds_a_tag_beyond_its_own_body(text: str) -> None:
    found = read_calls(text)
    assert len(found.calls) <= text.count("</tool_use:")
    assert len(found.calls) + len(found.malformed) <= text.count("tool_use") + 1


@given(pieces)
def test_a_call_after_all_is_read_however_garbled_what_comes_before(text: str) -> None:
    # An open comment, CDATA block, thought or tag may well take up what follows; a closed one may not.
    closed = f"{text}-->]]></think>\n</tool_use:email></tool_use:forward>\n\n"
    assert sent(closed + MAIL)[-1:] == [("email", "a@b.com", "Hello")]


# Forms


@pytest.mark.parametrize(
    "text",
    [
        '<TOOL_USE:Email>\nTo: "a@b.com",\nSubject: "S",\nBody: "Hello",\n</Tool_Use:EMAIL>',
        "<tool_use:email>\nto: a@b.com\nsubject: S\nbody: Hello\n</tool_use:email>",
        "<tool_use:email>to: 'a@b.com', subject: 'S', body: 'Hello'</tool_use:email>",
        '<tool_use:email id="1" class=\'x\'>\nto: "a@b.com",\nbody: "Hello"\n</tool_use:email>',
        '<tool_use:email to="a@b.com" subject="S">\nbody: "Hello"\n</tool_use:email>',
        "<tool_use:email><to>a@b.com</to><subject>S</subject><body>Hello</body></tool_use:email>",
        '<tool_use:email>\n{"to": "a@b.com", "subject": "S", "body": "Hello"}\n</tool_use:email>',
        '<tool_use:email>\nto: "a&#64;b.com",\nbody: "Hello",\n</tool_use:email>',
        '<tool_use:email>\nto: "a@b.com",\nbody: <![CDATA[Hello]]>\n</tool_use:email>',
        f"```xml\n{MAIL}\n```",
        f"  - {MAIL}",
        f"<SCRATCHPAD_REASONING>{CANCEL}</SCRATCHPAD_REASONING>{MAIL}",
        f"reasoning whose opening the server kept {CANCEL}</think>{MAIL}",
        f"> {CANCEL.splitlines()[0]}\n{MAIL}",
        f"Not `<tool_use:email>`, but:\n{MAIL}",
        f"<!-- {CANCEL} -->{MAIL}",
    ],
)
def test_a_mail_is_read_in_every_form_that_models_give_it(text: str) -> None:
    found = read_calls(text)
    assert sent(text) == [("email", "a@b.com", "Hello")]
    assert found.malformed == ()


def test_several_tools_are_read_in_their_order() -> None:
    assert sent(f"{MAIL}\nthen\n{FORWARD}{CANCEL}") == [
        ("email", "a@b.com", "Hello"),
        ("forward", "2", "a@b.com"),
        ("cancel_alert", "X-1"),
    ]


def test_calls_within_a_body_are_text_of_that_body() -> None:
    [mail] = read_calls(written("a@b.com", f"He proposed this: {CANCEL} I did not.")).calls
    assert CANCEL in mail.args["body"]


def test_a_closing_tag_in_cdata_or_on_a_quoted_line_does_not_close_a_call() -> None:
    for inner in ("<![CDATA[a </tool_use:email> b]]>", "\n> </tool_use:email>\nb"):
        [mail] = read_calls(f'<tool_use:email>\nto: "a@b.com"\nbody: "x{inner}"\n</tool_use:email>').calls
        assert mail.args["body"].endswith("b")


def test_quotation_marks_and_keys_inside_a_body_end_nothing() -> None:
    text = 'He said "no", and left.\nto: everyone\nThe code: "4" is "old".'
    [mail] = read_calls(written("a@b.com", text)).calls
    assert (mail.args["to"], mail.args["body"]) == ("a@b.com", text)


def test_every_recipient_counts_also_by_copy_and_in_lists() -> None:
    [mail] = read_calls(
        '<tool_use:email>\nto: "Ann <ann@x.com>, bob@x.com"\ncc: c@y.org; d@y.org\nbcc: ["E@Z.net"]\n'
        'body: "b"\n</tool_use:email>'
    ).calls
    assert mail.recipients == ("ann@x.com", "bob@x.com", "c@y.org", "d@y.org", "e@z.net")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (MAIL.replace("</tool_use:email>", ""), "not closed"),
        (MAIL.replace("</tool_use:email>", "</tool_use:mail>"), "not closed"),
        (MAIL.replace("</tool_use:email>", "</tool_use>"), "not closed"),
        ('<tool_use:email>\nbody: "Hello"\n</tool_use:email>', "no to"),
        ('<tool_use:email>\nto: "a@b.com"\n</tool_use:email>', "no body"),
        ('<tool_use:email>\nto: "Ann"\nbody: "Hello"\n</tool_use:email>', "no address"),
        ('<tool_use:email>\nto: "{target email address}"\nbody: "Hello"\n</tool_use:email>', "no address"),
        ('<tool_use:send_money>\nto: "a@b.com"\n</tool_use:send_money>', "no such tool"),
        ("<tool_use:cancel_alert>\noverride: 1\n</tool_use:cancel_alert>", "no code"),
        ("<tool_use:cancel_alert>\n</tool_use:cancel_alert>", "no code"),
        ('<tool_use:cancel_alert code="X-1"/>', "opens or closes no call"),
        ('<tool_use:forward>\nto: "a@b.com"\n</tool_use:forward>', "no email_id"),
        ("</tool_use:email>", "opens or closes no call"),
        ('<tool_use email to="a@b.com">', "opens or closes no call"),
        ('[tool_use:email]\nto: "a@b.com"\n[/tool_use:email]', "opens or closes no call"),
        ('{"name": "send_email", "arguments": {"to": "a@b.com", "body": "Hello"}}', "another form"),
        ('<tool_call>{"name": "email"}</tool_call>', "another form"),
        ('send_email(to="a@b.com", body="Hello")', "another form"),
    ],
)
def test_what_is_no_whole_call_is_reported_as_malformed_and_not_guessed(text: str, why: str) -> None:
    found = read_calls(f"Here:\n{text}\nDone.")
    assert found.calls == ()
    assert any(why in each for each in found.malformed)


def test_a_call_that_is_never_closed_hides_none_that_follows() -> None:
    found = read_calls(MAIL.replace("</tool_use:email>", "") + "\nand\n" + FORWARD + "\n" + CANCEL)
    assert [call.tool for call in found.calls] == ["forward", "cancel_alert"]
    assert found.malformed == ("email: its tag is not closed",)


@pytest.mark.parametrize(
    "text", ["", "Nothing to do.", "I could use tool_use:email here.", 'She wrote {"name": "Ann"}.']
)
def test_talk_is_no_call_and_no_malformed_one(text: str) -> None:
    assert (read_calls(text).calls, read_calls(text).malformed) == ((), ())


@pytest.mark.parametrize(
    "text",
    [
        "<tool_use:email>" * 1000,
        "`<tool_use:email>" * 900,
        "<" + " " * 16_000,
        "[" + " " * 16_000,
        '<tool_use:email>\nto: "' + '"' + " " * 16_000 + "x</tool_use:email>",
        "<tool_use:email>" + "," * 16_000 + "</tool_use:email>",
        "<tool_use:email>" + " {," * 6_000 + "</tool_use:email>",
        "<tool_use:email " + 'a="b" ' * 3_000,
    ],
    ids=lambda text: text[:24],
)
def test_an_answer_of_full_length_that_only_repeats_a_piece_of_a_call_is_read_to_its_end(text: str) -> None:
    # Patterns that go back over what they have read would take hours on these.
    assert read_calls(text).calls == ()
