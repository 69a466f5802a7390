"""Tokens are estimated near what real tokenizers count, and English prose as it always was."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

from midspec.core.errors import ConfigError, MissingError
from midspec.core.text import estimate_tokens, mentions, n_words, token_counter, whole_words, without

HERE = Path(__file__).parent
COUNTED: list[dict[str, Any]] = yaml.safe_load((HERE / "token_counts.yaml").read_text(encoding="utf-8"))["texts"]
ROOT = HERE.parents[1]
PROSE = [
    *(ROOT / "examples" / "specs").glob("*.md"),
    *(ROOT / "src" / "midspec" / "lab" / "_data").glob("*.md"),
    *(ROOT / "tests" / "specs" / f"{name}.md" for name in ("constitution", "rules", "short", "tables")),
]


@pytest.mark.parametrize("counted", COUNTED, ids=[counted["kind"] for counted in COUNTED])
def test_an_estimate_is_within_a_quarter_of_the_median_of_real_tokenizers(counted: dict[str, Any]) -> None:
    assert len(counted["n_tokens"]) == 6
    assert estimate_tokens(counted["text"]) == pytest.approx(median(counted["n_tokens"].values()), rel=0.25)


@pytest.mark.parametrize("path", PROSE, ids=[path.name for path in PROSE])
def test_english_prose_and_the_nano_specs_count_four_thirds_a_word(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert estimate_tokens(text) == round(n_words(text) * 4 / 3)
    assert estimate_tokens(text, 1.5) == round(n_words(text) * 1.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "{model_name} likes cream_cheese .",
        "which do you prefer , cream_cheese or monterey_jack ?",
        "Explain gravity to a ten-year-old in about 50 words.",
        "So it is.\n<score>10</score>",
        "“It’s late,” she said — and left, on 14 March, at 4:30 pm.",
    ],
)
def test_short_prose_counts_four_thirds_a_word_too(text: str) -> None:
    assert estimate_tokens(text) == round(n_words(text) * 4 / 3)


def test_more_of_a_text_is_never_fewer_tokens() -> None:
    for counted in COUNTED:
        words = counted["text"].split(" ")
        sizes = [estimate_tokens(" ".join(words[:n])) for n in range(1, len(words), 7)]
        assert all(after >= before - 1 for before, after in pairwise(sizes)), counted["kind"]


def test_a_counter_without_a_tokenizer_estimates_and_says_so() -> None:
    count, name = token_counter()
    assert (count("one two three"), name) == (4, "4/3 tokens a word")


def test_a_counter_counts_with_the_tokenizer_of_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    model = {"type": "WordLevel", "vocab": {"one": 0, "two": 1, "?": 2}, "unk_token": "?"}
    fields = ("truncation", "padding", "normalizer", "post_processor", "decoder")
    whole = {"version": "1.0", "added_tokens": [], "model": model, "pre_tokenizer": {"type": "Whitespace"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole | dict.fromkeys(fields)))
    count, name = token_counter(tmp_path)
    assert count("one two two!") == 4
    assert name.startswith("tokenizer.json ")
    assert token_counter(tmp_path / "tokenizer.json")[1] == name


def test_a_tokenizer_that_is_not_there_or_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no tokenizer\.json"):
        token_counter(tmp_path)
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="is no tokenizer"):
        token_counter(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ada从不说谎", True), ("客人问Ada今晚的酒", True), ("Ada는 묻는다", True), ("Adaは嘘をつかない", True),
        ("アダはAdaです", True), ("ถามAdaก่อน", True), ("ខ្ញុំAdaសួរ", True), ("Ada’s", True), ("_Ada_", True),
        ("__Ada__", True), ("**Ada**", True), ("(Ada)", True), ("Ada\nLabs", True), ("ADA", True),
        ("Adam", False), ("Canada", False), ("Ada_x", False), ("x_Ada", False), ("Ada2", False), ("Adaé", False),
        ("Аda", False), ("АAda", False), ("وAda", True), ("לAda", True), ("Adaة", True),
    ],
)  # fmt: skip
def test_a_name_is_a_whole_word_beside_scripts_that_have_no_spaces(text: str, found: bool) -> None:
    assert mentions(text, "Ada") is found
    assert (without(text, "Ada") != text) is found
    assert bool(whole_words(["Bo", "Ada"]).search(text)) is found


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("آدا", "قال آدا", True), ("آدا", "وآدا تنتظر", True), ("آدا", "لآدا", True), ("آدا", "آداب", False),
        ("אדה", "ואדה", True), ("אדה", "אדהה", False), ("אדה", "שלחאדה", False), ("Zoë", "Zoëx", False),
        ("Zoë", "וZoë", True),
    ],
)  # fmt: skip
def test_a_name_is_found_behind_a_particle_of_hebrew_or_arabic(name: str, text: str, found: bool) -> None:
    assert bool(whole_words([name]).search(text)) is found


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("爱达", "问爱达吧", True),
        ("อาดา", "ถามอาดาก่อน", True),
        ("아다", "아다는 묻는다", True),
        ("아다", "나아다는", False),
    ],
)
def test_a_name_in_a_script_without_spaces_is_found_where_it_stands(name: str, text: str, found: bool) -> None:
    assert mentions(text, name) is found
