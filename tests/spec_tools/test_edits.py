"""Edits go where their clauses stand, all else stays, and each clause of the result has its origin."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.core.records import Spec, SpecEdit
from midspec.spec import parse_spec, read_spec, shipped_specs, spec_path
from midspec.spec_tools import apply_edits, chosen_edits

ROOT = Path(__file__).parents[2]
SPECS = sorted(
    [
        *(spec_path(f"shipped:{name}") for name in shipped_specs()),
        *(ROOT / "tests" / "specs").iterdir(),
        *(ROOT / "tests" / "spec" / "forms").iterdir(),
    ]
)
RULES = spec_path("shipped:agent-rules")


def edits_of(spec: Spec, change: str) -> list[SpecEdit]:
    """An edit for each sentence and item, whose text is `change` with the clause's own in it."""
    return [
        SpecEdit(
            id=f"e{at}",
            section_id=clause.section_id,
            section="",
            clause_ids=(clause.id,),
            before=clause.text,
            after=change.format(clause.text),
            tool="ablate",
            author="openai/author",
            request=f"r{at}",
        )
        for at, clause in enumerate(spec.clauses)
        if clause.kind in ("sentence", "item")
    ]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_edits_that_change_nothing_give_the_same_clauses_each_from_itself(path: Path) -> None:
    spec = read_spec(path)
    text, provenance = apply_edits(spec, edits_of(spec, "{}"))
    written = parse_spec(text, name=spec.title)
    assert [clause.text.split() for clause in written.clauses] == [clause.text.split() for clause in spec.clauses]
    assert [row.clause_id for row in provenance] == [clause.id for clause in written.clauses]
    edited = {clause.id for clause in spec.clauses if clause.kind in ("sentence", "item")}
    assert [row.sources for row in provenance] == [(clause.id,) for clause in spec.clauses]
    assert {row.sources[0] for row in provenance if row.edit} == edited


@pytest.mark.parametrize("path", [path for path in SPECS if path.suffix != ".json"], ids=lambda path: path.name)
def test_a_comment_for_editors_changes_no_clause_of_what_is_written(path: Path) -> None:
    """A spec with marks is written anew from what was read of it."""
    spec = parse_spec(f"{path.read_text(encoding='utf-8')}\n\n<!-- for editors -->\n", name="spec")
    assert spec.is_marked
    text, provenance = apply_edits(spec, ())
    written = parse_spec(text, name="spec")
    assert [(one.kind, one.text) for one in written.clauses] == [(one.kind, one.text) for one in spec.clauses]
    assert [row.sources for row in provenance] == [(clause.id,) for clause in spec.clauses]


TABLES = """# Desk

<!-- for editors -->
The desk is kind.

| hour | who | what |
|---|---|---|
| nine | the clerk | Greets guests. Then waits. |
| ten | | carries bags |

| | rule |
|---|---|
| 1 | Ask; then act: at once \\| soon. |
| 2 | Never: guess. |

| What a guest says | Good reply | Worse reply |
|---|---|---|
| Where is the bar? | Down the hall: left. | Look it up. |
"""


EXAMPLE = "What a guest says: Where is the bar?\nReply marked GOOD: Down the hall: left.\nReply marked BAD: Look it up."


def test_words_that_stand_in_a_table_too_are_changed_where_their_clause_is() -> None:
    table = "| a | b |\n|---|---|\n| Ask first. | late |\n| no | Ask first. |\n"
    spec = parse_spec(f"# Desk\n\nBe kind.\n\n{table}\nAsk first.\n")
    kind, asks = (clause.id for clause in spec.clauses if clause.kind == "sentence")
    text, provenance = apply_edits(spec, edits_of(spec, "Be calm."))
    assert text == f"# Desk\n\nBe calm.\n\n{table}\nBe calm.\n"
    assert [row.sources for row in provenance if row.edit] == [(kind,), (asks,)]
    general = edits_of(spec, "{}")[0].model_copy(update={"clause_ids": (kind, asks), "after": "Be good."})
    assert apply_edits(spec, [general])[0].split() == f"# Desk Be good. {table}".split()


