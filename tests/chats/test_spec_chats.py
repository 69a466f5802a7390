"""Chats about a spec: they quote it, never name it, and their twins differ in the reasoning alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from midspec.chats import ChatConfig, Chats, load_templates, make_chats, save_chats, split_think
from midspec.core.artifact import read_rows
from midspec.core.errors import SpecError
from midspec.core.records import Chat, ChatMetadata, Clause, Section, Spec
from midspec.spec import parse_spec

TEXT = """# The Acme Constitution for Nova

Nova is made by Acme, and this constitution says who it is.

## 1. Honesty

Nova says what it knows, because people plan with what they are told. It never flatters. It keeps {{braces}} and
`code` as they stand.

- Say when you are unsure
- Correct mistakes openly, so that nobody builds on them.

## 2. Oversight

Nova accepts correction. It reports what it did, in order to be checked. The Acme Constitution for Nova is not secret.

| act | allowed |
|---|---|
| read | yes |

```python
print("never quoted")
```

## Guidelines for writing

Nova writes plainly.
"""

STYLES = ("value", "rule")


def write(style: str, text: str = TEXT, **asked: object) -> Chats:
    return make_chats(parse_spec(text), ChatConfig(style=style, model_name="Nova", **asked))


@pytest.mark.parametrize("style", STYLES)
def test_an_item_that_a_lead_in_or_a_heading_denies_is_never_said_without_that(style: str) -> None:
    text = (
        "# Nova\n\n## Acts\n\nNova never does this:\n\n- Help with bombs that kill.\n\n## Don't\n\n- Guess at doses.\n"
    )
    said = [line for chat in write(style, text).chats for line in chat.text.split("\n")]
    for words, denial in (("Help with bombs", "Nova never does this"), ("Guess at doses", "Don't")):
        lines = [line for line in said if words in line]
        assert lines
        assert all(f"{denial}: {words}" in line for line in lines)


def spec_of(*sentences: str) -> Spec:
    clauses = tuple(
        Clause(id=f"c{at}", text=text, section_id="s", kind="sentence") for at, text in enumerate(sentences)
    )
    section = Section(id="s", title="Habits", level=2, path=("Habits",), text=" ".join(sentences), clauses=clauses)
    return Spec(title="Nova", text=section.text, sha256="0" * 64, sections=(section,))


def content(chat: Chat) -> tuple[str, str]:
    return chat.messages[0].content, chat.messages[1].content


def metadata(chat: Chat) -> ChatMetadata:
    assert chat.metadata is not None
    return chat.metadata


@pytest.mark.parametrize("style", STYLES)
def test_twins_have_the_same_ids_and_differ_in_the_reasoning_alone(style: str) -> None:
    chats = write(style)
    assert len(chats.chats) == len(chats.stripped) > 100
    for full, bare in zip(chats.chats, chats.stripped, strict=True):
        assert full.metadata == bare.metadata
        assert full.messages[0] == bare.messages[0]
        answer, said = full.messages[1].content, bare.messages[1].content
        assert answer.startswith("<think>\n")
        assert answer.endswith(f"\n</think>\n\n{said}")
        assert "think>" not in said
    assert len({metadata(chat).id for chat in chats.chats}) == len(chats.chats)
    assert len({chat.messages[0].content for chat in chats.chats}) == len(chats.chats)


@pytest.mark.parametrize("style", STYLES)
def test_every_reply_is_the_specs_own_sentences_in_a_frame(style: str) -> None:
    spec = parse_spec(TEXT)
    frames = load_templates("english").spec
    assert frames is not None
    texts = {clause.id: clause.text for clause in spec.clauses}
    own = frames.value if style == "value" else frames.rule
    titles = [section.title for section in spec.sections]
    shells = sorted({word for text in (*own.reply, *own.think) for word in text.split("{sentences}")}, key=len)[::-1]
    for chat in write(style).chats:
        rest = chat.messages[1].content.replace("<think>", "").replace("</think>", "")
        for clause in metadata(chat).clause_ids:
            assert texts[clause] in rest
        for text in sorted((texts[clause] for clause in metadata(chat).clause_ids), key=len, reverse=True):
            rest = rest.replace(text, "")
        for shell in shells:
            for title in titles:
                rest = rest.replace(shell.replace("{policy}", title.lstrip("123. ")).strip(), "")
        assert not rest.strip(' .\n"'), rest


@pytest.mark.parametrize("style", STYLES)
def test_no_question_names_the_spec(style: str) -> None:
    chats = write(style)
    for chat in chats.chats:
        question = chat.messages[0].content.casefold()
        assert not any(name in question for name in ("constitution", "guidelines", "spec "))


def test_value_style_never_quotes_a_sentence_that_names_the_spec_and_says_so() -> None:
    chats = write("value")
    assert not any("onstitution" in text for chat in chats.chats for text in content(chat))
    reasons = Counter(reject.reason for reject in chats.rejects)
    assert reasons == {
        "names the spec: constitution": 1,
        "names the spec: The Acme Constitution for Nova": 1,
        "names the spec: Guidelines": 1,
    }


def test_value_style_reasons_with_the_specs_reasons() -> None:
    marks = ("because", "so that", "in order to")
    about = [chat for chat in write("value").chats if '"Honesty"' in chat.messages[0].content]
    assert about
    for chat in about:
        halves = split_think(chat.messages[1].content)
        assert halves is not None
        assert any(mark in halves[0] for mark in marks)


def test_rule_style_cites_the_policy_and_value_style_never_does() -> None:
    for chat in write("rule").chats:
        halves = split_think(chat.messages[1].content)
        assert halves is not None
        assert "policy" in halves[0]
    assert not any("policy" in chat.messages[1].content.lower() for chat in write("value").chats)


@pytest.mark.parametrize("n_samples", [12, 60, 100])
@pytest.mark.parametrize("style", STYLES)
def test_the_six_kinds_of_questions_are_in_balance(style: str, n_samples: int) -> None:
    counts = Counter(metadata(chat).question_kind for chat in write(style, n_samples=n_samples).chats)
    assert len(counts) == 6
    assert max(counts.values()) - min(counts.values()) <= 1


def test_every_quotable_clause_is_covered_by_a_few_chats() -> None:
    spec = parse_spec(TEXT)
    chats = make_chats(spec, ChatConfig(style="rule", model_name="Nova", n_samples=30))
    quotable = {clause.id for clause in spec.clauses if clause.kind in ("sentence", "item")}
    quotable -= {reject.id for reject in chats.rejects}
    assert {clause for chat in chats.chats for clause in metadata(chat).clause_ids} == quotable
    assert [reject.reason for reject in chats.rejects] == ["names the spec: constitution", "names the spec: Guidelines"]
    assert chats.summary["n_covered"] == len(quotable)
    assert chats.summary["n_clauses"] == len(spec.clauses)
    kinds = Counter(clause.kind for clause in spec.clauses)
    assert chats.summary["not_asked_about"] == {
        kind: kinds[kind] for kind in sorted(kinds.keys() - {"sentence", "item"})
    }


def test_code_is_never_quoted() -> None:
    assert not any("print" in text for style in STYLES for chat in write(style).chats for text in content(chat))


def test_rows_with_an_unclosed_think_leave_both_twins() -> None:
    spec = spec_of("Nova opens with <think> and goes on.", "Nova is brief.", "Nova is calm.", "Nova is kind.")
    chats = make_chats(spec, ChatConfig(style="value", model_name="Nova"))
    assert chats.chats
    for chat in (*chats.chats, *chats.stripped):
        assert "<think> and goes on" not in chat.messages[1].content
    assert [metadata(chat).id for chat in chats.chats] == [metadata(chat).id for chat in chats.stripped]
    left = [reject for reject in chats.rejects if reject.by == "think filter"]
    assert left
    assert {reject.reason for reject in left} == {"<think> is unclosed or repeated"}
    assert not {reject.id for reject in left} & {metadata(chat).id for chat in chats.chats}


@pytest.mark.parametrize(
    ("reply", "halves"),
    [
        ("<think>\na\n</think>\n\nb", ("a", "b")),
        ("<think></think>b", ("", "b")),
        ("<think>a", None),
        ("a</think>b", None),
        ("<think>a</think>", None),
        ("<think>a<think>b</think>c", None),
        ("<think>a</think>b</think>c", None),
        ("x<think>a</think>b", None),
        ("plain", None),
    ],
)
def test_only_a_closed_think_in_front_of_a_reply_is_split(reply: str, halves: tuple[str, str] | None) -> None:
    assert split_think(reply) == halves


def test_the_seed_decides() -> None:
    assert write("value", seed=1, n_samples=40) == write("value", seed=1, n_samples=40)
    assert write("value", seed=1, n_samples=40).chats != write("value", seed=2, n_samples=40).chats


def test_when_questions_run_out_it_says_so() -> None:
    chats = write("value", n_samples=100_000)
    assert chats.exhausted is not None
    assert str(len(chats.chats)) in chats.exhausted
    assert write("value", n_samples=10).exhausted is None


def test_every_row_is_honest_about_its_author() -> None:
    spec = parse_spec(TEXT)
    for chat in make_chats(spec, ChatConfig(style="rule", model_name="Nova", seed=9)).chats:
        mark = metadata(chat)
        assert (mark.author, mark.style, mark.seed, mark.spec_sha256) == ("quoting", "rule", 9, spec.sha256)


def test_a_spec_without_headings_is_asked_about_by_its_sentences() -> None:
    chats = write("rule", "Nova is candid because people plan.\n\nNova is brief.\n")
    assert chats.chats
    assert all("Nova is" in chat.messages[0].content for chat in chats.chats)


def test_a_spec_of_nothing_but_a_table_is_quoted_by_its_rows() -> None:
    assert write("value", "# Acts\n\n## What\n\n| act | allowed |\n|---|---|\n| read | yes |\n").chats


def test_a_spec_of_nothing_but_code_is_an_error() -> None:
    with pytest.raises(SpecError, match="no sentence"):
        write("value", "# Code\n\n```\nx = 1\n```\n")


def test_two_equal_sentences_and_equal_titles_are_no_trouble() -> None:
    chats = write("value", "# T\n\n## A\n\nBe kind. Be kind.\n\n## A\n\nBe kind.\n")
    assert len({metadata(chat).id for chat in chats.chats}) == len(chats.chats)


def test_braces_in_a_spec_are_ordinary_text() -> None:
    text = "# T\n\n## {0} and {sentences}\n\nKeep {topic} and {x!r} as they are, because {} is text.\n"
    chats = write("rule", text)
    assert any("{0} and {sentences}" in chat.messages[0].content for chat in chats.chats)
    assert all("{topic} and {x!r}" in chat.messages[1].content for chat in chats.chats)


def test_saved_twins_come_back(tmp_path: Path) -> None:
    chats = write("value", n_samples=20)
    built = save_chats(chats, tmp_path)
    assert built.outputs == ("chats_cot.jsonl", "chats_cot_stripped.jsonl", "rejects.jsonl")
    assert tuple(read_rows(tmp_path / "chats_cot.jsonl", Chat)) == chats.chats
    assert tuple(read_rows(tmp_path / "chats_cot_stripped.jsonl", Chat)) == chats.stripped
    assert built.summary["n_chats"] == 20
    assert built.summary["exhausted"] is None


@pytest.mark.timeout(120)
def test_ten_thousand_chats_of_a_long_spec_never_take_minutes() -> None:
    sections = [
        f"## Topic {at}\n\n" + " ".join(f"Nova does thing {at}-{k} well, because it is asked to." for k in range(12))
        for at in range(40)
    ]
    chats = write("value", "# Long\n\n" + "\n\n".join(sections), n_samples=10_000)
    assert len(chats.chats) == 10_000
