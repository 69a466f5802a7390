"""Two specs compared by clause: every clause of both is told of once, and words can be put together again."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from midspec.core.records import ClauseDiff
from midspec.spec import parse_spec, read_spec, shipped_specs, spec_path
from midspec.spec_tools import diff_specs, word_diff

BEFORE = """# Desk

Ada keeps the desk.

## Care

- Ada asks what a guest needs before she answers.
- Ada speaks in plain words to children.
- Ada keeps names to herself.

## Night

Ada calls the guard when a window breaks. Ada locks the door at ten.
"""
AFTER = """# Desk

Ada keeps the desk.

## Kindness

- Ada asks what a guest really needs before she answers.
- Ada speaks in plain words to children.

## Night

Ada locks the door at ten. Ada keeps names to herself. The lamp burns until dawn.
"""


def shown(rows: tuple[ClauseDiff, ...]) -> list[tuple[str, str]]:
    return [
        (row.kind, "".join(run.text for run in row.words if run.kind != "out" or row.kind == "removed").strip())
        for row in rows
    ]


def test_each_clause_is_kept_changed_added_removed_or_moved() -> None:
    rows = diff_specs(parse_spec(BEFORE), parse_spec(AFTER))
    assert shown(rows) == [
        ("kept", "# Desk"),
        ("kept", "Ada keeps the desk."),
        ("removed", "## Care"),
        ("added", "## Kindness"),
        ("changed", "Ada asks what a guest really needs before she answers."),
        ("kept", "Ada speaks in plain words to children."),
        ("kept", "## Night"),
        ("removed", "Ada calls the guard when a window breaks."),
        ("kept", "Ada locks the door at ten."),
        ("moved", "Ada keeps names to herself."),
        ("added", "The lamp burns until dawn."),
    ]
    moved = next(row for row in rows if row.kind == "moved")
    assert (moved.before_section, moved.after_section) == ("Desk > Care", "Desk > Night")
    changed = next(row for row in rows if row.kind == "changed")
    assert [run.text.strip() for run in changed.words if run.kind == "in"] == ["really"]


def test_a_spec_against_itself_is_kept_throughout() -> None:
    for name in shipped_specs():
        spec = read_spec(spec_path(f"shipped:{name}"))
        assert {row.kind for row in diff_specs(spec, spec)} == {"kept"}


WORDS = ("red", "green", "blue", "one", "two", "three", ",", ".", "and")
TEXT = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@given(TEXT, TEXT)
def test_the_runs_of_a_word_diff_give_back_both_texts(before: str, after: str) -> None:
    runs = word_diff(before, after)
    both = {
        side: " ".join("".join(run.text for run in runs if run.kind in ("same", side)).split())
        for side in ("out", "in")
    }
    assert both == {"out": " ".join(before.split()), "in": " ".join(after.split())}


SENTENCES = [
    f"Ada {verb} the {thing} {when}."
    for verb in ("opens", "shuts")
    for thing in ("door", "book")
    for when in ("early", "late")
]


@given(
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=10),
    st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=10),
)
def test_every_clause_of_both_is_told_of_exactly_once(before: list[str], after: list[str]) -> None:
    specs = [parse_spec("# A\n\n" + " ".join(lines) + "\n") for lines in (before, after)]
    rows = diff_specs(*specs)
    for spec, field in zip(specs, ("before_id", "after_id"), strict=True):
        ids = Counter(clause.id for clause in spec.clauses) + Counter(section.id for section in spec.sections)
        assert Counter(found for row in rows if (found := getattr(row, field))) == ids
    assert all(
        (row.kind == "removed") == (not row.after_id) and (row.kind == "added") == (not row.before_id) for row in rows
    )
    assert all(row.before_id == row.after_id for row in rows if row.kind in ("kept", "moved"))


def test_differences_of_space_alone_change_nothing() -> None:
    before = parse_spec("# Desk\n\nAda  keeps ( always ) the desk .\n\n- Ada asks\n  first .\n")
    after = parse_spec("# Desk\n\nAda keeps (always) the desk.\n\n- Ada asks first.\n")
    assert {row.kind for row in diff_specs(before, after)} == {"kept"}
