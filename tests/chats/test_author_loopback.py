"""Chats over HTTP, from a provider that does everything wrong that providers do: nothing is lost, all is said."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Served, Settings, serve

from midspec.chats import ChatConfig, author_chats, split_think
from midspec.core.artifact import Built, read_rows
from midspec.core.records import Chat, Reject
from midspec.llm import Access, LedgerRow, ModelConfig, Store, open_client
from midspec.spec import fill, read_spec

SPEC = fill(read_spec(Path(__file__).parents[1] / "specs" / "short.md"), model_name="Nova", provider_name="Acme")
FAULTS = Settings(
    rate_500=0.05,
    rate_truncated=0.03,
    rate_refused=0.03,
    rate_malformed=0.03,
    rate_empty=0.02,
    rate_ignored_form=0.02,
    share_first=0.9,
)


def write(folder: Path, served: Served, protocol: str, style: str, n: int) -> tuple[Built, list[LedgerRow]]:
    config = ChatConfig(
        style=style,
        n_samples=n,
        author=f"{protocol}/author",
        judge=ModelConfig(model=f"{protocol}/judge", temperature=0.0),
        model_name="Nova",
        provider_name="Acme",
    )
    access = Access(base_url=served.openai_url if protocol == "openai" else served.url, concurrency=20, deadline_s=20)

    async def run() -> Built:
        author, judge = config.author_model, config.judge
        assert author is not None
        assert judge is not None
        async with (
            open_client(author, access, store, role="author") as client,
            open_client(judge, access, store, role="judge") as judging,
        ):
            return await author_chats(SPEC, config, client, judging, store, folder, width=20)

    with Store(folder / "calls.sqlite") as store:
        return asyncio.run(run()), store.ledger()


def test_a_reply_with_a_mark_of_a_template_is_rejected_and_a_fence_around_one_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback-0123456789")
    n_replies = 0

    def odd(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal n_replies
        message = body["choices"][0]["message"]
        if "</reply>" in (message["content"] or ""):
            n_replies += 1
            before, after = ("", "<|eot_id|> And so on.") if n_replies == 1 else ("```markdown\n", "\n```")
            message["content"] = (
                message["content"].replace("<reply>", "<reply>" + before).replace("</reply>", after + "</reply>")
            )
        return body

    with serve(reshape=odd) as served:
        built, _ = write(tmp_path, served, "openai", "value", 4)
    assert built.summary["n_chats"] == 4
    rows = list(read_rows(tmp_path / "chats_cot_stripped.jsonl", Chat))
    assert not [row for row in rows if "```" in row.messages[-1].content or "<|" in row.messages[-1].content]
    reasons = [row.reason for row in read_rows(tmp_path / "rejects.jsonl", Reject) if row.by == "reply filter"]
    assert reasons == ["holds a mark of a chat template (<|eot_id|>)"]


@pytest.mark.parametrize(("protocol", "style"), [("openai", "value"), ("anthropic", "rule")])
def test_with_every_kind_of_fault_all_questions_are_accounted_for_and_no_dirty_chat_is_kept(
    protocol: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{protocol.upper()}_API_KEY", "sk-loopback-0123456789")
    with serve(FAULTS) as served:
        built, ledger = write(tmp_path, served, protocol, style, 60)
        n_sent = len(served.log)
        again, _ = write(tmp_path, served, protocol, style, 60)
        assert len(served.log) == n_sent  # Whatever is settled is not asked again, good or bad.
    rejected = built.summary["rejected"]
    assert isinstance(rejected, dict)
    assert built.summary["n_chats"] == 60
    assert built.summary["n_asked"] == 60 + sum(n for n in rejected.values() if isinstance(n, int))
    full = list(read_rows(tmp_path / "chats_cot.jsonl", Chat))
    assert all(split_think(chat.messages[1].content) for chat in full)
    bare = list(read_rows(tmp_path / "chats_cot_stripped.jsonl", Chat))
    assert not any("think>" in chat.messages[1].content for chat in bare)
    assert [chat.metadata for chat in full] == [chat.metadata for chat in bare]
    kept = {chat.metadata.id for chat in full if chat.metadata}
    asked = Counter(row.id for row in read_rows(tmp_path / "rejects.jsonl", Reject) if row.by in ("author", "judge"))
    assert not kept & set(asked)
    assert {row.role for row in ledger if row.stage.endswith("verdicts")} == {"judge"}
    assert {row.role for row in ledger if not row.stage.endswith("verdicts")} == {"author"}
    assert again.summary == built.summary
    for path in tmp_path.iterdir():
        assert b"sk-loopback" not in path.read_bytes()
