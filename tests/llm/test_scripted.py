"""The scripted client: a fake that answers as a real client does, for tests everywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from midspec.core.errors import ConfigError
from midspec.llm import Client, Outcome, Request, ScriptedClient, Store


def asked(task: str = "t") -> Request:
    return Request(task=task, stage="documents", prompt="write", max_tokens=100)


def test_a_text_is_a_good_reply_and_an_outcome_is_itself() -> None:
    refused = Outcome(kind="refused", stop_reason="refusal")
    client: Client = ScriptedClient(lambda request: refused if request.task == "bad" else "fine")
    assert asyncio.run(client.ask(asked())) == Outcome(kind="ok", text="fine", stop_reason="stop")
    assert asyncio.run(client.ask(asked("bad"))) == refused
    asyncio.run(client.close())


def test_it_remembers_what_it_was_asked_in_order() -> None:
    client = ScriptedClient(lambda request: request.task)

    async def ask_three() -> list[Outcome]:
        return await asyncio.gather(*(client.ask(asked(task)) for task in "abc"))

    assert [outcome.text for outcome in asyncio.run(ask_three())] == ["a", "b", "c"]
    assert [request.task for request in client.asked] == ["a", "b", "c"]


def test_with_a_store_it_records_and_replays(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.sqlite") as store:
        first = ScriptedClient(lambda request: "once", store=store)
        again = ScriptedClient(lambda request: "twice", store=store)
        assert [asyncio.run(client.ask(asked())).text for client in (first, again)] == ["once", "once"]
        assert again.asked == []
        assert store.ledger()[0].model == "scripted"


def test_a_reply_with_half_a_character_is_the_same_at_its_replay(tmp_path: Path) -> None:
    with Store(tmp_path / "calls.sqlite") as store:
        client = ScriptedClient(lambda request: "tea \ud83d", store=store)
        assert [asyncio.run(client.ask(asked())).text for _ in range(2)] == ["tea ?", "tea ?"]


def test_what_its_script_raises_ends_the_run_and_leaves_an_attempt_without_outcome(tmp_path: Path) -> None:
    def script(request: Request) -> str:
        raise ConfigError("the key is refused")

    with Store(tmp_path / "calls.sqlite") as store:
        with pytest.raises(ConfigError):
            asyncio.run(ScriptedClient(script, store=store).ask(asked()))
        assert store.ledger()[0].n_in_flight == 1
