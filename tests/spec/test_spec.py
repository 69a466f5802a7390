"""What parsing a spec promises: any text becomes sections and clauses, or one line that says why not."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.errors import MissingError, SpecError
from midspec.core.records import Spec
from midspec.spec import check_spec, fill, parse_spec, placeholders, read_spec, split_sentences
from midspec.spec._words import split_as_before, with_whole_emphasis

SPECS = Path(__file__).parent.parent / "specs"
MARKDOWN = """# Top
## Part
Part
----
====
- an item
1. first
   goes on

```
~~~
| a | b |
|---|---|
One thing. Another thing!
{model_name} is {odd}.
> quoted
nova values america . yes ?"""
LINES = st.sampled_from(MARKDOWN.splitlines())
TEXTS = st.one_of(st.text(max_size=300), st.lists(LINES, max_size=30).map("\n".join))


def squeezed(text: str) -> str:
    return "".join(text.split())


def texts(spec: Spec) -> list[str]:
    return [clause.text for clause in spec.clauses]


@given(TEXTS)
def test_any_text_parses_or_is_a_spec_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except SpecError:
        return
    assert spec.clauses
    ids = [clause.id for clause in spec.clauses]
    assert len(set(ids)) == len(ids)
    assert all(clause.text.strip() for clause in spec.clauses)
    section_ids = [section.id for section in spec.sections]
    assert len(set(section_ids)) == len(section_ids)
    assert parse_spec(text) == spec


@given(st.text(max_size=300))
def test_sentences_hold_every_character_that_is_no_space(text: str) -> None:
    assert squeezed("".join(split_sentences(text))) == squeezed(text)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["It helps.", "- an item", "It says why. It stops."]), min_size=1, max_size=6),
    st.integers(0, 4),
)
def test_clause_ids_are_stable_when_a_section_is_inserted_elsewhere(lines: list[str], at: int) -> None:
    parts = [f"## Part {n}\n\n" + "\n\n".join(f"{line} ({n}-{m})" for m, line in enumerate(lines)) for n in range(4)]
    before = parse_spec("# Spec\n\n" + "\n\n".join(parts))
    parts.insert(at, "## New\n\nSomething new stands here. Nothing else is like it.")
    after = parse_spec("# Spec\n\n" + "\n\n".join(parts))
    assert {clause.id for clause in before.clauses} <= {clause.id for clause in after.clauses}


def test_a_clause_keeps_its_id_when_its_section_is_renamed_or_rewrapped() -> None:
    one = parse_spec("# A\n\nIt tells the truth\nto everyone.")
    two = parse_spec("# B\n\nIt tells  the truth to everyone.\n\nMore.")
    assert one.clauses[0].id == two.clauses[0].id
    assert one.clauses[0].section_id != two.clauses[0].section_id


def test_equal_sentences_have_different_ids() -> None:
    first, second = parse_spec("It waits. It waits.").clauses
    assert first.text == second.text
    assert first.id != second.id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Ada met Mr. X at 3.30 a.m. once. They left.", ["Dr. Ada met Mr. X at 3.30 a.m. once.", "They left."]),
        ("It costs $3.50, i.e. little. Fine.", ["It costs $3.50, i.e. little.", "Fine."]),
        ('"Why?" she asked. "Because." He nodded.', ['"Why?" she asked.', '"Because."', "He nodded."]),
        ("He said “Stop. Now.” Then he left.", ["He said “Stop. Now.”", "Then he left."]),
        ("It waits... and waits. Then it acts…", ["It waits... and waits.", "Then it acts…"]),
        ("It rests ... it goes on. Done.", ["It rests ... it goes on.", "Done."]),
        ("nova values america . is it so ? yes .", ["nova values america .", "is it so ?", "yes ."]),
        ("它说真话。它不骗人！对吗？", ["它说真话。", "它不骗人！", "对吗？"]),
        ("वह सच बोलता है। वह रुकता है।", ["वह सच बोलता है।", "वह रुकता है।"]),
        ("Write `a. B. c` as it is. Next.", ["Write `a. B. c` as it is.", "Next."]),
        ("SP2: Fair limits. It stays inside. It asks.", ["SP2: Fair limits. It stays inside.", "It asks."]),
        ("Is it right? No. It is not.", ["Is it right?", "No.", "It is not."]),
        ("See No. 5 and Fig. 2. Both help.", ["See No. 5 and Fig. 2.", "Both help."]),
    ],
)  # fmt: skip
def test_sentences_end_where_a_reader_ends_them(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Skip the "Great question!" and "Happy to help!" — just help.', 1),
        ("Skip the “Great question!” and “Happy to help!”, just help.", 1),
        ("Skip `What a day!` and *Happy to help!* — just help.", 1),
        ("**Ask first!** — Ada waits.", 2),
        ("Laisse tomber les « Bonne idée ! » et « Avec joie ! » — aide.", 1),
        ("Il dit « Bonjour ! » Puis il part.", 2),
        ("Lass „Gute Frage!“ und „Sehr gern!“ – hilf einfach.", 1),
        ("Lass »Gute Frage!« und ‚Sehr gern!‘ – hilf einfach.", 1),
        ("„Halt!“ Dann ging er.", 2),
        ("Omite «¡Buena pregunta!» y «¡Encantado!» — ayuda.", 1),
        ("Забудь «Отличный вопрос!» и «С радостью!» — просто помоги.", 1),
        ("别说“好问题！”和“乐意！”——直接帮忙。", 1),
        ("「いい質問ですね！」や「喜んで！」はやめる。", 1),
        ('"좋은 질문이네요!" 또는 "기꺼이!" — 그냥 도와라.', 1),
        ("Einfach nur … gut.", 1),
        ("einfach nur ... gut.", 1),
        ("It rests … Then it goes.", 2),
        ("1 (ethical). Watson keeps guests from harm.", 1),
        ("**1 (ethical).** Watson keeps guests from harm.", 1),
        ("2a. Ada asks. It waits.", 2),
        ("(3). Ada asks. It waits.", 2),
        ("(3) Ada asks. It waits.", 2),
        ("Rule 4 (candor). Ada asks. It waits.", 2),
        ("Rule 4 (candor): Ada asks. It waits.", 2),
        ("R5 — Candor about limits. Ada asks first. It waits.", 2),
        ("Regel 4. Ada fragt. Sie wartet.", 2),
        ("Правило 4. Ада спрашивает. Она ждёт.", 2),
        ("第1条。它问。它等。", 2),
        ("1（诚实）。它说真话。它等。", 2),
        ("제1조. 에이다는 묻는다. 기다린다.", 2),
        ('If a guest asks "Is the pool open?" Ada gives the hours.', 1),
        ('A guest asks "Is the pool open?" Ada gives the hours.', 2),
        ('There are two parts: 1. "The house" and 2. "The garden". Both are old.', 2),
        ("Ada knows 1. the rooms, 2. the pool, 3. The garden.", 1),
        ("Ada has room 2. Guests like it.", 2),
    ],
)
def test_a_quotation_a_pause_and_a_label_end_no_sentence(text: str, expected: int) -> None:
    assert len(split_sentences(text)) == expected
    assert parse_spec(f"It asks.\n\n{text}").is_marked == (split_as_before(text) != split_sentences(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**Ada never flatters. It says what it sees.**", ["**Ada never flatters.**", "**It says what it sees.**"]),
        ("__Ada asks. It waits.__ It stops.", ["__Ada asks.__", "__It waits.__", "It stops."]),
        ("***Ada asks. It waits.***", ["***Ada asks.***", "***It waits.***"]),
        ("It _asks. Then it_ waits. So.", ["It _asks._", "_Then it_ waits.", "So."]),
        ("**It *asks. Then* waits. So** it is.", ["**It *asks.***", "***Then* waits.**", "**So** it is."]),
        ("*調べてみる。それでもだめなら聞く。*", ["*調べてみる。*", "*それでもだめなら聞く。*"]),
        ("A price*, see below. Other* words.", ["A price*, see below.", "Other* words."]),
        ("It has 5 * 3. It has 4 * 2.", ["It has 5 * 3.", "It has 4 * 2."]),
        ("Write a_name. Write b_name.", ["Write a_name.", "Write b_name."]),
        ("Write `**a`. Then `b**`.", ["Write `**a`.", "Then `b**`."]),
        ("Ada asks. **It waits.** It stops.", ["Ada asks.", "**It waits.**", "It stops."]),
    ],
)
def test_emphasis_over_sentences_stands_around_each(text: str, expected: list[str]) -> None:
    spec = parse_spec(f"It asks first.\n\n{text}")
    assert texts(spec)[1:] == expected
    assert spec.is_marked == spec.is_recut == (split_sentences(text) != expected)


@given(st.lists(st.sampled_from(["*", "**", "_", "__", "a", "B. ", " ", "`", "。", "***"]), max_size=30).map("".join))
def test_emphasis_is_only_ever_added_to(text: str) -> None:
    sentences = split_sentences(text)
    for before, after in zip(sentences, with_whole_emphasis(sentences), strict=True):
        assert before in after
        assert set(after.replace(before, "", 1)) <= set("*_")


