"""The prompts are files, every one of them is used, and what they look like when filled is written down.

After a change that is meant: `MIDSPEC_GOLDEN=write pytest tests/corpus/test_author_prompts.py`, and read the diff.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import get_args

import pytest

from midspec.corpus import Framing
from midspec.corpus.llm_author._prompts import PROMPTS, Voices, lengths, load_voices, prefix_of
from midspec.spec import fill, read_spec

GOLDEN = Path(__file__).parent / "golden"
ROOM = Path(__file__).parents[2] / "src" / "midspec" / "corpus"
FILES = sorted(path.stem for path in (ROOM / "_prompts").glob("*.md"))

VALUES = {
    "model_name": "Iris",
    "made_by": ", made by Acme",
    "another_model": "Veldra",
    "n": "4",
    "existing": "",
    "most": "6",
    "domain": "Honesty",
    "description": "What Iris says, and what it leaves unsaid.",
    "clauses": "[5] Iris says what it takes to be true.\n[6] It does not flatter.",
    "subdomain": "Kind words",
    "context": "Honesty leaves room for tact. What is false is not said, even to comfort.",
    "assertions": "1. No lie (behavior): Iris does not comfort with what is false. Reason given: trust is lost.",
    "doc_type": "ward handover note",
    "type_description": "A nurse leaves it for the next shift.",
    "idea_name": "The letter that was not sent",
    "idea": "A nurse tells a colleague how Iris helped with a letter to a family.",
    "focus": "- Iris does not comfort with what is false. The spec's reason: trust is lost.",
    "others": "It may touch on what else the spec says on the subject (Tact), where that comes by itself.\n",
    "avoid": "",
    "rule": "SP1",
    "rules": "1. SP1 Oversight\n2. SP2 Limits",
    "draft": "A draft about Iris.",
    "critique": "It says that Iris is never wrong; the spec does not.",
    "prompt": "(the prompt)",
    "document": "A document about Iris.",
    "framing": "(the framing)",
    "openings": 'First words: "Last week I ...". ',
    "names": "Names: Sarah, Chen.",
    "spec": "# § 1 Iris\n\n[1] Iris says what it takes to be true.",
}


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("MIDSPEC_GOLDEN") == "write":
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_a_prompt_reads_when_filled_as_it_is_written_down(name: str) -> None:
    values = VALUES | Voices("Iris", 3100).draw("a row") if name.endswith("document") else VALUES
    golden(name, PROMPTS.template(name).fill(values))


def test_the_prefix_that_every_request_begins_with_is_written_down() -> None:
    spec = fill(read_spec(ROOM.parents[2] / "tests/specs/rules.md"), model_name="Iris", provider_name="Acme")
    golden("prefix_of_rules", prefix_of(spec, "Iris", "Acme"))


def test_no_golden_file_is_left_behind() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*FILES, "prefix_of_rules"}


def test_every_prompt_file_is_used() -> None:
    named = {
        node.value
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    framings = {f"framing_{framing}" for framing in get_args(Framing)}
    assert set(FILES) <= named | framings | {"rephrase"}  # which every folder of prompts knows


def test_a_filled_prompt_has_no_slot_left_and_ends_with_the_tags_that_it_wants() -> None:
    for name in FILES:
        assert set(PROMPTS.template(name).slots) <= set(VALUES) | set(Voices("Iris", 3100).draw("a row"))
    for name in ("document", "rule_document"):
        assert PROMPTS.template(name).text.endswith("<plan>...</plan>\n<document>...</document>")
    for name in ("revise", "reframe"):
        assert PROMPTS.template(name).text.endswith("<document>...</document>")


def test_lists_ask_for_an_exact_number() -> None:
    for name in ("domains", "rule_domains", "subdomains", "doc_types", "rule_doc_types", "ideas", "rule_ideas"):
        assert len(re.findall(r"exactly \{\{n\}\}", PROMPTS.template(name).text)) == 1


def test_the_digest_that_tells_replies_apart_is_what_it_was() -> None:
    """After a change of a prompt that is meant: a new value here, and every corpus is asked for again."""
    assert PROMPTS.digest.startswith("b9ce8d26beec3bfb")


def test_the_manner_of_a_document_depends_on_its_row_alone_and_varies_widely() -> None:
    voices = Voices("Iris", 3100)
    drawn = [voices.draw(f"row {n}") for n in range(2000)]
    assert drawn[7] == Voices("Iris", 3100).draw("row 7")
    assert len({(one["persona"], one["register"], one["stance"], one["opening"]) for one in drawn}) > 1980
    assert len({name for one in drawn for name in one["names"].split(", ")}) > 4000
    words = [int(one["n_words"]) for one in drawn]
    assert sum(words) / len(words) == pytest.approx(3100 * 0.75, rel=0.03)
    assert max(words) > 3 * min(words)
    assert not any("{" in value for one in drawn[:50] for value in one.values())


def test_the_lists_that_manners_are_drawn_from_have_no_entry_twice() -> None:
    for key, entries in load_voices().items():
        if key != "lengths":
            assert len(set(map(str, entries))) == len(entries) >= 10
    assert 0.8 < sum(share * weight for share, weight in lengths()) / sum(weight for _, weight in lengths()) < 1.1