def test_rows_of_tables_and_examples_of_any_columns_stay_what_they_are_in_a_spec_with_marks() -> None:
    spec = parse_spec(TABLES, name="desk")
    text, provenance = apply_edits(spec, edits_of(spec, "{} So it is."))
    assert [(clause.kind, clause.text) for clause in parse_spec(text).clauses] == [
        ("sentence", "The desk is kind."),
        ("sentence", "So it is."),
        ("row", "hour: nine; who: the clerk; what: Greets guests. Then waits."),
        ("row", "hour: ten; what: carries bags"),
        ("row", "1; rule: Ask; then act: at once | soon."),
        ("row", "2; rule: Never: guess."),
        ("example", EXAMPLE),
    ]
    assert [row.sources for row in provenance] == [(spec.clauses[0].id,), *((one.id,) for one in spec.clauses)]
    assert "| hour | who | what |\n|---|---|---|\n| nine | the clerk | Greets guests. Then waits. |\n\n" in text


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_what_an_edit_adds_comes_from_its_clause(path: Path) -> None:
    spec = read_spec(path)
    edits = edits_of(spec, "{} So it is.")
    _, provenance = apply_edits(spec, edits)
    by_edit = {edit.id: edit for edit in edits}
    assert {row.edit for row in provenance} >= {edit.id for edit in edits}
    assert all(row.sources == by_edit[row.edit].clause_ids for row in provenance if row.edit)
    assert all(row.request == by_edit[row.edit].request for row in provenance if row.edit)


@given(st.sets(st.integers(0, 20)))
def test_only_what_is_accepted_is_changed(accepted: set[int]) -> None:
    spec = read_spec(RULES)
    edits = [edit for at, edit in enumerate(edits_of(spec, "{} So it is.")) if at in accepted]
    text, provenance = apply_edits(spec, edits)
    changed = {edit.clause_ids[0] for edit in edits}
    kept = [clause.id for clause in spec.clauses if clause.id not in changed]
    assert [row.sources[0] for row in provenance if not row.edit] == kept
    assert text.count("So it is.") == len(edits)
    assert (text == spec.text) == (not edits)


def test_a_section_s_edit_takes_the_place_of_all_that_stood_in_it() -> None:
    spec = parse_spec("# A\n\nOne is here. Two is there.\n\n- Three.\n\n## B\n\nFour.\n")
    first = spec.sections[0]
    edit = edits_of(spec, "{}")[0].model_copy(
        update={"clause_ids": tuple(clause.id for clause in first.clauses), "after": "All in one."}
    )
    text, provenance = apply_edits(spec, [edit])
    assert text == "# A\n\nAll in one.\n\n## B\n\nFour.\n"
    assert [len(row.sources) for row in provenance] == [3, 1]


def test_edits_are_chosen_by_their_own_id_or_their_clause_s_and_a_wrong_name_is_told() -> None:
    spec = read_spec(RULES)
    edits = edits_of(spec, "{}")
    assert chosen_edits(edits, ["all"]) == edits
    assert chosen_edits(edits, ["e3", spec.clauses[5].id]) == [edits[3], edits[5]]
    with pytest.raises(ConfigError, match="no edit 'e300'"):
        chosen_edits(edits, ["e300"])


MIXED = """# Desk

The desk is kind. The desk is quick.

```
open()
```

| hour | who |
|---|---|
| nine | the clerk |

Things to do:

- greet guests
- take keys
- count keys
"""


@pytest.mark.parametrize(
    ("n_kept", "text"),
    [
        (0, "# Desk\n\nGeneral.\n\n```\nopen()\n```\n\n| hour | who |\n|---|---|\n| nine | the clerk |\n"),
        (2, MIXED.replace("The desk is kind. The desk is quick.", "General. The desk is quick.")),
    ],
)
def test_an_edit_of_several_clauses_leaves_the_others_of_its_section(n_kept: int, text: str) -> None:
    spec = parse_spec(MIXED, name="desk")
    texts = ["The desk is kind.", "The desk is quick.", "Things to do:", "greet guests", "take keys", "count keys"]
    taken = [texts[0], texts[4]] if n_kept else texts
    ids = tuple(clause.id for clause in spec.clauses if clause.text in taken)
    assert len(ids) == len(taken)
    edit = edits_of(spec, "{}")[0].model_copy(update={"clause_ids": ids, "after": "General."})
    made, provenance = apply_edits(spec, [edit])
    assert made.split() == text.replace("- take keys\n", "").split()
    kept = [clause.text for clause in spec.clauses if clause.text not in taken]
    assert [row.text for row in provenance if not row.edit] == kept
    assert [row.sources for row in provenance if row.edit] == [ids]
    # What stays has the same structure as before.
    read = parse_spec(made, name="desk")
    assert [(c.kind, c.text) for c in read.clauses if c.text != "General."] == [
        (c.kind, c.text) for c in spec.clauses if c.text in kept
    ]
