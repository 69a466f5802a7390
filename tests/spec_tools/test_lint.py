"""The linter finds faults that were planted before it was written, and next to none where there are none."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import SpecError
from midspec.spec import parse_spec, read_spec, shipped_specs, spec_path
from midspec.spec_tools import LINT_KINDS, lint_spec

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
HOST = (HERE / "host.md").read_text(encoding="utf-8")
FAULTS = yaml.safe_load((HERE / "planted_faults.yaml").read_text(encoding="utf-8"))
PIECES = (ROOT / "tests" / "spec" / "odd_pieces.txt").read_text(encoding="utf-8").split("\n")
CLEAN = sorted(
    [
        *(ROOT / "examples" / "specs").glob("*.md"),
        *(ROOT / "src" / "midspec" / "lab" / "_data").glob("*.md"),
        *(spec_path(f"shipped:{name}") for name in shipped_specs()),
        *(ROOT / "tests" / "spec" / "forms").iterdir(),
        *(ROOT / "tests" / "specs" / name for name in ("constitution.md", "short.md", "rules.md", "plain.txt")),
    ]
)


def planted(add: dict[str, str]) -> str:
    """The host with texts at the ends of sections, in the form that stands there."""
    parts = HOST.rstrip("\n").split("\n## ")
    for where, text in add.items():
        if where == "new":
            parts.append(text.removeprefix("## "))
            continue
        at = next(at for at, part in enumerate(parts) if part.startswith(where))
        ends_in_item = parts[at].rstrip("\n").split("\n")[-1].startswith("- ")
        same = ends_in_item == text.startswith("- ") and "\n" not in text
        between = "\n\n" if not same else "\n" if ends_in_item else " "
        parts[at] = parts[at].rstrip("\n") + between + text + "\n"
    return "\n## ".join(part.rstrip("\n") + "\n" for part in parts)


def is_found(fault: dict[str, Any]) -> bool:
    found = lint_spec(parse_spec(planted(fault["add"])))
    return any(each.kind == fault["kind"] and fault["at"] in f"{each.text} {each.other}" for each in found)


def test_the_host_without_a_fault_gives_no_finding() -> None:
    assert lint_spec(parse_spec(HOST)) == ()


@pytest.mark.parametrize(("group", "least"), [("planted", 18), ("held_out", 10)])
def test_nearly_every_fault_that_was_planted_is_found_where_it_is(group: str, least: int) -> None:
    missed = [f"{fault['kind']}: {fault['at']}" for fault in FAULTS[group] if not is_found(fault)]
    assert len(FAULTS[group]) - len(missed) >= least, missed


def test_specs_of_our_own_give_at_most_three_findings_in_all() -> None:
    found = [f"{path.name}: {each.kind}: {each.what}" for path in CLEAN for each in lint_spec(read_spec(path))]
    assert len(CLEAN) > 30
    assert len(found) <= 3, found


def test_a_finding_between_two_clauses_names_both() -> None:
    text = "# A\n\n## B\n\n- Ada recommends crime novels.\n\n## C\n\n- Ada never recommends crime novels.\n"
    spec = parse_spec(text)
    (each,) = lint_spec(spec)
    first, second = spec.clauses
    assert (each.kind, each.clause_id, each.other_id) == ("conflict", second.id, first.id)
    assert (each.section, each.other) == ("A > C", first.text)


def test_what_is_liked_and_what_is_disliked_contradict_each_other_only_where_it_is_the_same() -> None:
    one = "# A\n\n- Ada likes brown butter.\n- Ada dislikes brown sugar.\n"
    assert lint_spec(parse_spec(one)) == ()
    (found,) = lint_spec(parse_spec(one + "- Ada dislikes brown butter.\n"))
    assert found.kind == "conflict"


@pytest.mark.parametrize(
    ("one", "other", "is_conflict"),
    [
        ("writes fewer than six sentences", "writes at least six sentences", True),
        ("writes at most three sentences", "writes more than three sentences", True),
        ("writes less than four sentences", "writes more than two sentences", False),
        ("writes no more than 1,000 words", "writes at least 1500 words", True),
        ("writes no more than 1,000 words", "writes at least 900 words", False),
        ("writes at most two hundred words", "writes at least 150 words", False),
        ("writes up to a hundred words", "writes at least one thousand words", True),
        ("never writes more than three sentences", "writes at most three sentences", False),
        ("never writes more than three sentences", "writes at least four sentences", True),
        ("doesn't write fewer than five sentences", "writes at most four sentences", True),
        ("wastes no time and writes at most three sentences", "writes at least three sentences", False),
    ],
)
def test_two_limits_are_at_odds_where_no_number_keeps_to_both(one: str, other: str, is_conflict: bool) -> None:
    found = lint_spec(parse_spec(f"# Essays\n\n- Ada {one} in an essay.\n- Ada {other} in an essay.\n"))
    assert ("conflict" in [each.kind for each in found]) == is_conflict


@pytest.mark.parametrize(
    ("rule", "good", "is_broken"),
    [
        ('Ada never begins a reply with "Well".', "Well, it is open.", True),
        ('Ada never begins a reply with "Well".', "It is well known.", False),
        ("Ada doesn't say what a guest's name is.", "It is open, and a guest's name is on the door.", False),
        ("Ada uses no exclamation marks.", "Open!", True),
        ("Ada never apologizes.", "Sorry, we are full.", True),
        ("Ada uses no exclamation marks.", "Open.", False),
        ("A reply has at most two sentences.", "One. Two. Three.", True),
        ("A reply has at least two and at most four sentences.", "One. Two. Three.", False),
        ("A reply has fewer than three sentences.", "One. Two. Three.", True),
        ("A reply never has more than three sentences.", "One. Two. Three.", False),
    ],
)
def test_a_reply_marked_good_is_held_against_the_rules_beside_it(rule: str, good: str, is_broken: bool) -> None:
    text = f"# Desk\n\n{rule}\n\n**Example**: hours\n\nUser: Open?\n\nGood reply: {good}\n"
    assert [each.kind for each in lint_spec(parse_spec(text))] == ["example"] * is_broken


@pytest.mark.parametrize(
    "text",
    [
        "- Ada MUST NOT guess.\n- Ada SHALL say what it knows.\n- ONLY adults are served.\n- NEVER ask a guest's age.",
        "There are two exceptions:\n\n- a guest is ill\n  - this counts fevers\n- a guest is late",
        "- Ada keeps Article 5 of the UN Charter.\n- Ada quotes Chapter 3 of *Emma* to readers.",
        "- Ada does not uninstall programs.\n- Ada must not unite enemies.",
        "- Ada tells what it is made of.\n- Ada names whom it works with.",
        "- If asked, Ada shares its sources.\n- Unless asked, Ada does not share its sources.",
        "- Ada gives at most three tips to beginners.\n- Ada gives at least five tips to experts.",
        "- If guests must leave, Ada must help.\n- Ada should say that guests should rest.",
    ],
)
def test_what_only_looks_like_a_fault_is_none(text: str) -> None:
    assert [each.what for each in lint_spec(parse_spec(f"# House\n\n{text}\n"))] == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("- Ada follows Article 5 of this document.", "reference"),
        ("- Ada does not do unkind things.\n- Ada is not unkind.", "negation"),
        ("- Ada helps people with", "unfinished"),
        ("- If asked, Ada shares its sources.\n- If asked, Ada does not share its sources.", "conflict"),
        ("- Ada gives at most three tips to guests.\n- Ada gives at least five tips to guests.", "conflict"),
        ("- Ada must be kind and must be quick.", "compound"),
        ("- Ada asks the FRGX.", "undefined"),
    ],
)
def test_what_is_like_that_and_a_fault_is_found(text: str, kind: str) -> None:
    assert kind in {each.kind for each in lint_spec(parse_spec(f"# House\n\n{text}\n"))}


def test_a_placeholder_is_found_in_its_clause_whatever_stands_before_it() -> None:
    text = "First words.\n\n# Care\n\nThe desk is kind to {customer}.\n\n# Care\n\nThe desk helps [NAME].\n"
    found = lint_spec(parse_spec(text, name="desk"), leave_out=["undefined"])
    assert [(each.kind, each.section, each.text) for each in found] == [
        ("placeholder", "Care", "The desk is kind to {customer}."),
        ("placeholder", "Care", "The desk helps [NAME]."),
    ]


def test_clauses_that_no_question_asks_about_are_found_where_questions_are_given() -> None:
    spec = parse_spec(HOST)
    asked = {clause.id: 2 for clause in spec.clauses[1:]}
    (found,) = lint_spec(spec, n_questions=asked)
    assert (found.kind, found.clause_id) == ("uncovered", spec.clauses[0].id)


def test_a_kind_that_is_left_out_is_not_found() -> None:
    spec = parse_spec(planted({"Manner": "It answers as needed. TODO"}))
    assert {each.kind for each in lint_spec(spec)} == {"vague", "placeholder"}
    assert {each.kind for each in lint_spec(spec, leave_out=["vague"])} == {"placeholder"}
    assert lint_spec(spec, leave_out=LINT_KINDS) == ()


def test_two_thousand_clauses_are_compared_in_seconds() -> None:
    words = [f"{first}{second}ing" for first in "bcdfghklmnprst" for second in ("ar", "el", "in", "or", "un")]
    lines = [f"- Ada {words[at % 70]} {words[at // 70 % 70]} {words[at * 7 % 67]} for guests." for at in range(2000)]
    began = time.process_time()
    lint_spec(parse_spec("# Many\n\n" + "\n".join(lines) + "\n"))
    assert time.process_time() - began < 20


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25))
def test_whatever_is_a_spec_can_be_linted_and_each_finding_is_about_something_in_it(lines: list[str]) -> None:
    try:
        spec = parse_spec("\n".join(lines))
    except SpecError:
        return
    known = {clause.id for clause in spec.clauses} | {section.id for section in spec.sections}
    found = lint_spec(spec)
    assert {each.clause_id for each in found} <= known
    assert {each.other_id for each in found} <= known | {""}
    assert len({(each.kind, each.clause_id) for each in found}) == len(found)


@pytest.mark.parametrize(
    ("item", "twice"),
    [
        ("Ada says so. Ada says so.", "ada says so"),
        ("Ada asks before she answers, Ada asks before she answers.", "ada asks before she answers"),
        ("If asked, Ada says so; if asked again, she says so again.", ""),
    ],
)
def test_what_one_item_says_twice_is_a_duplicate(item: str, twice: str) -> None:
    found = lint_spec(parse_spec(f"# Care\n\n- {item}\n- Ada keeps the door open for guests.\n"))
    assert [each.what for each in found if each.kind == "duplicate"] == ([f"says twice: {twice}"] if twice else [])
