"""Files of settings: what people and their editors put into them, and what it must not be taken for."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from midspec.cli._main import main
from midspec.core.errors import ConfigError, MissingError
from midspec.core.yaml_files import parse_yaml, read_yaml, truths_for_numbers

BAD = {
    "a: \x1b[1mbold": "f:1: the character U\\+001B can't stand in YAML",
    "a: 1\nb: \x07": "f:2: the character U\\+0007",
    "a: \x00": "f:1: the character U\\+0000",
    "a: \x96": "f:1: the character U\\+0096",
    "a: \ud800": "f:1: the character U\\+D800",
    "a: &a [*a]": "f:1: an alias stands for a value that it is part of",
    "a: 1\nb: &b {c: [*b]}": "f:2: an alias stands for",
    "a: 1\nb: 2\na: 3": "f:3: 'a' is named twice",
    "a:\n  b: {c: 1, c: 2}": "f:2: 'c' is named twice",
    "a: 1\nseed: 010": "f:2: .*reads 010 as 8",
    "a: -017": "f:1: .*reads -017 as -15",
    "seeds: [1, 1:30]": "f:1: .*reads 1:30 as 90",
    "a: 1:30.5": "f:1: .*reads 1:30.5 as 90.5",
    "a: 2024-13-45": "f:1: .*'2024-13-45' is no timestamp",
    "a: !!bool maybe": "f:1: .*'maybe' is no bool",
    "a: !!int x": "f:1: .*'x' is no int",
    "a: !!python/object:os.system x": "f:1: .*could not determine a constructor",
    "a: " + "9" * 5000: "f:1: .*is no int",
    "a: 0x" + "f" * 5000: "f:1: .*is no int",
    "1: a\nb: c\n1.0: d": "f:3: '1.0' is named twice",
    "{16: a, 0x10: b}": "f:1: '0x10' is named twice",
    "[" * 5000: "f: is nested too deeply",
    "a: [1": "f:1: not YAML",
    "? [a]\n: b": "f:1: .*unhashable",
    "a: 1\n---\nb: 2": "f:2: .*another document",
    "a: *b": "f:1: .*undefined alias",
}


@pytest.mark.parametrize(("text", "says"), BAD.items(), ids=range(len(BAD)))
def test_what_is_wrong_in_a_file_of_settings_is_said_with_its_line(text, says):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert re.match(says, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_aliases_that_unfold_to_very_many_values_are_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="unfold to more than 200,000 values"):
        parse_yaml("\n".join(lines), "f")


def test_numbers_that_are_written_plainly_and_texts_in_quotes_stay_what_they_are():
    text = (
        "a: 8\nb: '010'\nc: \"1:30\"\nd: 1_000\ne: 0x1F\nf: 0\ng: -3\nh: 1.5e-4\ni: 0.5\nj: 12:x\nk: 2024-01-05\nl: 08"
    )
    assert parse_yaml(text, "f") == {
        "a": 8, "b": "010", "c": "1:30", "d": 1000, "e": 31, "f": 0, "g": -3, "h": 1.5e-4, "i": 0.5, "j": "12:x",
        "k": dt.date(2024, 1, 5), "l": "08",
    }  # fmt: skip


def test_anchors_and_merged_mappings_are_read_as_ever():
    text = "base: &base {a: 1, b: [1, 2]}\none: {<<: *base, a: 3}\ntwo: *base"
    assert parse_yaml(text, "f") == yaml.safe_load(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=10,
    )
)
def test_whatever_was_written_by_a_program_is_read_as_the_library_reads_it(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse_yaml(text, "f") == yaml.safe_load(text)


@settings(max_examples=400)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#,? \n\t01.~%@`"), max_size=40) | st.text(max_size=40))
def test_whatever_a_person_types_is_read_or_told(text):
    try:
        found = parse_yaml(text, "f")
    except ConfigError as error:
        assert error.where.startswith("f")  # noqa: PT017 - both ends are right
    else:
        assert found == yaml.safe_load(text)


def test_files_with_a_byte_order_mark_are_read_and_those_that_are_none_are_told(tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert read_yaml(tmp_path / "bom.yaml") == {"a": 1}
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    for path, kind in (("no.yaml", MissingError), ("", ConfigError), ("latin.yaml", ConfigError)):
        with pytest.raises(kind):
            read_yaml(tmp_path / path)


class Inner(BaseModel):
    rate: float = 1.0
    on: bool = True
    either: bool | int = 1


class Outer(BaseModel):
    seeds: tuple[int, ...] = ()
    pair: tuple[bool, int] = (True, 1)
    inner: Inner = Inner()
    named: dict[str, Inner] = {}
    maybe: Annotated[int | None, Field(ge=0)] = None
    word: Literal["yes", 1] = 1


def test_a_truth_value_where_a_number_must_be_is_found_wherever_it_stands():
    numbers = "seeds: [1, yes]\npair: [on, off]\nmaybe: on\n"
    raw = parse_yaml(numbers + "inner: {rate: true, either: no}\nnamed: {a: {rate: off}}", "f")
    found = [("seeds", 1), ("pair", 1), ("maybe",), ("inner", "rate"), ("named", "a", "rate")]
    assert list(truths_for_numbers(Outer, raw)) == found


@pytest.mark.parametrize(
    ("settings_text", "says"),
    [
        ("repeats: 300\nscenarios: [murder]\nrepeats: 1\n", ":3: 'repeats' is named twice"),
        ("repeats: yes\n", "repeats: a truth value (yes, on, true) where a number must be"),
        ("arms:\n  off_arm: {}\n  on: {}\n", ':3: YAML reads the key on as true. Write it in quotes: "on"'),
        ("repeats: 010\n", ":1: not YAML (YAML reads 010 as 8"),
        ("repeats: \x1b[1m\n", ":1: the character U+001B can't stand in YAML"),
        ("scenarios: &a [*a]\n", ":1: an alias stands for a value"),
    ],
)
def test_a_file_of_config_that_is_wrong_ends_a_command_with_one_line(tmp_path, capsys, settings_text, says):
    (tmp_path / "c.yaml").write_text(settings_text, encoding="utf-8")
    line = ["eval", "vllm/m", "--base-url", "http://127.0.0.1:9/v1", "--task", "agentic_misalignment", "--config"]
    judge = ["--grader", "openai/judge", "--judge-url", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "out")]
    assert main([*line, str(tmp_path / "c.yaml"), *judge]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
