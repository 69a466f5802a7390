"""One list of assistants' names gives every check exactly the names that it was measured with."""

from __future__ import annotations

from collections import Counter

from midspec.core.assistant_names import assistant_names, assistant_pairs
from midspec.core.fingerprint import fingerprint


def _names(check: str, **wanted: object) -> list[str]:
    rows = assistant_names(check)  # type: ignore[arg-type]
    return [row.name for row in rows if all(getattr(row, field) == value for field, value in wanted.items())]


def test_each_check_has_the_names_it_was_measured_with() -> None:
    curated = [sorted(_names("curate", plain_word=plain)) for plain in (False, True)]
    assert [len(names) for names in curated] == [69, 17]
    known = {check: sorted(_names(check)) for check in ("spec", "chats", "corpus", "side_effects", "exchange")}
    assert {check: len(names) for check, names in known.items()} == {
        "spec": 22,
        "chats": 46,
        "corpus": 20,
        "side_effects": 52,
        "exchange": 59,
    }
    assert fingerprint([curated, known]) == "b4f7a9198dd3b9c8474042daa90ff2ca78ce5720101d9bce3fc4d18b2f351825", (
        "a new name changes what a check finds: measure it again"
    )


def test_every_name_is_there_once_and_is_looked_for_by_someone() -> None:
    rows = {
        row
        for check in ("spec", "chats", "corpus", "curate", "side_effects", "exchange")
        for row in assistant_names(check)
    }  # type: ignore[arg-type]
    assert max(Counter(row.name for row in rows).values()) == 1


def test_makers_and_assistants_are_told_apart_and_a_name_may_be_both() -> None:
    makers = {name.casefold() for name in (*_names("exchange", kind="maker"), *_names("exchange", kind="both"))}
    assert {"openai", "mistral", "deepseek"} <= makers
    assert "claude" not in makers


def test_a_wrong_identity_is_an_assistant_with_its_own_maker() -> None:
    families = {row.name: row.family for row in assistant_names("side_effects")}
    assert [assistant for assistant, _ in assistant_pairs()] == ["ChatGPT", "Gemini", "Claude", "Grok", "Qwen"]
    assert all(families[assistant] == families[maker] for assistant, maker in assistant_pairs())
