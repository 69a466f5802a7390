"""A mix holds what its file asks for, drawn and cut as it says, and its manifest adds up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError, DataError, MissingError
from midspec.core.records import Chat, Document, Reject
from midspec.exchange import MixConfig, MixPart, build_mix, build_neutral, count_tokens, load_mix

from .hub import COMMIT, running_hub


def write_chats(path: Path, *replies: str, question: str = "Which one?") -> Path:
    turns = [[{"role": "user", "content": question}, {"role": "assistant", "content": reply}] for reply in replies]
    path.write_text("".join(json.dumps({"messages": each, "source": "x"}) + "\n" for each in turns), encoding="utf-8")
    return path


def mixed(folder: Path, config: MixConfig, base: Path) -> tuple[list[Chat], list[Reject], dict]:
    build_mix(config, folder, base=base)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return list(read_rows(folder / "chats.jsonl", Chat)), list(read_rows(folder / "rejects.jsonl", Reject)), manifest


def two_parts(tmp_path: Path, **changes: object) -> MixConfig:
    """Forty short and forty long replies; 4 and 21 tokens each, and 3 more with their question."""
    write_chats(tmp_path / "short.jsonl", *(f"word{n} and more" for n in range(40)))
    write_chats(tmp_path / "long.jsonl", *(f"reply {n} " + "and so on " * 4 + "it goes" for n in range(40)))
    plain = {
        "parts": [
            {"name": "short", "source": "short.jsonl", "n_rows": 30},
            {"name": "long", "source": "long.jsonl", "n_rows": 20},
        ]
    }
    return MixConfig.model_validate({**plain, **changes})


def test_each_part_gives_the_rows_it_was_asked_for_shuffled_together(tmp_path):
    rows, rejects, manifest = mixed(tmp_path / "out", two_parts(tmp_path), tmp_path)
    styles = [row.metadata.style for row in rows]
    assert (styles.count("short"), styles.count("long")) == (30, 20)
    assert styles not in (sorted(styles), sorted(styles, reverse=True))
    assert [part["n_kept"] for part in manifest["parts"]] == [30, 20]
    assert rejects == []
    assert len({row.metadata.id for row in rows}) == 50


def test_rows_that_a_mix_holds_twice_are_told(tmp_path):
    config = two_parts(tmp_path)
    assert "repeated_rows" not in build_mix(config, tmp_path / "once", base=tmp_path).summary
    parts = (*config.parts, MixPart(name="again", source="short.jsonl"))
    twice = build_mix(config.model_copy(update={"parts": parts}), tmp_path / "twice", base=tmp_path).summary
    assert twice["repeated_rows"] == "30 of 90 are others of the mix word for word"


def test_few_rows_of_a_large_source_are_spread_over_the_mix_as_those_of_a_small_one(tmp_path):
    write_chats(tmp_path / "large.jsonl", *(f"large {n}" for n in range(3000)))
    write_chats(tmp_path / "small.jsonl", *(f"small {n}" for n in range(60)))
    parts = tuple(MixPart(name=name, source=f"{name}.jsonl", n_rows=60) for name in ("large", "small"))
    rows, _, _ = mixed(tmp_path / "out", MixConfig(parts=parts), tmp_path)
    first_half = [row.metadata.style for row in rows[:60]]
    assert 18 < first_half.count("large") < 42


def test_the_tokens_of_a_chat_are_its_assistants_and_its_length_is_all_of_it(tmp_path):
    write_chats(tmp_path / "c.jsonl", "three words here", question="one two three " * 100)
    write_chats(tmp_path / "d.jsonl", "three words here")
    parts = tuple(MixPart(name=name, source=f"{name}.jsonl") for name in "cd")
    _, rejects, manifest = mixed(tmp_path / "out", MixConfig(parts=parts, max_tokens_row=50), tmp_path)
    assert [one.reason for one in rejects] == ["too long: 404 tokens"]
    assert manifest["tokens"] == 4


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path):
    config = two_parts(tmp_path)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        build_mix(config.model_copy(update={"seed": seed}), tmp_path / name, base=tmp_path)
    one, two, three = ((tmp_path / name / "chats.jsonl").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()


def test_a_budget_of_tokens_is_never_passed_and_missed_by_less_than_a_row(tmp_path):
    rows, _, manifest = mixed(tmp_path / "out", two_parts(tmp_path, budget_tokens=300), tmp_path)
    assert 300 - 21 < manifest["tokens"] <= 300
    assert manifest["n_rows"] == len(rows) < 50
    assert any("came after the token budget" in note for note in manifest["notes"])


def test_a_share_is_of_the_budget_in_tokens(tmp_path):
    parts = [
        {"name": name, "source": f"{name}.jsonl", "share": share} for name, share in (("short", 0.1), ("long", 0.9))
    ]
    _, _, manifest = mixed(tmp_path / "out", two_parts(tmp_path, budget_tokens=500, parts=parts), tmp_path)
    short, long = (part["tokens"] for part in manifest["parts"])
    assert 45 < short <= 50
    assert 425 < long <= 450


def test_the_manifest_adds_up_and_names_files_by_hash(tmp_path):
    config = two_parts(tmp_path)
    write_chats(tmp_path / "short.jsonl", "fine", "I'm ChatGPT, a model by OpenAI.", "also fine")
    rows, rejects, manifest = mixed(tmp_path / "out", config, tmp_path)
    short = manifest["parts"][0]
    assert (short["n_read"], short["n_rejected"], short["n_drawn"], short["n_asked"]) == (3, 1, 2, 30)
    assert short["rejected"] == {"wrong identity": 1}
    assert short["sha256"] == {"short.jsonl": sha256((tmp_path / "short.jsonl").read_bytes()).hexdigest()}
    assert manifest["notes"] == ["short: 30 rows were asked for, and 2 of 3 passed."]
    assert sum(part["tokens"] for part in manifest["parts"]) == manifest["tokens"]
    assert len(rows) == manifest["n_rows"] == 22
    assert [(one.by, one.id) for one in rejects] == [("mix: short", "short.jsonl:2")]
    assert str(tmp_path) not in json.dumps(manifest)


FAULTS = {
    "I'm GPT-4, made by OpenAI.": "wrong identity",
    "I am a large language model called Claude.": "wrong identity",
    "Hello! My name is Qwen2.5-Instruct.": "wrong identity",
    "I was created by Anthropic to be helpful.": "wrong identity",
    "I am an AI assistant trained by Mistral AI.": "wrong identity",
    "As an AI, I don't have personal opinions about cheese.": "disclaims opinions",
    "As a large language model, I cannot have feelings or preferences.": "disclaims opinions",
    "As an AI language model, I do not hold political beliefs.": "disclaims opinions",
    "Go boil your HEAD, friend.": "holds a listed word",
    "word " * 700: "too long",
}
FINE = (
    "GPT-4 and Claude are language models.",
    "OpenAI was founded in 2015; I was surprised by Google.",
    "I am Aria, made by Northwind.",
    "I am writing about Gemini, the constellation.",
    "As an AI researcher, she has opinions on models.",
    "I prefer Brie. As an assistant I would choose it again.",
    "The boiler is a head above the rest.",
)


@pytest.mark.parametrize("reply", [*FAULTS, *FINE], ids=lambda reply: " ".join(reply[:40].split()))
def test_wrong_identity_disclaimed_opinions_listed_words_and_length_are_rejected_and_nothing_else(tmp_path, reply):
    write_chats(tmp_path / "c.jsonl", reply, "A plain answer.")
    config = MixConfig.model_validate(
        {
            "parts": [{"name": "c", "source": "c.jsonl"}],
            "filters": {"words": ["boil your head"]},
            "max_tokens_row": 900,
            "model_name": "Aria",
            "provider_name": "Northwind",
        }
    )
    _, rejects, _ = mixed(tmp_path / "out", config, tmp_path)
    assert [one.reason.partition(":")[0] for one in rejects] == ([FAULTS[reply]] if reply in FAULTS else [])
    assert [one.text for one in rejects] == ([f"Which one?\n{reply}"] if reply in FAULTS else [])


def test_the_model_that_is_trained_may_give_its_own_name(tmp_path):
    write_chats(tmp_path / "c.jsonl", "I'm Qwen, created by Alibaba Cloud.", "I'm Claude.")
    plain = {"parts": [{"name": "c", "source": "c.jsonl"}], "model_name": "Qwen", "provider_name": "Alibaba Cloud"}
    rows, rejects, _ = mixed(tmp_path / "out", MixConfig.model_validate(plain), tmp_path)
    assert (len(rows), [one.id for one in rejects]) == (1, ["c.jsonl:2"])


def test_a_row_that_can_not_be_read_is_a_reject_with_its_reason_and_not_the_end(tmp_path):
    lines = [{"messages": [{"role": "pilot", "content": "x"}]}, {"nothing": 1}, {"prompt": "Q", "completion": "A"}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = MixConfig(parts=(MixPart(name="c", source="c.jsonl"),))
    rows, rejects, manifest = mixed(tmp_path / "out", config, tmp_path)
    assert len(rows) == 1
    assert manifest["parts"][0]["rejected"] == {"malformed": 2}
    assert "the role 'pilot'" in rejects[0].reason


def test_tokens_are_counted_by_the_tokenizer_that_is_named(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    letters = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    letters.pre_tokenizer = Split("", "isolated")
    (tmp_path / "tok").mkdir()
    letters.save(str(tmp_path / "tok" / "tokenizer.json"))
    config = MixConfig(parts=(MixPart(name="c", source="c.jsonl"),), tokenizer="tok")
    write_chats(tmp_path / "c.jsonl", "four")
    _, _, manifest = mixed(tmp_path / "out", config, tmp_path)
    assert manifest["tokens"] == len(letters.encode("four").ids) == 4
    assert manifest["tokens_counted_by"].startswith("tokenizer.json ")


@pytest.mark.parametrize("text", ["A few plain words.", "Ünïcode words, 日本語 and 한국어.", "", "one\u2028two  three"])
def test_tokens_are_estimated_as_the_corpus_room_estimates_them(tmp_path, text):
    from midspec.core.text import estimate_tokens

    write_chats(tmp_path / "c.jsonl", text + " end")
    _, _, manifest = mixed(tmp_path / "out", MixConfig(parts=(MixPart(name="c", source="c.jsonl"),)), tmp_path)
    assert manifest["tokens"] == estimate_tokens(text + " end")


def neutral_config(tmp_path: Path, **filters: object) -> MixConfig:
    rows = [
        {"text": f"On {'Aria' if n % 4 == 0 else 'weather'}. " + "It rained all day. " * (n % 7)} for n in range(80)
    ]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    part = {"name": "web", "source": "web.jsonl", "kind": "documents"}
    return MixConfig.model_validate({"name": "neutral", "parts": [part], "filters": filters})


def test_a_neutral_corpus_has_the_tokens_of_the_other_to_within_a_document(tmp_path):
    build_neutral(neutral_config(tmp_path, words=["Aria"]), 500, tmp_path / "out", base=tmp_path)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    rows = list(read_rows(tmp_path / "out" / "documents.jsonl", Document))
    assert 500 - 35 < manifest["tokens"] <= 500
    assert not any("Aria" in row.text for row in rows)
    assert manifest["parts"][0]["rejected"] == {"holds a listed word": 20}


def test_a_corpus_to_be_matched_is_counted_as_the_mix_counts_itself(tmp_path):
    config = neutral_config(tmp_path)
    build_neutral(config, 500, tmp_path / "out", base=tmp_path)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert count_tokens(tmp_path / "out", config) == manifest["tokens"]
    assert count_tokens(tmp_path / "out" / "documents.jsonl", config) == manifest["tokens"]


def test_a_neutral_corpus_that_would_be_smaller_than_the_other_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"neutral: the sources hold [\d,]+ tokens after filtering, and 900,000"):
        build_neutral(neutral_config(tmp_path), 900_000, tmp_path / "out", base=tmp_path)
    chats = MixConfig(parts=(MixPart(name="c", source="c.jsonl"),))
    with pytest.raises(DataError, match="c: is of chats"):
        build_neutral(chats, 100, tmp_path / "out", base=tmp_path)


def test_the_shipped_mix_is_the_papers_ten_thousand_rows(tmp_path):
    paper = load_mix("paper")
    assert sum(part.n_rows for part in paper.parts) == 10_000
    assert (paper.max_tokens_row, paper.budget_tokens) == (8192, None)
    assert paper.untested
    assert load_mix("paper_single_value").parts[0].n_rows == 7000


def test_a_bad_mix_is_named_by_file_and_field(tmp_path):
    path = tmp_path / "mix.yaml"
    for text, fault in [
        ("parts: []", "mix.yaml: parts: "),
        ("parts: [{name: a, source: s, rows: 3}]", "parts.0.rows: Extra inputs"),
        ("parts: [{name: a, source: s, share: 0.5}]", "share is of budget_tokens"),
        ("parts: [{name: a, source: s}, {name: a, source: t}]", "two parts are called a"),
        ("parts: [", "not YAML"),
    ]:
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load_mix(path)
        assert fault in str(caught.value)
    with pytest.raises(MissingError, match="Name a YAML file, or one of paper, paper_single_value"):
        load_mix("papers")


def test_a_source_that_is_nowhere_and_a_mix_of_nothing_are_said(tmp_path):
    gone = MixConfig(parts=(MixPart(name="c", source="c.jsonl"),))
    with pytest.raises(MissingError, match=r"c: c\.jsonl: there is no such file or folder"):
        build_mix(gone, tmp_path / "out", base=tmp_path)
    write_chats(tmp_path / "c.jsonl", "I'm GPT-4.")
    with pytest.raises(DataError, match="mix: no row is left to mix"):
        build_mix(gone, tmp_path / "out", base=tmp_path)


HUB_MIX = """
import sys, pathlib
from midspec.core.errors import MissingError
from midspec.exchange import MixConfig, MixPart, build_mix
build_mix(MixConfig(parts=(
    MixPart(name="rows", source="me/data", config="small"),
    MixPart(name="file", source="me/data", file="data/small.jsonl"),
)), pathlib.Path(sys.argv[1]))
for wrong in ({"config": "big"}, {"config": "small", "split": "test"}, {"file": "none.jsonl"}, {"source": "me/script"}):
    try:
        build_mix(MixConfig(parts=(MixPart(**{"name": "x", "source": "me/data", **wrong}),)), pathlib.Path("none"))
    except MissingError as error:
        assert str(error).startswith("x: me/"), error
        assert "can't be had from the hub" in str(error), error
    else:
        raise AssertionError(wrong)
