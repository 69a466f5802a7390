"""From a spec to rows by models, the whole command, against the loopback provider: nothing lost, nothing paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Served, Settings, serve

from midspec.llm import Store

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "tests" / "specs" / "short.md"
KEY = "sk-loopback-whole-road"
SIZES = ("--domains", "2", "--subdomains", "2", "--doc-types", "3", "--ideas", "3")
N_DOCUMENTS = 36
FAULTS = {
    "rate_500": 0.05,
    "rate_overloaded": 0.02,
    "rate_429": 0.03,
    "rate_reset": 0.03,
    "rate_truncated": 0.04,
    "rate_refused": 0.04,
    "rate_filtered": 0.02,
    "rate_malformed": 0.04,
    "rate_ignored_form": 0.02,
    "rate_empty": 0.03,
    "retry_after_s": 0.1,
}


@contextmanager
def start(served: Served, out: Path, *words: str, author: str = "openai") -> Iterator[subprocess.Popen[str]]:
    """The command, which does not outlive the block."""
    url = served.openai_url if author == "openai" else served.url
    reach = ["--author", f"{author}/loopback", "--base-url", url, "--concurrency", "8", "--out", str(out)]
    names = ["--model-name", "Nova", "--provider-name", "Northwind"]
    command = [sys.executable, "-m", "midspec", words[0], str(SPEC), *words[1:], *reach, *names]
    keys = {**os.environ, "OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    with subprocess.Popen(command, env=keys, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def midspec(served: Served, out: Path, *words: str, author: str = "openai") -> str:
    with start(served, out, *words, author=author) as process:
        told, _ = process.communicate(timeout=50)
    assert process.returncode == 0, told
    return told


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(store: Path) -> Counter[str]:
    with Store(store) as opened:
        ledger = opened.ledger()
    assert all(row.n_in_flight == 0 for row in ledger)
    return sum((Counter(row.kinds) for row in ledger), Counter())


def holding(folder: Path, text: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize("author", ["openai", "anthropic"])
def test_a_corpus_from_a_faulty_server_is_whole_or_accounted_for(author: str, tmp_path: Path) -> None:
    with serve(Settings(key=KEY, seed=3, **FAULTS)) as served:
        told = midspec(served, tmp_path / "corpus", "corpus", *SIZES, author=author)
        log = served.log
        documents, rejects = (rows(tmp_path / "corpus" / f"{name}.jsonl") for name in ("documents", "rejects"))
        assert len({row["metadata"]["id"] for row in documents}) == len(documents)
        assert len(documents) + len(rejects) >= N_DOCUMENTS - 9, told  # a list that came to nothing is said
        assert all(row["text"].count(".") == 25 and "<" not in row["text"] for row in documents)
        assert all("Nova" in row["text"] for row in documents)
        ended = kinds(tmp_path / "corpus.calls.sqlite")
        assert ended.total() == len(log)
        assert {"ok", "again"} <= set(ended)
        midspec(served, tmp_path / "corpus", "corpus", *SIZES, author=author)
        assert len(served.log) == len(log), "what is answered was asked again"
    assert KEY not in told
    assert holding(tmp_path, KEY) == []


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    with serve(Settings(key=KEY, median_list_s=0.02, median_document_s=0.2)) as served:
        with start(served, tmp_path / "corpus", "corpus", *SIZES) as process:
            until = time.monotonic() + 60
            while len(served.log) < 30 and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            told, _ = process.communicate(timeout=20)
        assert process.returncode != 0, told
        time.sleep(0.3)
        n_answered = sum(row["done"] is not None and not row["gone"] for row in served.log)
        midspec(served, tmp_path / "corpus", "corpus", *SIZES)
        log = served.log
    assert len(rows(tmp_path / "corpus" / "documents.jsonl")) == N_DOCUMENTS
    assert sum(row["n_before"] > 0 for row in log) == 0, "what was in flight came in and was recorded"
    assert n_answered >= 22


@pytest.mark.slow
@pytest.mark.parametrize(("author", "page"), [("openai", "/v1/batches"), ("anthropic", "/v1/messages/batches")])
def test_open_batches_are_attached_to_again_and_paid_once(author: str, page: str, tmp_path: Path) -> None:
    with serve(Settings(key=KEY, batch_delay_s=0.5)) as served:
        for number in (1, 2, 3):  # killed as soon as the server has a batch
            with start(served, tmp_path / "corpus", "corpus", *SIZES, "--batch", author=author) as process:
                until = time.monotonic() + 60
                while served.provider.paths[f"POST {page}"] < number and time.monotonic() < until:
                    time.sleep(0.01)
                process.kill()
                process.communicate(timeout=20)
        served.provider.settings = Settings(key=KEY)  # the others end at once
        midspec(served, tmp_path / "corpus", "corpus", *SIZES, "--batch", author=author)
        log = served.log
    assert len(rows(tmp_path / "corpus" / "documents.jsonl")) == N_DOCUMENTS
    assert all(row["n_before"] == 0 and row["path"].startswith("batch") for row in log)


@pytest.mark.slow
def test_chats_have_an_author_and_a_judge_and_twins_with_equal_ids(tmp_path: Path) -> None:
    with serve(Settings(key=KEY, share_first=0.9)) as served:
        told = midspec(served, tmp_path / "chats", "chats", "--samples", "20", "--judge", "openai/other")
        models = Counter(json.loads(json.dumps(each["body"]))["model"] for each in served.last if each["body"])
        ended = kinds(tmp_path / "chats.calls.sqlite")
        assert ended.total() == len(served.log)
    cot, stripped = (rows(tmp_path / "chats" / f"chats_{name}.jsonl") for name in ("cot", "cot_stripped"))
    assert len(cot) == len(stripped) == 20, told
    assert [row["metadata"]["id"] for row in cot] == [row["metadata"]["id"] for row in stripped]
    assert all("<think>" in json.dumps(row) for row in cot)
    assert not any("<think>" in json.dumps(row) for row in stripped)
    assert set(models) == {"loopback", "other"}
    assert holding(tmp_path, KEY) == []


@pytest.mark.slow
def test_the_benchmark_of_generation_counts_nothing_lost_and_nothing_paid_twice() -> None:
    measures = ("kills", "narrow")  # what it counts beside these is in the tests above
    command = [sys.executable, "benchmarks/generation.py", "--quick", "--only", *measures]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
