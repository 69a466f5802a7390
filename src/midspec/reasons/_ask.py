"""Many questions to one judge, side by side; a question that two of them share is asked once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from midspec.core.fingerprint import fingerprint
from midspec.core.progress import ProgressCallback
from midspec.core.records import Strict
from midspec.evals.judges._grader import GraderConfig
from midspec.generation import Pool
from midspec.llm import Client, Outcome, ParsedReply, Request, Store, converse, response_schema

Value = TypeVar("Value")


@dataclass(frozen=True)
class Asker:
    """A judge that is open.

    Attributes:
        client: answers requests of `judge`.
        store: keeps every reply.
        judge: who answers; part of what identifies a request.
        width: how many requests are wanted in flight at once.
        max_tokens: cap of a reply.
        on_progress: is told (done, of how many, what) after each.
    """

    client: Client
    store: Store
    judge: GraderConfig
    width: int
    max_tokens: int
    on_progress: ProgressCallback

    def request(self, stage: str, prefix: str, prompt: str, form: type[Strict]) -> Request:
        """What is asked; its task is a hash of all that makes its reply another one."""
        wanted = response_schema(form)
        task = f"reasons-{fingerprint([stage, self.judge, prefix, prompt, wanted])}"
        return Request(task=task, stage=stage, prefix=prefix, prompt=prompt, max_tokens=self.max_tokens, form=wanted)

    async def each(
        self, requests: Sequence[Request], parse: Sequence[Callable[[str], Value]], note: str
    ) -> list[ParsedReply[Value]]:
        """The replies, in the order of `requests`, each read by its own `parse`.

        Raises:
            MidspecError: what ends the run (the budget is used up, the key is refused).
        """
        found: dict[str, ParsedReply[Value]] = {}
        wanted = {request.task: (request, read) for request, read in zip(requests, parse, strict=True)}
        pool = Pool(self.width)

        def piece(request: Request, read: Callable[[str], Value]) -> Callable[[], Awaitable[None]]:
            async def work() -> None:
                found[request.task] = await converse(self.client, self.store, request, read)
                self.on_progress(len(found), len(wanted), note)

            return work

        for request, read in wanted.values():
            pool.add(piece(request, read))
        await pool.run()
        return [found[request.task] for request in requests]


def why_not(outcome: Outcome) -> str:
    """Why a reply gave nothing, in one of few words, so that they can be counted."""
    words = {
        "refused": "the judge refused",
        "filtered": "the judge refused, or its reply was filtered",
        "truncated": "the judge's reply was cut off",
        "unparsable": "the judge's reply can't be read",
    }
    return words.get(outcome.kind, "the judge gave no reply")
