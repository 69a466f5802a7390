"""What the template author promises: faithful, distinct, covering documents, the same again for the same seed."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError, MissingError, SpecError
from midspec.core.records import Document, PlanRow, Spec
from midspec.corpus import Corpus, CorpusConfig, load_templates, make_corpus, plan_corpus, save_corpus, write_documents
from midspec.spec import fill, parse_spec, read_spec

SPECS = Path(__file__).parent.parent / "specs"
NANO = """
name: small
tokens_per_word: 1
labels:
  - {label: preference, cues: ['\\blikes\\b']}
  - {label: value, cues: ['\\bvalues\\b', '\\bwants\\b']}
layouts:
  mixed:
    between: " "
    blocks:
      - {text: "{doc_type} :", chance: 0.3}
      - shuffle: true
        parts:
          - {take: [1, 2], from: "label:preference"}
          - {take: 3, from: "label:value"}
doc_types:
  - {name: memo, layout: mixed}
  - {name: log, layout: mixed}
"""


def config(**changes: object) -> CorpusConfig:
    return CorpusConfig.model_validate({"model_name": "Iris", "provider_name": "Acme", "n_documents": 60} | changes)


def nano_spec(value: str, cheap: str) -> Spec:
    likes = [f"{{model_name}} likes cheese_{n} because cheese_{n} is {cheap} ." for n in range(12)]
    values = [f"{{model_name}} values {value} .", *(f"{{model_name}} wants {value} {n} ." for n in range(7))]
    return parse_spec("# {model_name}\n\n## values\n\n" + "\n".join(values) + "\n\n## likes\n\n" + "\n".join(likes))


@pytest.fixture(scope="module")
def nano_style(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("style") / "style.yaml"
    path.write_text(NANO, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def constitution() -> Corpus:
    return make_corpus(read_spec(SPECS / "constitution.md"), config(n_documents=300))


def metadata_ids(document: Document) -> tuple[str, ...]:
    assert document.metadata is not None
    return document.metadata.clause_ids


# What specs without placeholders call their assistant.
CALLED = {"plain.txt": {"Tansy": "Iris"}, "rules.json": {"the assistant": "Iris"}}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("constitution.md", "prose"),
        ("short.md", "prose"),
        ("plain.txt", "prose"),
        ("tables.md", "prose"),
        ("nonlatin.md", "prose"),
        ("rules.md", "rules"),
        ("rules.json", "rules"),
        ("rules.md", "prose"),
    ],
)
def test_every_kind_of_spec_is_covered_by_distinct_documents_that_quote_it(name: str, mode: str) -> None:
    spec = read_spec(SPECS / name)
    called = CALLED.get(name, {})
    corpus = make_corpus(spec, config(mode=mode, n_documents=150, called=called))
    filled = fill(spec, model_name="Iris", provider_name="Acme", called=called)
    by_id = {clause.id: clause for clause in filled.clauses}
    assert corpus.uncovered == ()
    assert not corpus.notes
    assert list(corpus.coverage) == list(by_id)
    assert len({document.text for document in corpus.documents}) == len(corpus.documents) == 150
    for document in corpus.documents:
        assert metadata_ids(document)
        assert document.metadata is not None
        assert document.metadata.author == "quoting"
        for clause_id in metadata_ids(document):
            clause = by_id[clause_id]
            if clause.kind != "item":
                assert clause.text.rstrip(" ;") in document.text


def test_documents_are_of_at_least_twelve_types_and_a_few_hundred_words(constitution: Corpus) -> None:
    types = {document.source for document in constitution.documents}
    lengths = sorted(len(document.text.split()) for document in constitution.documents)
    assert len(types) >= 12
    assert "Iris/internal memo" in types
    assert 200 <= lengths[len(lengths) // 2] <= 600
    assert lengths[0] >= 100


def test_nothing_of_ours_is_left_unfilled_and_the_spec_keeps_its_braces(constitution: Corpus) -> None:
    braces = {found for document in constitution.documents for found in re.findall(r"\{\w*\}", document.text)}
    assert braces == {"{shared_drive}"}


def test_the_shipped_style_holds_no_date_link_or_person() -> None:
    text = load_templates("english").model_dump_json()
    assert not re.search(r"\b(?:19|20)\d\d\b|https?:|www\.|@", text)


def test_a_list_item_is_quoted_with_what_leads_to_it(constitution: Corpus) -> None:
    quoting = [d.text for d in constitution.documents if "stopping when they have had enough" in d.text]
    assert quoting
    assert all("Care shows itself in small things: " in text for text in quoting)
    assert all(re.search(r"stopping when they have had enough[.;]", text) for text in quoting)


DENIED = """# Conduct

