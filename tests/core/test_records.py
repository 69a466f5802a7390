"""Records are frozen, know no extra field, and come back from JSON as they were."""

from __future__ import annotations

import inspect

import pytest
from pydantic import ValidationError

from midspec.core import records
from midspec.core.records import Chat, Clause, Document, Item, Message, ScoreRow, Section, Spec, Strict

KINDS = [kind for _, kind in inspect.getmembers(records, inspect.isclass) if issubclass(kind, Strict)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_frozen_and_forbids_extra_fields(kind: type[Strict]) -> None:
    assert kind.model_config["frozen"] is True
    assert kind.model_config["extra"] == "forbid"


def test_every_record_is_exported() -> None:
    assert {kind.__name__ for kind in KINDS} <= set(records.__all__)


def test_a_record_refuses_change_and_unknown_fields() -> None:
    message = Message(role="user", content="hello")
    with pytest.raises(ValidationError):
        message.content = "bye"
    with pytest.raises(ValidationError, match="extra"):
        Message.model_validate({"role": "user", "content": "hello", "title": "x"})


def test_a_document_writes_the_three_keys_of_the_field_first() -> None:
    assert list(Document(text="t", source="s", domain="d").model_dump()) == ["text", "source", "domain", "metadata"]


def test_a_chat_has_at_least_one_message_of_a_known_role() -> None:
    with pytest.raises(ValidationError):
        Chat(messages=())
    with pytest.raises(ValidationError):
        Chat.model_validate({"messages": [{"role": "pilot", "content": "x"}]})


def test_an_unscored_row_is_none_and_stays_none_through_json() -> None:
    row = ScoreRow(task="t", set="s", item="i", domain="d", measure="m", value=None, unscored="no answer")
    assert ScoreRow.model_validate_json(row.model_dump_json()) == row
    assert '"value":null' in row.model_dump_json()


def test_an_item_has_exactly_two_options() -> None:
    with pytest.raises(ValidationError):
        Item.model_validate({"id": "1", "set": "s", "domain": "d", "options": ["a", "b", "c"]})


def test_the_clauses_of_a_spec_come_in_the_order_of_its_sections() -> None:
    clauses = [Clause(id=str(at), text=f"{at} .", section_id=str(at // 2), kind="sentence") for at in range(4)]
    sections = tuple(
        Section(id=str(at), title="", level=1, path=(), text="", clauses=tuple(clauses[2 * at : 2 * at + 2]))
        for at in range(2)
    )
    assert list(Spec(title="", text="", sha256="", sections=sections).clauses) == clauses
