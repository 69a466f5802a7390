"""Canonical JSON, hashes and diffs: the same value always, another value never, and no guess at what has no form."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.fingerprint import canonical_json, diff, fingerprint, hash_file, hash_text, listed
from midspec.core.records import Identity, Message

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_canonical_json_is_json_of_the_same_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), SCALARS, max_size=6), st.randoms())
def test_the_order_of_keys_plays_no_part(value: dict[str, object], random: Random) -> None:
    entries = list(value.items())
    random.shuffle(entries)
    assert fingerprint(dict(entries)) == fingerprint(value)


@given(VALUES, VALUES)
def test_two_values_share_a_fingerprint_exactly_when_nothing_differs(one: object, other: object) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical_json(one) == canonical_json(other))
    if canonical_json(one) == canonical_json(other):
        assert diff(one, other) == ()


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_diff_turned_round_is_the_same_diff_the_other_way(one: dict[str, object], other: dict[str, object]) -> None:
    there, back = diff(one, other), diff(other, one)
    assert [(change.path, change.after, change.before) for change in there] == [tuple(change) for change in back]


def test_types_that_json_tells_apart_have_different_fingerprints() -> None:
    values: list[object] = [None, False, 0, 0.5, "", "0", "null", [], {}, [None], {"a": None}, [0], ["0"]]
    assert len({fingerprint(value) for value in values}) == len(values)


def test_a_tuple_is_a_list_and_a_model_is_its_fields() -> None:
    assert fingerprint((1, (2,))) == fingerprint([1, [2]])
    assert fingerprint(Message(role="user", content="x")) == fingerprint({"role": "user", "content": "x"})


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": float("nan")}}, "a.b"),
        ({"a": [0.0, float("inf")]}, r"a\[1\]"),
        ({"a": {1, 2}}, "a"),
        ({"a": Path("/tmp")}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": {1: "x"}}, "a"),
        ({"a": object()}, "a"),
    ],
)
def test_what_has_no_one_form_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(TypeError, match=f"^{path}: "):
        fingerprint(value)


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    value = {"names": ["é", "日本"], "rate": 0.1, "n": 3}
    code = f"from midspec.core.fingerprint import fingerprint; print(fingerprint({value!r}))"
    for seed in ("0", "1"):
        env = {"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"}
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
        assert said.strip() == fingerprint(value)


def test_hashes_are_plain_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("é".encode())
    assert hash_text("é") == hash_file(tmp_path / "x") == hashlib.sha256("é".encode()).hexdigest()
    assert len(hash_text("\ud800")) == 64


def test_a_diff_names_the_fields_and_shows_both_values() -> None:
    before = Identity(step="train@1", inputs={"data": "aa"}, config={"seed": 1, "recipe": {"lr": 0.1, "old": 1}})
    after = Identity(step="train@1", inputs={"data": "bb"}, config={"seed": 1, "recipe": {"lr": 0.2, "new": [1, 2]}})
    said = [str(change) for change in diff(before, after)]
    assert said == [
        "config.recipe.lr: 0.1 -> 0.2",
        "config.recipe.new[0]: (absent) -> 1",
        "config.recipe.new[1]: (absent) -> 2",
        "config.recipe.old: 1 -> (absent)",
        'inputs.data: "aa" -> "bb"',
    ]


def test_a_diff_of_long_values_is_cut_to_be_read() -> None:
    (change,) = diff({"text": "a" * 500}, {"text": "b"})
    assert len(str(change)) < 100


def test_of_many_changes_the_first_are_said_and_the_rest_counted() -> None:
    assert listed(["a", "b"]) == "a; b"
    assert listed(str(n) for n in range(50)) == "0; 1; 2; and 47 more"