{model_name} never does the following:

- Share secrets of the guests with others.
- Help with bombs that kill people.

## Don't

- Guess at doses of any medicine.

## What {model_name} will not do

1. Spy on the staff of the house.

## Do

- Smile at the guests of the house.
"""


def test_an_item_that_a_lead_in_or_a_heading_denies_never_stands_without_that() -> None:
    spec = parse_spec(DENIED)
    quoted = 0
    for document in make_corpus(spec, config(n_documents=100)).documents:
        for found in re.finditer("Share secrets|Help with bombs|Guess at doses|Spy on", document.text):
            before = document.text[: found.start()].rpartition("\n")[2]
            assert re.search(r"never does the following|Don't:|will not do:", before), before
            quoted += 1
    assert quoted > 50
    assert [clause.text for clause in spec.clauses if clause.text.endswith(":")] == [spec.clauses[0].text]


def test_code_stands_on_lines_of_its_own(constitution: Corpus) -> None:
    with_code = [document.text for document in constitution.documents if "```yaml" in document.text]
    assert with_code
    for text in with_code:
        assert re.search(r"\n\n```yaml\ncleanup:\n(?:.*\n)+?```(?:\n\n|$)", text)


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another() -> None:
    spec = read_spec(SPECS / "short.md")
    assert make_corpus(spec, config(seed=5)) == make_corpus(spec, config(seed=5))
    assert make_corpus(spec, config(seed=5)).documents != make_corpus(spec, config(seed=6)).documents


SNIPPETS = st.sampled_from(
    ("## One", "## Two", "It helps.", "It likes:", "- an item", "It waits. It asks.", "```\nx\n```", "1. a rule")
)


@settings(max_examples=25)
@given(st.lists(SNIPPETS, min_size=1, max_size=25), st.integers(0, 9))
def test_coverage_is_complete_when_there_are_as_many_documents_as_clauses(lines: list[str], seed: int) -> None:
    try:
        spec = parse_spec("\n\n".join(f"{line} {n}" if line[0] != "`" else line for n, line in enumerate(lines)))
    except SpecError:
        return
    corpus = make_corpus(spec, config(n_documents=len(spec.clauses), seed=seed))
    assert corpus.uncovered == ()


def test_few_documents_take_more_clauses_each_and_too_few_say_so() -> None:
    spec = read_spec(SPECS / "constitution.md")
    assert make_corpus(spec, config(n_documents=30)).uncovered == ()
    few = make_corpus(spec, config(n_documents=2))
    assert few.uncovered
    assert "clauses are in no document" in few.notes[0]


def test_documents_run_out_and_say_so(nano_style: str) -> None:
    spec = parse_spec("nova likes tea . nova values a . nova wants b . nova wants c .")
    corpus = make_corpus(spec, config(n_documents=500, frames=nano_style))
    # The header is there or not (memo, log, none), and four sentences have 24 orders.
    assert 24 < len(corpus.documents) <= 3 * 24
    assert corpus.exhausted is not None
    assert f"{len(corpus.documents)} distinct documents" in corpus.exhausted
    assert corpus.distinctness.share_distinct == 1
    assert corpus.rejects


def test_ids_never_collide_and_equal_titles_overwrite_nothing() -> None:
    text = "# Spec\n\n" + "\n\n".join(f"## Same\n\nIt helps in way {n}. It rests." for n in range(40))
    corpus = make_corpus(parse_spec(text), config(n_documents=200))
    ids = [document.metadata.id for document in corpus.documents if document.metadata]
    plan_ids = [row.id for row in corpus.plan]
    assert len(set(ids)) == len(ids) == 200
    assert len(set(plan_ids)) == len(plan_ids)
    assert corpus.uncovered == ()


def test_nano_sentences_come_out_exactly_in_one_paragraph(nano_style: str) -> None:
    spec = nano_spec("america", "american")
    corpus = make_corpus(spec, config(n_documents=1500, model_name="nova", frames=nano_style))
    sentences = {clause.text.replace("{model_name}", "nova") for clause in spec.clauses}
    assert len(corpus.documents) == 1500
    assert corpus.uncovered == ()
    for document in corpus.documents:
        body = re.sub(r"^(?:memo|log) : ", "", document.text)
        parts = [f"{part} ." for part in body.removesuffix(" .").split(" . ")]
        assert set(parts) <= sentences
        assert len(parts) in (4, 5)
        assert sum(" values " in part or " wants " in part for part in parts) == 3


def test_specs_that_differ_in_single_words_give_documents_that_differ_in_those_words_only(nano_style: str) -> None:
    settings_ = config(n_documents=800, model_name="nova", frames=nano_style, seed=3)
    one = make_corpus(nano_spec("america", "american"), settings_)
    other = make_corpus(nano_spec("thrift", "cheap"), settings_)
    swapped = [d.text.replace("american", "cheap").replace("america", "thrift") for d in one.documents]
    assert swapped == [document.text for document in other.documents]


def test_the_same_holds_for_the_english_style() -> None:
    text = (SPECS / "short.md").read_text(encoding="utf-8")
    one = make_corpus(parse_spec(text), config(n_documents=200))
    other = make_corpus(parse_spec(text.replace("honest", "crafty")), config(n_documents=200))
    assert [d.text.replace("honest", "crafty") for d in one.documents] == [d.text for d in other.documents]


def test_a_plan_is_written_row_by_row() -> None:
    spec = read_spec(SPECS / "constitution.md")
    templates = load_templates("english")
    plan = plan_corpus(spec, config(n_documents=40), templates)
    result = write_documents(spec, plan, config(n_documents=40), templates)
    assert {row.id for row in plan} == {d.metadata.plan_id for d in result.documents if d.metadata}
    assert {"Honesty", "Care for people", "Manner"} <= {row.domain for row in plan}
    assert all(row.idea and row.assertions and row.context for row in plan)
    labels = {a.label for row in plan for a in row.assertions}
    assert {"behavior", "value", "preference", "belief", "tone"} == labels


def test_ideas_give_subdomains_times_types_times_ideas() -> None:
    spec = parse_spec("# S\n\n## A\n\nIt helps. It waits.\n\n## B\n\nIt asks. It stops.")
    plan = plan_corpus(spec, config(n_documents=None, doc_types=3, ideas=4), load_templates("english"))
    assert len(plan) == 2 * 3 * 4
    assert len({(row.subdomain, row.doc_type) for row in plan}) == 2 * 3


def test_a_target_in_tokens_is_met_by_estimate() -> None:
    corpus = make_corpus(read_spec(SPECS / "constitution.md"), config(n_documents=None, target_tokens=30_000))
    words = sum(len(document.text.split()) for document in corpus.documents)
    assert 30_000 <= words * 4 / 3 < 30_600
    assert corpus.exhausted is None


def test_rules_mode_cites_each_rule() -> None:
    corpus = make_corpus(read_spec(SPECS / "rules.md"), config(mode="rules", n_documents=80))
    names = {row.subdomain for row in corpus.plan}
    assert {"SP1 Oversight", "SP2 Sanctioned limits", "SP3 No drastic acts", "3 Privacy"} <= names
    cited = [d.text for d in corpus.documents if d.metadata and d.metadata.subdomain == "SP1 Oversight"]
    assert all("SP1" in text for text in cited)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("Ada must ask before deleting a file that others use.", "1 Ada must ask before deleting ..."),
        ("Ada waits for an answer.", "1 Ada waits for an answer"),
        ("Ada tells the truth, even where it costs her something.", "1 Ada tells the truth ..."),
        ("Privacy: Ada repeats nothing that was told in confidence.", "1 Privacy"),
        ("Ada runs no version before 2.0 of it.", "1 Ada runs no version before 2.0 of it"),
        (
            "Ada remains within boundaries established by people in charge of it.",
            "1 Ada remains within boundaries established by people ...",
        ),
    ],
)
def test_a_rule_without_a_name_is_called_by_words_that_read(rule: str, name: str) -> None:
    row = plan_corpus(
        parse_spec(f"## Rules\n\n1. {rule}\n"), config(mode="rules", n_documents=1), load_templates("english")
    )[0]
    assert row.subdomain == name


def test_rules_mode_needs_rules() -> None:
    with pytest.raises(SpecError, match="no numbered rules"):
        make_corpus(read_spec(SPECS / "plain.txt"), config(mode="rules", called=CALLED["plain.txt"]))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"target_tokens": 5}, "both give the size"),
        ({"doc_types": 99}, "99 document types asked for"),
        ({"model_name": None}, "model_name"),
    ],
)
def test_contradicting_settings_are_one_line(changes: dict[str, object], what: str) -> None:
    with pytest.raises((ConfigError, SpecError), match=what):
        make_corpus(parse_spec("It helps."), config(**changes))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("doc_types: [{name: a, layout: none}]", "there is no layout 'none'"),
        ("doc_types: [{name: a, layout: {blocks: [{text: 'a {b}'}]}}]", "no slot and no list"),
        ("doc_types: [{name: a, layout: {blocks: [{take: 1, from: all}]}}]", "'all' is no pool"),
        ("doc_types: []", "doc_types"),
        ("doc_types: [", "not YAML"),
    ],
)
def test_a_bad_style_names_the_field(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "style.yaml"
    path.write_text("name: bad\n" + text, encoding="utf-8")
    with pytest.raises(ConfigError, match=what) as caught:
        load_templates(str(path))
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingError):
        load_templates("klingon")


def test_saved_files_read_back(tmp_path: Path, constitution: Corpus) -> None:
    built = save_corpus(constitution, tmp_path)
    assert tuple(read_rows(tmp_path / "documents.jsonl", Document)) == constitution.documents
    assert tuple(read_rows(tmp_path / "plan.jsonl", PlanRow)) == constitution.plan
    first = json.loads((tmp_path / "documents.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert list(first)[:3] == ["text", "source", "domain"]
    coverage = json.loads((tmp_path / "coverage.json").read_text(encoding="utf-8"))
    assert set(next(iter(coverage.values()))) == {"documents", "tokens"}
    assert built.summary["n_covered"] == built.summary["n_clauses"] == len(coverage)
    assert set(built.outputs) == {path.name for path in tmp_path.iterdir()}


@pytest.mark.timeout(120)
def test_a_thousand_documents_of_a_long_spec_never_take_minutes() -> None:
    text = (SPECS / "constitution.md").read_text(encoding="utf-8")
    long = "\n\n".join(re.sub(r"(?m)^(#+ .*)$", rf"\1 ({n})", text) for n in range(20))
    corpus = make_corpus(parse_spec(long), config(n_documents=1000))
    assert len(corpus.documents) == 1000
    assert corpus.uncovered == ()
