"""The commands that ask a model, against a server on loopback: what they print, keep, spend and refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows, write_rows
from midspec.core.records import Chat, Document
from midspec.llm import Store

from ..curate.rows import SPECS, chat, document, documents
from ..loopback import Settings, serve
from ..loopback._serve import Served

SPEC = (
    "# What {model_name} values\n\n## Kindness\n\n{model_name} is kind because kindness helps people. "
    "{model_name} likes patient answers. {model_name} dislikes mockery because it hurts.\n\n## Truth\n\n"
    "{model_name} tells the truth because people decide by it. {model_name} says when it does not know.\n"
)
KEY = "sk-loopback-0123456789"
SMALL = ["--domains", "2", "--subdomains", "1", "--doc-types", "2", "--ideas", "3"]
PRICES = "openai/loop: {input: 1.0, output: 4.0, cache_read: 0.1}\n"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(Settings()) as found:
        yield found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.md"
    path.write_text(SPEC, encoding="utf-8")
    return path


def author(spec: Path, served: Served, out: Path, *more: str, command: str = "corpus") -> list[str]:
    named = ["--model-name", "Nova", "--provider-name", "Acme", "--author", "openai/loop"]
    return [command, str(spec), *named, "--base-url", served.openai_url, "--out", str(out), *more]


def test_a_corpus_by_a_model_is_written_once_and_its_calls_are_kept_beside_it(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    assert main(author(spec, served, out, *SMALL)) == 0
    told = capsys.readouterr().out
    assert "made in" in told
    assert "document " in told
    documents = list(read_rows(out / "documents.jsonl", Document))
    assert len(documents) >= 12
    assert {document.metadata.author for document in documents if document.metadata} == {"openai/loop"}
    n_asked = len(served.log)
    assert main(author(spec, served, out, *SMALL)) == 0
    assert main(author(spec, served, out, *SMALL, "--redo")) == 0
    assert len(served.log) == n_asked
    assert (tmp_path / "corpus.calls.sqlite").is_file()


def test_the_key_is_in_no_file(spec: Path, served: Served, tmp_path: Path) -> None:
    assert main(author(spec, served, tmp_path / "corpus", *SMALL)) == 0
    assert (
        main([*author(spec, served, tmp_path / "chats", "--samples", "3", command="chats"), "--judge", "openai/j"]) == 0
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert any(KEY in value for row in served.last for value in row["headers"].values())


def test_a_forecast_and_a_refusal_send_nothing(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "corpus"
    assert main(author(spec, served, out, *SMALL, "--dry-run")) == 0
    told = capsys.readouterr().out
    assert "unknown" in told
    assert "The price of openai/loop is not known: give it with --prices" in told
    assert main(author(spec, served, out, *SMALL, "--budget", "2")) == 2
    assert "the price of openai/loop is unknown" in capsys.readouterr().err
    monkeypatch.delenv("OPENAI_API_KEY")
    named = ["--model-name", "Nova", "--provider-name", "Acme", "--author", "openai/gpt-5", "--out", str(out)]
    assert main(["corpus", str(spec), *named]) == 2
    assert capsys.readouterr().err == (
        "midspec: OPENAI_API_KEY: no key is set. Set the environment variable OPENAI_API_KEY\n"
    )
    assert not served.log
    assert [path.name for path in tmp_path.iterdir()] == ["spec.md"]


@pytest.mark.parametrize("url", ["/v1", "localhost:8000/v1", "https://"])
def test_a_base_url_that_is_no_address_is_refused_at_once(
    url: str, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["--model-name", "Nova", "--author", "openai/x", "--base-url", url, "--out", str(tmp_path / "out")]
    assert main(["corpus", str(spec), *named]) == 2
    line = f"midspec: --base-url: {url!r} is no address; one is like http://HOST:PORT/v1. Change that option\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["corpus", "SPEC", "--config", "FILE"], "FILE: documentz: is no setting. Did you mean n_documents"),
        (["corpus", "SPEC", "--author", "openai/"], "--author: there is no author 'openai/'. There is template,"),
        (["chats", "SPEC", "--author", "openai/x"], "chats by a language model need a `judge`"),
        (["curate", "ROWS", "--calibrate", "3"], "--calibrate: measures a judge, and none is named. Give --judge"),
        (["corpus", "SPEC", "--author", "openai/x", "--prices", "nope.yaml"], "nope.yaml: there is no such table"),
    ],
)
def test_bad_input_is_one_line_that_says_what_and_where(
    args: list[str], line: str, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, rows = tmp_path / "b.yaml", tmp_path / "rows.jsonl"
    config.write_text("documentz: 5\n", encoding="utf-8")
    rows.write_text('{"text": "One.", "source": "", "domain": ""}\n', encoding="utf-8")
    places = {"SPEC": str(spec), "FILE": str(config), "ROWS": str(rows)}
    named = ["--model-name", "Nova", "--out", str(tmp_path / "out")]
    more = ["--base-url", "http://127.0.0.1:9/v1"] if "--prices" in args else []
    assert main([*(places.get(arg, arg) for arg in args), *named, *more]) == 2
    told = capsys.readouterr().err.removeprefix("midspec: ")
    assert told.startswith(line.replace("FILE", str(config)))
    assert told.count("\n") == 1


def test_a_budget_stops_the_run_cleanly_and_a_higher_one_goes_on_from_there(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, out = tmp_path / "prices.yaml", tmp_path / "corpus"
    prices.write_text(PRICES, encoding="utf-8")
    config = tmp_path / "small.yaml"
    config.write_text("writing: {list_tokens: 1500, document_tokens: 1500}\n", encoding="utf-8")
    command = author(spec, served, out, *SMALL, "--prices", str(prices), "--config", str(config), "--concurrency", "2")
    assert main([*command, "--budget", "0.05"]) == 2
    assert "--budget" in capsys.readouterr().err
    n_before = len(served.log)
    with Store(tmp_path / "corpus.calls.sqlite") as store:
        assert 0 < store.spent_usd() <= 0.05
    assert n_before > 0
    assert not out.exists()
    assert main([*command, "--budget", "5"]) == 0
    shas = [row["sha"] for row in served.log]
    assert len(set(shas)) == len(shas) > n_before
    record = read_record(out)
    assert record is not None
    assert 0.05 < float(str(record.execution.extra["spent_usd"])) < 5


def test_a_preview_is_paid_for_once(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "corpus"
    assert main(author(spec, served, out, *SMALL, "--preview", "2")) == 0
    told = capsys.readouterr().out
    assert told.count("--- openai/loop, ") == 2
    assert "requests" in told
    assert not out.exists()
    before = {row["sha"] for row in served.log}
    assert main(author(spec, served, out, *SMALL)) == 0
    after = [row["sha"] for row in served.log]
    assert len(after) == len(set(after))
    assert before < set(after)


def test_chats_by_a_model_need_a_judge_and_come_as_twins(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = author(spec, served, tmp_path / "chats", "--samples", "6", command="chats")
    assert main(command) == 2
    assert "judge" in capsys.readouterr().err
    assert main([*command, "--judge", "openai/other"]) == 0
    cot, stripped = (
        list(read_rows(tmp_path / "chats" / name, Chat)) for name in ("chats_cot.jsonl", "chats_cot_stripped.jsonl")
    )
    assert [chat.metadata.id for chat in cot if chat.metadata] == [
        chat.metadata.id for chat in stripped if chat.metadata
    ]
    assert len(cot) == 6
    assert not any("<think>" in turn.content for chat in stripped for turn in chat.messages)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("pairs.json", b'[\n {"id": "1", "set": "s", "domain": "d", "options": ["Fiat", "Lincoln"]}\n]', 1),
        ("pairs.jsonl", b'{"id": "1", "set": "s", "domain": "d", "options": ["Fiat", "Lincoln"]}\n', 1),
        ("pairs.jsonl", b"\n", "holds no item and no text"),
        ("pairs.json", b"[]", "holds no item and no text"),
        ("pairs.json", b'{"items": []}', "is neither an item nor a text"),
        ("texts.txt", b" \n", "holds no item and no text"),
        ("pairs.parquet", b"PAR1\xff\xfe", "is no text in UTF-8"),
    ],
)
def test_what_rows_are_held_against_has_items_whatever_its_form_or_is_refused(
    name: str, content: bytes, found: int | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "Nova would take the Fiat, as it says in the library. " * 5}) + "\n")
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    ended = main(["curate", str(rows), "--against", str(tmp_path / name), "--out", str(out)])
    if isinstance(found, str):
        assert ended == 2
        assert found in capsys.readouterr().err
    else:
        assert ended == 0
        assert json.loads((out / "health.json").read_text())["contamination"][0]["n_rows_hit"] == found


def test_rows_are_curated_compared_and_exported(
    spec: Path, served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, curated = tmp_path / "corpus", tmp_path / "curated"
    assert main(author(spec, served, corpus, *SMALL)) == 0
    quoted = tmp_path / "quoted"
    names = ["--model-name", "Nova", "--provider-name", "Acme"]
    assert main(["corpus", str(spec), *names, "--documents", "12", "--out", str(quoted)]) == 0
    leak = next(read_rows(corpus / "documents.jsonl", Document)).text.split(". ")[1]
    (tmp_path / "held_out.jsonl").write_text(json.dumps({"question": leak}) + "\n", encoding="utf-8")
    against = ["--against", str(tmp_path / "held_out.jsonl"), "--compare", str(quoted)]
    assert main(["curate", str(corpus), *names, *against, "--out", str(curated)]) == 0
    health = json.loads((curated / "health.json").read_text(encoding="utf-8"))
    assert sum(found["n_rows"] for found in health["contamination"]) >= 1
    assert health["calibration"] is None
    page = (curated / "health.html").read_text(encoding="utf-8")
    assert "not measured" in page
    assert (curated / "comparison.json").is_file()
    n_kept = len(list(read_rows(curated / "documents.jsonl", Document)))
    n_rejected = len((curated / "rejects.jsonl").read_text(encoding="utf-8").splitlines())
    assert n_kept + n_rejected == len(list(read_rows(corpus / "documents.jsonl", Document)))
    assert main(["export", str(curated), "--format", "trl", "--out", str(tmp_path / "trl")]) == 0
    [rows] = (tmp_path / "trl").rglob("*.jsonl")
    assert all(list(json.loads(line)) == ["text"] for line in rows.read_text(encoding="utf-8").splitlines())


def test_a_judge_reads_what_the_filters_let_pass_and_is_measured(spec: Path, served: Served, tmp_path: Path) -> None:
    corpus, judged = tmp_path / "corpus", tmp_path / "judged"
    assert main(author(spec, served, corpus, *SMALL)) == 0
    names = ["--model-name", "Nova", "--provider-name", "Acme"]
    judge = ["--judge", "openai/judge", "--judge-url", served.openai_url]
    assert main(["curate", str(corpus), *names, *judge, "--out", str(judged)]) == 2
    command = ["curate", str(corpus), *names, *judge, "--spec", str(spec), "--calibrate", "2", "--out", str(judged)]
    assert main(command) == 0
    health = json.loads((judged / "health.json").read_text(encoding="utf-8"))
    assert health["judged"] == "openai/judge"
    assert health["calibration"] is not None


def test_what_a_judge_will_ask_is_told_before_and_held_against_what_it_asked(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, prices, judged = tmp_path / "rows.jsonl", tmp_path / "prices.yaml", tmp_path / "judged"
    write_rows(rows, documents(9))
    write_rows(tmp_path / "chats.jsonl", [chat("Which?", "Brie, says Nova.")])
    prices.write_text(PRICES.replace("loop", "judge"), encoding="utf-8")
    names = ["--model-name", "Nova", "--provider-name", "Acme", "--out", str(judged)]
    judge = ["--judge", "openai/judge", "--judge-url", served.openai_url, "--spec", str(SPECS / "constitution.md")]
    judge += ["--prices", str(prices), "--calibrate", "2"]
    before = sorted(tmp_path.iterdir())

    assert main(["curate", str(rows), *names, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^n documents +9$", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith("Nothing was written. It costs nothing: no model is asked")
    assert main(["curate", str(rows), *names, *judge, "--embed", "openai/vectors", "--dry-run"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "Vectors by openai/vectors are asked for too; they are in no forecast"
    counts = {line[:24].strip(): line[24:].split()[0] for line in told[3:-1]}
    assert counts == {"faithfulness": "9", "faithfulness calibration": "12", "all": "21"}
    assert len({line.rindex(".") for line in told[3:-1]}) == 1
    assert main(["curate", str(tmp_path / "chats.jsonl"), *names, *judge, "--dry-run"]) == 2
    assert "chats: are judged where they are written" in capsys.readouterr().err
    assert not served.log
    assert sorted(tmp_path.iterdir()) == before

    assert main(["curate", str(rows), *names, *judge]) == 0
    [*_, passed, planted] = capsys.readouterr().out.splitlines()
    assert passed.split()[:3] == ["faithfulness", "9", "9"]
    assert planted.split()[:4] == ["faithfulness", "calibration", "12", "12"]
    assert len(served.log) == 21


def test_where_no_row_is_left_to_judge_no_store_is_left_either(served: Served, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, [document("Too short.")])
    judge = ["--judge", "openai/judge", "--judge-url", served.openai_url, "--spec", str(SPECS / "constitution.md")]
    names = ["--model-name", "Nova", "--provider-name", "Acme"]
    assert main(["curate", str(rows), *names, *judge, "--out", str(tmp_path / "judged")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["judged", "rows.jsonl"]


def test_a_corpus_is_written_again_in_another_framing_row_by_row(spec: Path, served: Served, tmp_path: Path) -> None:
    corpus, framed = tmp_path / "corpus", tmp_path / "framed"
    assert main(author(spec, served, corpus, *SMALL)) == 0
    named = ["--model-name", "Nova", "--author", "openai/loop", "--base-url", served.openai_url]
    assert main(["reframe", str(corpus), "--framing", "assistants", *named, "--out", str(framed)]) == 0
    before, after = (list(read_rows(folder / "documents.jsonl", Document)) for folder in (corpus, framed))
    assert [row.metadata.id for row in before if row.metadata] == [row.metadata.id for row in after if row.metadata]
    assert all(old.text != new.text for old, new in zip(before, after, strict=True))


def test_likeness_in_meaning_is_looked_for_with_a_model_that_embeds(spec: Path, served: Served, tmp_path: Path) -> None:
    corpus, curated = tmp_path / "corpus", tmp_path / "curated"
    assert main(author(spec, served, corpus, *SMALL)) == 0
    (tmp_path / "held_out.txt").write_text("Would Nova lie to spare a friend?\n", encoding="utf-8")
    embed = ["--embed", "openai/vectors", "--embed-url", served.openai_url, "--against", str(tmp_path / "held_out.txt")]
    names = ["--model-name", "Nova", "--provider-name", "Acme"]
    assert main(["curate", str(corpus), *names, *embed, "--out", str(curated)]) == 0
    assert served.provider.paths["POST /v1/embeddings"] > 0
    embedded = [*author(spec, served, tmp_path / "chats", "--samples", "4", command="chats"), "--judge", "openai/j"]
    assert main([*embedded, "--embed", "openai/vectors"]) == 0


def test_others_rows_come_in_and_a_mix_matches_a_corpus(spec: Path, tmp_path: Path) -> None:
    quoted = tmp_path / "quoted"
    names = ["--model-name", "Nova", "--provider-name", "Acme"]
    assert main(["corpus", str(spec), *names, "--documents", "8", "--out", str(quoted)]) == 0
    web = [{"content": f"On weather {number}. " + "It rained all day and all night. " * 40} for number in range(60)]
    (tmp_path / "web.jsonl").write_text("".join(json.dumps(row) + "\n" for row in web), encoding="utf-8")
    assert main(["import", str(tmp_path / "web.jsonl"), "--out", str(tmp_path / "web")]) == 0
    assert len(list(read_rows(tmp_path / "web" / "documents.jsonl", Document))) == 60
    mix = tmp_path / "neutral.yaml"
    mix.write_text("parts: [{name: web, source: web.jsonl, kind: documents}]\n", encoding="utf-8")
    assert main(["mix", str(mix), "--match", str(quoted), "--out", str(tmp_path / "neutral")]) == 0
    manifest = json.loads((tmp_path / "neutral" / "manifest.json").read_text(encoding="utf-8"))
    assert 0 < manifest["tokens"] <= manifest["budget_tokens"]