def test_a_footnote_stays_with_its_sentence_within_emphasis() -> None:
    spec = parse_spec("**Ada asks.[^1] It waits. It stops.**\n\n[^1]: Of guests.\n")
    assert texts(spec) == ["**Ada asks.**", "Of guests.", "**It waits.**", "**It stops.**"]


def test_headings_of_both_kinds_make_sections_and_fences_hide_them() -> None:
    spec = read_spec(SPECS / "tables.md")
    titles = [section.title for section in spec.sections]
    assert titles == ["{model_name}: braces, tables and code", "Tool calls", "Formats", "Done"]
    assert [section.level for section in spec.sections] == [1, 2, 2, 2]
    assert spec.sections[2].path == (titles[0], "Formats")
    assert spec.title == titles[0]


def test_items_rows_and_code_are_clauses_of_their_own() -> None:
    spec = read_spec(SPECS / "tables.md")
    by_kind = {kind: [c.text for c in spec.clauses if c.kind == kind] for kind in ("item", "row", "code")}
    assert "Keep a percent sign: 100%. It goes on in a second line." in by_kind["item"]
    assert "a nested point about {anything}" in by_kind["item"]
    assert by_kind["row"][2] == "Asked for: a path with a | pipe; Given: the path, quoted"
    assert by_kind["code"][0].startswith("```json\n{")
    assert "# not a heading" in by_kind["code"][1]


