"""A written corpus through the whole chain to a server: both protocols, faults, and a run that is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.loopback import Settings, serve

from midspec.core.artifact import Built, read_rows
from midspec.core.records import Document, PlanRow, Reject
from midspec.corpus import CorpusConfig, author_corpus
from midspec.llm import Access, Store, open_client
from midspec.spec import read_spec

SPEC = Path(__file__).parent.parent / "specs" / "constitution.md"
ASKED = {
    "model_name": "Iris",
    "provider_name": "Acme",
    "doc_types": 3,
    "ideas": 3,
    "writing": {"n_domains": 2, "n_subdomains": 2, "min_documents": 0},
}
N_DOCUMENTS = 2 * 2 * 3 * 3
N_REQUESTS = 1 + 2 + 4 + 4 + 12 + N_DOCUMENTS


async def write(folder: Path, author: str, url: str, **changes: object) -> Built:
    config = CorpusConfig.model_validate({**ASKED, "author": author} | changes)
    assert config.author_model is not None
    access = Access(base_url=url, concurrency=8, deadline_s=5)
    with Store(folder / "replies.sqlite") as store:
        async with open_client(config.author_model, access, store, role="author") as client:
            return await author_corpus(read_spec(SPEC), config, client, store, folder, width=8)


def adds_up(folder: Path) -> tuple[int, int]:
    plan = Counter(row.id for row in read_rows(folder / "plan.jsonl", PlanRow))
    documents = list(read_rows(folder / "documents.jsonl", Document))
    rejects = list(read_rows(folder / "rejects.jsonl", Reject))
    settled = Counter(d.metadata.plan_id for d in documents if d.metadata) + Counter(one.id for one in rejects)
    assert plan == settled
    return len(documents), len(rejects)


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_both_protocols_give_the_whole_corpus(tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(Settings()) as served:
        url = served.openai_url if protocol == "openai" else served.url
        built = asyncio.run(write(tmp_path, f"{protocol}/tiny", url))
        assert len(served.log) == N_REQUESTS
        assert adds_up(tmp_path) == (N_DOCUMENTS, 0)
        assert built.summary["notes"] == []
        before = {name: (tmp_path / name).read_bytes() for name in built.outputs}
        asyncio.run(write(tmp_path, f"{protocol}/tiny", url))
        assert len(served.log) == N_REQUESTS
        assert {name: (tmp_path / name).read_bytes() for name in built.outputs} == before


def test_a_server_with_every_fault_leaves_nothing_unaccounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rates = {"rate_truncated": 0.08, "rate_refused": 0.06, "rate_malformed": 0.06, "rate_filtered": 0.04}
    with serve(Settings(**rates, rate_500=0.04, rate_empty=0.03, rate_ignored_form=0.05, seed=3)) as served:
        built = asyncio.run(write(tmp_path, "openai/tiny", served.openai_url))
    n_documents, n_rejects = adds_up(tmp_path)
    assert n_documents + n_rejects == built.summary["n_planned"]
    assert n_documents > N_DOCUMENTS / 2
    assert {row["fate"] for row in served.log} >= {"ok", "truncated", "refused", "malformed"}
    for document in read_rows(tmp_path / "documents.jsonl", Document):
        assert "Iris" in document.text
        assert "<plan>" not in document.text


def test_the_prefix_is_read_from_the_cache_in_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with serve(Settings(cache=True)) as served:
        asyncio.run(write(tmp_path, "openai/tiny", served.openai_url))
    shareable = sum(row["n_shareable"] for row in served.log)
    assert sum(row["n_cached"] for row in served.log) >= 0.95 * shareable > 0


CHILD = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.corpus.test_author_live import write
asyncio.run(write(Path(sys.argv[2]), "openai/tiny", sys.argv[3], **json.loads(sys.argv[4])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_before", [2, 12, 90])
def test_a_run_that_is_killed_asks_again_for_nothing_that_was_answered(
    tmp_path: Path, n_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    changes = {"doc_types": 5, "ideas": 5}
    root = Path(__file__).parents[2]
    with serve(Settings(median_list_s=0.05, median_document_s=0.15)) as served:
        command = [sys.executable, "-c", CHILD, str(root), str(tmp_path), served.openai_url, json.dumps(changes)]
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root / "src")})
        deadline = time.monotonic() + 60
        while len(served.log) < n_before and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        time.sleep(0.5)
        with Store(tmp_path / "replies.sqlite") as store:
            n_answered = sum(row.n_asked for row in store.ledger())
        asyncio.run(write(tmp_path, "openai/tiny", served.openai_url, **changes))
        n_requests = 1 + 2 + 4 + 4 + 20 + 100
        # What was on its way at the kill (8 at most) is asked a second time; nothing else is.
        assert n_requests <= len(served.log) <= n_requests + 8
        assert n_answered >= n_before - 8
        assert adds_up(tmp_path) == (100, 0)
        before = (tmp_path / "documents.jsonl").read_bytes()
        n_asked = len(served.log)
        asyncio.run(write(tmp_path, "openai/tiny", served.openai_url, **changes))
        assert len(served.log) == n_asked
        assert (tmp_path / "documents.jsonl").read_bytes() == before
