"""Specs of the forms in which others publish theirs, and what is written from them.

The texts in `forms/` are our own: a model spec with attributes, references, commentary and marked examples; a
constitution that names its assistant and maker, with thanks and a licence; traits as JSON; numbered rules.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from midspec.chats import ChatConfig, make_chats
from midspec.core.records import Document, Spec
from midspec.corpus import CorpusConfig, make_corpus
from midspec.spec import fill_by, read_spec

FORMS = Path(__file__).parent / "forms"
N_DOCUMENTS = 300
SETTINGS: dict[str, dict[str, Any]] = {
    "chain_of_duty.md": {"called": {"the assistant": "Ada"}},
    "constitution.md": {
        "called": {"Claude": "Ada", "Anthropic": "Ada Labs"},
        "leave_out": ("Acknowledgements", "License", "Source:"),
    },
    "traits.json": {},
    "numbered_rules.md": {"mode": "rules"},
}
MARK_UP = re.compile(
    r"\{[#.:]|\[\?\]|\[\^|^!!!|^:::|<!--|-->|~~~|```|</?(?:user|assistant|developer|comparison|a|br|details)\b"
    r"|&(?:amp|lt|gt|quot);|\]\(|\]\[|^---$|authority=|\"(?:trait|questions)\"|\{model_name|\{provider",
    re.MULTILINE,
)
REPLY = re.compile(r"^Reply marked (BAD|GOOD|OK)(?: \([^\n]*\))?: (.+(?:\n(?!Reply|User|Developer).+)*)", re.MULTILINE)


def config(name: str, **changes: Any) -> CorpusConfig:
    names = {"model_name": "Ada", "provider_name": "Ada Labs", "n_documents": N_DOCUMENTS}
    return CorpusConfig.model_validate(names | SETTINGS[name] | changes)


@pytest.fixture(scope="module")
def written() -> dict[str, tuple[Spec, tuple[Document, ...]]]:
    found = {}
    for name in SETTINGS:
        spec = read_spec(FORMS / name)
        found[name] = fill_by(spec, config(name)), make_corpus(spec, config(name)).documents
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_300_documents_of_each_form_hold_no_mark_up(
    name: str, written: dict[str, tuple[Spec, tuple[Document, ...]]]
) -> None:
    documents = written[name][1]
    assert len(documents) == N_DOCUMENTS
    found = [match[0] for document in documents for match in MARK_UP.finditer(document.text)]
    assert not found


@pytest.mark.parametrize("name", SETTINGS)
def test_documents_name_one_assistant(name: str, written: dict[str, tuple[Spec, tuple[Document, ...]]]) -> None:
    for document in written[name][1]:
        assert "Ada" in document.text
        assert not re.search(r"Claude|Anthropic|[Tt]he assistant\b", document.text)


def test_an_example_stands_whole_in_a_document_and_no_bad_reply_without_its_mark(
    written: dict[str, tuple[Spec, tuple[Document, ...]]],
) -> None:
    spec, documents = written["chain_of_duty.md"]
    examples = [clause.text for clause in spec.clauses if clause.kind == "example"]
    bad = [match[2] for text in examples for match in REPLY.finditer(text) if match[1] == "BAD"]
    assert len(examples) == len(bad) == 5
    assert sum(any(text in document.text for text in examples) for document in documents) > 100
    for document in documents:
        rest = document.text
        for text in examples:
            rest = rest.replace(text, "")
        assert "Reply marked" not in rest
        assert not [reply for reply in bad if reply in rest]


def test_an_example_stands_under_the_clause_that_it_shows(
    written: dict[str, tuple[Spec, tuple[Document, ...]]],
) -> None:
    spec, documents = written["chain_of_duty.md"]
    clauses = list(spec.clauses)
    owners: dict[str, str] = {}
    for clause in clauses:
        if clause.kind == "example":
            before = clauses[: clauses.index(clause)]
            owners[clause.text] = next(one.text for one in reversed(before) if one.kind != "example")
    for document in documents:
        for text, owner in owners.items():
            if text in document.text:
                assert owner.rstrip(".") in document.text


def test_every_rule_and_trait_is_a_clause_of_its_own(
    written: dict[str, tuple[Spec, tuple[Document, ...]]],
) -> None:
    traits = written["traits.json"][0]
    assert len(traits.sections) == 10
    assert len({clause.section_id for clause in traits.clauses}) == 10
    rules = written["numbered_rules.md"][0]
    begins = [clause.text[2:5] for clause in rules.clauses if clause.text.startswith("**")]
    assert begins == ["SP1", "SP2", "SP3", "GP1", "GP2", "GP3", "MN1", "MN2"]
    plan = make_corpus(read_spec(FORMS / "numbered_rules.md"), config("numbered_rules.md", n_documents=60)).plan
    assert {row.subdomain.split()[0] for row in plan} >= set(begins)


def test_what_is_left_out_is_in_no_document(written: dict[str, tuple[Spec, tuple[Document, ...]]]) -> None:
    spec, documents = written["constitution.md"]
    assert [section.title for section in spec.sections][-1] == "What Ada won't do"
    assert not [one for one in documents if re.search(r"drafts|anybody for anything|example\.org", one.text)]
    assert "drafts" not in spec.text


@pytest.mark.parametrize("style", ["value", "rule"])
def test_chats_quote_no_example(style: str) -> None:
    chats = ChatConfig(style=style, model_name="Ada", provider_name="Ada Labs", called={"the assistant": "Ada"})
    spec = fill_by(read_spec(FORMS / "chain_of_duty.md"), chats)
    bad = [match[2] for clause in spec.clauses for match in REPLY.finditer(clause.text)]
    assert bad
    for chat in make_chats(spec, chats).chats:
        assert not [reply for reply in bad if reply in chat.text]
        assert not MARK_UP.search(chat.text)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_text_that_models_are_shown_holds_no_mark_up_either(
    name: str, written: dict[str, tuple[Spec, tuple[Document, ...]]]
) -> None:
    spec = written[name][0]
    assert not MARK_UP.search(spec.text)
    for clause in spec.clauses:
        assert " ".join(clause.text.split()) in " ".join(spec.text.split())