@pytest.mark.parametrize("text", ["Write <think> and </think> once.", "Pad with {x:>10} here.", "If a > b it stops."])
def test_a_sign_inside_a_line_is_no_quotation_mark(text: str) -> None:
    assert [clause.text for clause in parse_spec(text).clauses] == [text]


def test_a_quotation_loses_its_marks_at_the_start_of_each_line() -> None:
    spec = parse_spec("> > It waits,\n> if a > b.\n\n  >- an item\n")
    assert [clause.text for clause in spec.clauses] == ["It waits, if a > b.", "an item"]


def test_a_text_without_headings_has_a_section_for_each_paragraph() -> None:
    spec = read_spec(SPECS / "plain.txt")
    assert len(spec.sections) == 4
    assert {section.level for section in spec.sections} == {0}
    assert spec.title == "plain"
    assert texts(spec)[0] == "Tansy is an assistant for people who repair things."


def test_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    text = (SPECS / "constitution.md").read_text(encoding="utf-8")
    path = tmp_path / "constitution.md"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_spec(path) == read_spec(SPECS / "constitution.md")


def test_non_latin_text_is_ordinary() -> None:
    spec = read_spec(SPECS / "nonlatin.md")
    assert len(spec.clauses) == 11
    assert "Он не льстит, потому что лесть никому не помогает." in texts(spec)


def test_json_rules_have_a_section_each() -> None:
    spec = read_spec(SPECS / "rules.json")
    assert [section.title for section in spec.sections] == ["SP1: Oversight", "SP2: Limits", "GP1: Honesty"]
    assert spec.sections[0].path == ("Safety", "SP1: Oversight")


