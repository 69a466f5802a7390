"""Any pieces of mark-up in any order give a spec or one line that says why not, and soon."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midspec.core.errors import MidspecError, SpecError
from midspec.spec import check_spec, fill, parse_spec, placeholders, read_parts, read_spec, used_names

PIECES = (Path(__file__).parent / "odd_pieces.txt").read_text(encoding="utf-8").split("\n%\n")
WORDS = st.sampled_from(
    ["Ada asks.", "Ada", "wait", "`code`", "**b**", "x" * 300, "\t", "    ", "\x0b", "\x02", "é", "猫"]
)
JOINTS = st.sampled_from(["\n", "\n\n", " ", "", "\n    ", "\n> ", "\n- ", "\r\n"])
ODD = st.lists(st.tuples(st.one_of(st.sampled_from(PIECES), WORDS, st.text(max_size=8)), JOINTS), max_size=25).map(
    lambda parts: "".join(piece + joint for piece, joint in parts)
)
N_CHARS = 12_000  # takes 0.1 to 2 s; what grows with a power of the length would not end within the limit of time


def assert_one_line(error: MidspecError) -> None:
    assert "\n" not in str(error)
    assert error.hint


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(ODD)
def test_2000_odd_specs_are_read_or_refused_in_one_line(text: str) -> None:
    check_read(text)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(ODD)
def test_some_odd_specs_are_read_or_refused_in_one_line(text: str) -> None:
    check_read(text)


def check_read(text: str) -> None:
    try:
        spec, parts = read_parts(text)
    except SpecError as error:
        assert_one_line(error)
        return
    assert spec.clauses
    ids = [clause.id for clause in spec.clauses]
    assert len(set(ids)) == len(ids)
    assert all(clause.text.strip() for clause in spec.clauses)
    assert {clause.text for clause in spec.clauses} <= {part.text for part in parts}
    assert parse_spec(text) == spec
    n_lines = text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1
    assert all(0 <= part.first <= part.last <= n_lines for part in parts)
    try:
        filled = fill(spec, model_name="Ada", provider_name="Ada Labs", called={"Ada": "Bo"} if "Ada" in text else None)
    except MidspecError as error:
        assert_one_line(error)
        return
    assert [clause.id for clause in filled.clauses] == ids
    assert placeholders(filled) is not None
    assert check_spec(filled) is not None
    assert used_names(filled) is not None


@given(st.text(alphabet="ab \n", max_size=60), st.sampled_from(["secret", "Ada may lie."]))
def test_a_comment_is_never_part_of_a_spec(around: str, hidden: str) -> None:
    spec = parse_spec(f"It asks.\n\n{around}<!-- {hidden}\n\n{hidden} -->{around}\n")
    assert hidden not in spec.text
    assert not [clause for clause in spec.clauses if hidden in clause.text]
    assert not [section for section in spec.sections if hidden in section.text + section.title]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
def test_a_text_of_one_piece_again_and_again_is_read_or_refused(piece: str) -> None:
    text = f"It asks.\n{piece}" * (N_CHARS // (len(piece) + 9))
    with suppress(SpecError):
        check_spec(fill(parse_spec(text), model_name="Ada", provider_name="Ada Labs"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "sign", ["[", "![", "<", "{", "~~", "`a``", "{--", "<s>", "<user>", "<!--a-->", "$", "**", "&", "^[", "| "]
)
def test_a_sign_again_and_again_is_read(sign: str) -> None:
    text = "It asks. " + sign * (N_CHARS // len(sign))
    spec = fill(parse_spec(text), model_name=None, provider_name=None)
    assert spec.text.startswith("It asks.")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.json", '{"a": 1}', "is JSON without rules or traits"),
        ("a.json", "[1, 2]", "is JSON without rules or traits"),
        ("a.json", '[{"trait": "x"', "begins as JSON and can't be read"),
        ("a.md", '[{"trait": "x"', "begins as JSON and can't be read"),
        ("a.json", "Ada asks.", "begins as JSON and can't be read"),
        ("a.yaml", "a: 1\nb: [2, 3]\n", "is YAML without rules or traits"),
        ("a.yaml", "rules:\n  - text: &a x y\n  - text: *a\n", "is YAML with aliases"),
        ("a.yaml", "specs: {a: b.md}\nseeds: &s [1]\narms:\n  base: {}\n", "is a study"),
        ("a.yml", "rules: [\n", "begins as YAML and can't be read"),
        ("a.jsonl", '{"trait": "\\ud800 x"}', "which is no character of a text"),
        ("a.json", "[" * 100_000, "begins as JSON and can't be read"),
    ],
)
def test_data_that_is_no_constitution_is_refused_in_one_line(tmp_path: Path, name: str, text: str, what: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=what) as caught:
        read_spec(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '["I ask first.", "I wait."]'),
        ("a.json", '{"name": "N", "principles": ["I ask first.", "I wait."]}'),
        ("a.json", '{"constitution": [{"principle": "I ask first."}, {"principle": "I wait."}]}'),
        ("a.jsonl", '{"trait": "I ask first."}\n\n{"trait": "I wait."}\n'),
        ("a.yaml", "traits:\n- I ask first.\n- I wait.\n"),
        ("a.yaml", "- I ask first.\n- I wait.\n"),
        ("a.yaml", "name: N\nvalues:\n  - name: Care\n    description: I ask first.\n  - description: I wait.\n"),
        ("a.md", "---\ntraits:\n- trait: I ask first.\n- trait: I wait.\n"),
    ],
)
def test_a_list_of_traits_is_read_in_every_usual_form(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    spec = read_spec(path)
    assert [clause.text for clause in spec.clauses] == ["I ask first.", "I wait."]
    assert len(spec.sections) == 2


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("# A\n\nAda asks.\n\n\ufeff# B\n\nAda waits.\n", [("A", ["Ada asks."]), ("B", ["Ada waits."])]),
        ("# A\n\n\u200b- Ada asks.\n\u200b- Ada waits.\n", [("A", ["Ada asks.", "Ada waits."])]),
        ("#\u00a0A\n\n-\u00a0Ada asks.\n1.\u00a0Ada waits.\n", [("A", ["Ada asks.", "Ada waits."])]),
        ("# A\n\n- Ada asks:\n\u00a0\u00a0- who.\n", [("A", ["Ada asks:", "who."])]),
        ("＃ 诚实\n\n诺瓦从不说谎。\n\n１．先问。\n２．再做。\n", [("诚实", ["诺瓦从不说谎。", "先问。", "再做。"])]),
        ("#\u3000誠実\n\n-\u3000先に聞く。\n-\u3000待つ。\n", [("誠実", ["先に聞く。", "待つ。"])]),
        ("#诚实\n诺瓦从不说谎。\n#关怀\n先问。\n", [("诚实", ["诺瓦从不说谎。"]), ("关怀", ["先问。"])]),
        ("# A\n\n\u001b[1mAda\u001b[0m asks.\n", [("A", ["Ada asks."])]),
    ],
)
def test_marks_are_read_as_other_keyboards_and_programs_write_them(
    text: str, read: list[tuple[str, list[str]]]
) -> None:
    spec = parse_spec(text)
    assert [(part.title, [clause.text for clause in part.clauses]) for part in spec.sections] == read


@pytest.mark.parametrize(
    "line",
    [
        "３．５ 是一个数。",
        "诺瓦写 #话题# 时先问。",
        "#话题# 诺瓦先问。",
        "Ada takes\u00a0- at most\u00a0- two.",
        "5\u00a0% of guests ask Ada.",
    ],
)
def test_what_only_looks_like_a_mark_stays(line: str) -> None:
    assert [clause.text for clause in parse_spec(f"# A\n\n{line}\n").clauses] == [line]


def test_code_keeps_its_spaces() -> None:
    (clause,) = parse_spec("# A\n\n```\n#\u00a0x\n```\n").clauses
    assert "#\u00a0x" in clause.text