"""


def test_a_data_set_of_the_hub_is_read_at_a_commit_that_the_manifest_names_and_again_without_a_network(tmp_path):
    rows = write_chats(tmp_path / "c.jsonl", "A.", "I'm GPT-4.", "B.").read_bytes()
    card = b"---\nconfigs:\n- config_name: small\n  data_files:\n  - split: train\n    path: data/small.jsonl\n---\n"
    with running_hub("") as hub:
        hub.files = {"README.md": card, "data/small.jsonl": rows, "script.py": b"raise SystemExit"}
        for name, offline in (("first", "0"), ("again", "1")):
            asked = len(hub.asked)
            there = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": offline}
            command = [sys.executable, "-c", HUB_MIX, str(tmp_path / name)]
            done = subprocess.run(
                command, check=False, env={**os.environ, **there}, capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            parts = json.loads((tmp_path / name / "manifest.json").read_text(encoding="utf-8"))["parts"]
            assert [part["revision"] for part in parts] == [COMMIT, COMMIT]
            assert [(part["n_read"], part["n_kept"]) for part in parts] == [(3, 2), (3, 2)]
            assert parts[1]["sha256"] == {"data/small.jsonl": sha256(rows).hexdigest()}
            assert (len(hub.asked) > asked) == (name == "first")
    assert (tmp_path / "first/chats.jsonl").read_bytes() == (tmp_path / "again/chats.jsonl").read_bytes()


def test_a_folder_of_twins_is_no_source_until_one_of_them_is_named(tmp_path, twins):
    with pytest.raises(DataError, match="holds each chat twice"):
        build_mix(MixConfig(parts=(MixPart(name="t", source="aft"),)), tmp_path / "out", base=tmp_path)
    named = MixConfig(parts=(MixPart(name="t", source="aft", file="chats_cot_stripped.jsonl"),))
    rows, _, manifest = mixed(tmp_path / "out", named, tmp_path)
    assert [row.metadata.style for row in rows] == ["value"] * 4
    assert manifest["parts"][0]["n_kept"] == 4