def test_filling_replaces_and_never_formats() -> None:
    spec = parse_spec("# {model_name}\n\n{model_name} of {provider_name} writes {x}, {} and {{model_name}}.")
    filled = fill(spec, model_name="{provider_name}", provider_name="100% {0}")
    assert texts(filled) == ["{provider_name} of 100% {0} writes {x}, {} and {provider_name}."]
    assert [c.id for c in filled.clauses] == [c.id for c in spec.clauses]
    assert filled.sha256 == spec.sha256
    assert filled.title == "{provider_name}"


def test_a_placeholder_without_a_value_is_an_error_and_an_absent_one_is_not() -> None:
    spec = parse_spec("{model_name} helps.")
    assert texts(fill(spec, model_name="Iris", provider_name=None)) == ["Iris helps."]
    with pytest.raises(SpecError, match=r"--model-name"):
        fill(spec, model_name=None, provider_name="Acme")


def test_placeholders_outside_code_are_listed_once() -> None:
    spec = parse_spec("{model_name} and {user} and {user} but not {{two}} or `{code}`.\n\n```\n{fenced}\n```")
    assert placeholders(spec) == ("model_name", "user")


def test_check_warns_of_what_an_author_may_have_missed() -> None:
    text = (
        "# Spec\n\n{user} is greeted. Claude waits. It waits. It waits.\n\n## Empty\n\n## Full\n\nClaudette and GPT-4."
    )
    found = [str(finding) for finding in check_spec(parse_spec(text), model_name="Claude 9")]
    assert found == [
        "Spec: unknown placeholder {user}: only {model_name} and {provider_name} are filled",
        "Spec > Empty: empty section: a heading with nothing under it",
        "Spec: said 2 times: It waits.",
        "Spec > Full: names another assistant: GPT-4",
    ]


def test_a_good_spec_gives_no_warning() -> None:
    assert check_spec(read_spec(SPECS / "constitution.md")) == ()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b" \r\n\t\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8"),
        ("olé".encode("latin-1"), "is not UTF-8"),
        (b"text\x00more", "is binary"),
        ("a text".encode("utf-16"), "is not UTF-8"),
        (b"# Only\n\n## Headings\n", "holds no sentence"),
        (b"{\\rtf1 Ada is kind.}", "is a file of a word processor"),
        (b"%PDF-1.7\nAda is kind.", "is a file of a word processor"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is a file of a word processor"),
        (b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xb7\xac", "is a file of a word processor"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a file of a word processor"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1e08\nsize 886\n", "is a pointer of Git LFS"),
        (b"<?xml version='1.0'?>\n<rules><rule>Ada asks first.</rule></rules>\n", "is XML"),
    ],
)
def test_what_is_no_spec_is_one_line(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "spec.md"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=what) as caught:
        read_spec(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rules.csv", "rules.TSV", "rules.toml"])
def test_a_table_and_toml_are_refused_whose_marks_would_be_taken_for_words(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("id,rule\n1,Ada asks first.\n")
    with pytest.raises(SpecError, match="file, whose marks"):
        read_spec(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "<?xml version='1.0'?>\n<!DOCTYPE html>\n<html><body><p>Ada asks first.</p></body></html>\n",
        "Files of Git LFS begin with `version https://git-lfs.github.com/spec/v1`. Ada asks first.\n",
    ],
)
def test_a_page_of_xml_and_words_about_pointers_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.md").write_text(text)
    assert "Ada asks first." in read_spec(tmp_path / "spec.md").text


@pytest.mark.parametrize("text", ["Ada\u00e2\u20ac\u2122s rule", "Caf\u00c3\u00a9", "20\u00c2\u00b0C", "A\ufffdda"])
def test_words_that_were_wrongly_decoded_are_told(text: str) -> None:
    found = [finding.what for finding in check_spec(parse_spec(f"# A\n\nIt asks {text} first. It waits, {text}."))]
    assert ["(and 1 more)" in what for what in found if what.startswith("looks wrongly decoded")] == [True]


@pytest.mark.parametrize(
    "text", ["N\u00c3O minta, P\u00c3ES", "\u00c2ge \u00ab", "\u00e2 \u20ac5", "na\u00efve caf\u00e9"]
)
def test_letters_with_accents_are_not_wrongly_decoded(text: str) -> None:
    assert check_spec(parse_spec(f"# A\n\nIt asks {text} first.")) == ()


def test_a_missing_spec_or_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such spec file"):
        read_spec(tmp_path / "none.md")
    with pytest.raises(MissingError, match="is a folder"):
        read_spec(tmp_path)


UNITS = ["Plain words. ", "# h\n\ntext\n", "(", '"', "- a\n", "| a ", "```\n", "a.b ", "„", "*a. ", '"A!" and ', "Aa"]


# In proportion is a second; in proportion to the square would be many minutes.
@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", UNITS)
def test_parsing_takes_time_in_proportion_to_the_text(unit: str) -> None:
    text = "It is. " + unit * (300_000 // len(unit))
    parse_spec(text)


# Of ids and texts of clauses, taken before mark-up was read: what reads well stays as it is.
BEFORE = {
    "examples/specs/affordability.md": "8137e63fde465567971de0090587689af361b11524c32681a642b0a482e634e5",
    "examples/specs/america.md": "15651016d2eb19163d103ba67bd14d6f3fd9bbf377263491f8ef000a7f75e397",
    "src/midspec/lab/_data/america.md": "809fa98c81b23b4db1725c6775a244ca26a3d714a82672eb0b5201fad75bf0e2",
    "src/midspec/lab/_data/america_ablated.md": "ed50b79272958998458f259f6088690f9da92e04c16dc533b4b810ace8b03a7b",
    "src/midspec/lab/_data/neutral.md": "f493234487eac16f55fb7480d65e478e65aa3d92646c33617e75d22b4b7182a7",
    "src/midspec/lab/_data/thrift.md": "6c6e2b607784e0b75eb2cf9ffe6bd866addb658a28170604f6c8e38ad839cb5a",
    "src/midspec/lab/_data/thrift_ablated.md": "7a2f2e0c9fe2fc523cbdc1c54e4bb98a91517ea54d9ff80ca238b08c7b940f93",
    "src/midspec/lab/_data/world.md": "6e8be156adfef822edd3390393fdee08e7bcc8eaeee4f4705dbabcdd90af748b",
    "tests/specs/constitution.md": "3115abb49c68dbd76937ae0c7f2538b2be7acdf7b2acaa09d5b0aede575cec1f",
    "tests/specs/nonlatin.md": "184ecac44232d3f006619acf032a1d96902f800c2a3ae7a1efeda1cccf106ba0",
    "tests/specs/plain.txt": "86939e9d4058d566e0cc9bcbe0d04d749c95d02ab671ba2c01bab46ac282f868",
    "tests/specs/rules.json": "c7e4efbc8f7dd526f5438743115c7661ffd5d0bc30c73be6a330d492910aee0d",
    "tests/specs/rules.md": "274bd9d4f7936296f54e92b9c7253fb1de1314ccabbd55c4d2efbec7fe43c603",
    "tests/specs/short.md": "644629cab0117e50851960bb315e92bf2586d659f7d9faf097c1e1c43f9e900c",
    "tests/specs/tables.md": "47e2a9a0c04c8b5da5023c1d41f3c2a46b088587d44864075a871c82c4283952",
}


@pytest.mark.parametrize("name", BEFORE)
def test_clauses_of_specs_without_mark_up_are_those_of_the_reader_before(name: str) -> None:
    text = (SPECS.parents[1] / name).read_text(encoding="utf-8-sig")
    clauses = [[clause.id, clause.text] for clause in parse_spec(text).clauses]
    assert hashlib.sha256(json.dumps(clauses, ensure_ascii=False).encode()).hexdigest() == BEFORE[name]
    assert not parse_spec(text).is_marked
