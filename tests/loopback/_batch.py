"""Both batch APIs: made at once, done after a delay, with entries that expire, fail or are cancelled."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from ._asked import Protocol
from ._http import header
from ._say import error

if TYPE_CHECKING:
    from ._provider import Provider

Answered = tuple[int, bytes, bytes]
_JSON, _LINES = b"application/json", b"application/x-ndjson"


class Batch:
    """One batch of either protocol; its entries are answered when it is first looked at after its delay."""

    def __init__(self, identity: str, protocol: Protocol, entries: list[tuple[str, dict[str, Any]]]) -> None:
        self.identity, self.protocol, self.entries = identity, protocol, entries
        self.made = time.time()
        self.cancelled = False
        self.metadata: dict[str, str] = {}
        self.input_file = ""
        self.results: list[tuple[str, str, int, dict[str, Any]]] | None = None  # (custom_id, kind, status, body)


class Batches:
    """All batches and files of a provider."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._batches: dict[str, Batch] = {}
        self._files: dict[str, bytes] = {}

    def handle(self, method: str, path: str, host: str, head: bytes, body: bytes) -> Answered:
        """Answer a request to either batch API; 404 for what is none."""
        if path.startswith("/v1/messages/batches"):
            return self._anthropic(method, path.split("/")[4:], host, body)
        if path.startswith("/v1/files"):
            return self._file(method, path.split("/")[3:], head, body)
        if path.startswith("/v1/batches"):
            return self._openai(method, path.split("/")[3:], body)
        return _answer(error("openai", 404, f"{method} {path}"), 404)

    def _anthropic(self, method: str, parts: list[str], host: str, body: bytes) -> Answered:
        if method == "POST" and not parts:
            entries = [(entry["custom_id"], entry["params"]) for entry in orjson.loads(body)["requests"]]
            if len({name for name, _ in entries}) < len(entries):
                return _answer(error("anthropic", 400, "custom_id is not unique"), 400)
            return _answer(self._shown_anthropic(self._make("msgbatch", "anthropic", entries), host))
        if not parts:
            listed = [b for b in reversed(self._batches.values()) if b.protocol == "anthropic"]
            shown = [self._shown_anthropic(batch, host) for batch in listed]
            return _answer({"data": shown, "has_more": False, "first_id": None, "last_id": None})
        batch = self._batches.get(parts[0])
        if batch is None:
            return _answer(error("anthropic", 404), 404)
        if parts[1:] == ["cancel"]:
            batch.cancelled = True
        elif parts[1:] == ["results"]:
            lines = [
                {"custom_id": name, "result": _result_anthropic(kind, made)}
                for name, kind, _, made in self._results(batch)
            ]
            return 200, b"".join(orjson.dumps(line) + b"\n" for line in lines), _LINES
        return _answer(self._shown_anthropic(batch, host))

    def _shown_anthropic(self, batch: Batch, host: str) -> dict[str, Any]:
        ended = self._over(batch)
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        for _, kind, _, _ in self._results(batch) if ended else []:
            counts[kind] += 1
        if not ended:
            counts["processing"] = len(batch.entries)
        return {
            "id": batch.identity,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": _time(batch.made),
            "expires_at": _time(batch.made + 86400),
            "ended_at": _time(batch.made + self._provider.settings.batch_delay_s) if ended else None,
            "archived_at": None,
            "cancel_initiated_at": _time(batch.made) if batch.cancelled else None,
            "results_url": f"http://{host}/v1/messages/batches/{batch.identity}/results" if ended else None,
        }

    def _file(self, method: str, parts: list[str], head: bytes, body: bytes) -> Answered:
        if method == "POST":
            identity = f"file-{len(self._files)}"
            self._files[identity] = _uploaded(head, body)
        elif not parts or parts[0] not in self._files:
            return _answer(error("openai", 404), 404)
        elif parts[1:] == ["content"]:
            return 200, self._files[parts[0]], _LINES
        else:
            identity = parts[0]
            if method == "DELETE":
                del self._files[identity]
                return _answer({"id": identity, "object": "file", "deleted": True})
        shown = {
            "id": identity,
            "object": "file",
            "bytes": len(self._files[identity]),
            "created_at": int(time.time()),
            "filename": "requests.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
        return _answer(shown)

    def _openai(self, method: str, parts: list[str], body: bytes) -> Answered:
        if method == "POST" and not parts:
            asked = orjson.loads(body)
            if asked["input_file_id"] not in self._files:
                return _answer(error("openai", 404, "no such file"), 404)
            lines = [orjson.loads(line) for line in self._files[asked["input_file_id"]].splitlines() if line.strip()]
            batch = self._make("batch", "openai", [(line["custom_id"], line["body"]) for line in lines])
            batch.metadata, batch.input_file = asked.get("metadata") or {}, asked["input_file_id"]
            return _answer(self._shown_openai(batch))
        if not parts:
            listed = [b for b in reversed(self._batches.values()) if b.protocol == "openai"]
            return _answer({"object": "list", "data": [self._shown_openai(b) for b in listed], "has_more": False})
        found = self._batches.get(parts[0])
        if found is None:
            return _answer(error("openai", 404), 404)
        if parts[1:] == ["cancel"]:
            found.cancelled = True
        return _answer(self._shown_openai(found))

    def _shown_openai(self, batch: Batch) -> dict[str, Any]:
        ended = self._over(batch)
        results = self._results(batch) if ended and not self._provider.settings.batch_failed else []
        good = [result for result in results if result[1] == "succeeded"]
        bad = [result for result in results if result[1] != "succeeded"]
        status = "in_progress" if not ended else "cancelled" if batch.cancelled else "completed"
        if any(kind == "expired" for _, kind, _, _ in bad):
            status = "expired"
        if words := self._provider.settings.batch_failed:
            status, good, bad = "failed", [], []
        errors = {"object": "list", "data": [{"code": "billing", "message": words}]} if words else None
        return {
            "id": batch.identity,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "status": status,
            "errors": errors,
            "created_at": int(batch.made),
            "expires_at": int(batch.made) + 86400,
            "output_file_id": self._written(batch, "output", good),
            "error_file_id": self._written(batch, "error", bad),
            "metadata": batch.metadata,
            "request_counts": {"total": len(batch.entries), "completed": len(good), "failed": len(bad)},
        }

    def _written(self, batch: Batch, name: str, results: list[tuple[str, str, int, dict[str, Any]]]) -> str | None:
        if not results:
            return None
        identity = f"file-{batch.identity}-{name}"
        if identity not in self._files:
            lines = [_line_openai(number, *result) for number, result in enumerate(results)]
            self._files[identity] = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return identity

    def _make(self, name: str, protocol: Protocol, entries: list[tuple[str, dict[str, Any]]]) -> Batch:
        batch = Batch(f"{name}_{len(self._batches)}", protocol, entries)
        self._batches[batch.identity] = batch
        return batch

    def _over(self, batch: Batch) -> bool:
        return batch.cancelled or time.time() >= batch.made + self._provider.settings.batch_delay_s

    def _results(self, batch: Batch) -> list[tuple[str, str, int, dict[str, Any]]]:
        if batch.results is None:
            batch.results = [self._result(batch, name, body) for name, body in batch.entries]
        # The order of replies is the provider's own; clients match them by id.
        return batch.results[::-1]

    def _result(self, batch: Batch, name: str, body: dict[str, Any]) -> tuple[str, str, int, dict[str, Any]]:
        if batch.cancelled:
            return name, "canceled", 0, {}
        provider, asked = self._provider, self._provider.ask(batch.protocol, body)
        fate, _ = provider.draw(asked)
        row = provider.row(asked, f"batch {batch.identity}", fate, 0.0)
        share = (int(asked.sha[:8], 16) + asked.n_before * 0x9E3779B1) % 2**32 / 2**32
        if fate == "hang" or share < provider.settings.batch_expired:
            kind, status = "expired", 0
            made: dict[str, Any] = {}
            row["fate"] = "expired"
        else:
            status, made, told = provider.answer(asked, fate)
            kind = "succeeded" if status == 200 else "errored"
            row |= told
        row["done"] = time.monotonic()
        provider.note(row)
        return name, kind, status, made


def _result_anthropic(kind: str, made: dict[str, Any]) -> dict[str, Any]:
    if kind == "succeeded":
        return {"type": kind, "message": made}
    return {"type": kind, "error": made} if kind == "errored" else {"type": kind}


def _line_openai(number: int, name: str, kind: str, status: int, made: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"id": f"batch_req_{number}", "custom_id": name, "response": None, "error": None}
    if kind in {"expired", "canceled"}:
        code = "batch_expired" if kind == "expired" else "batch_cancelled"
        return line | {"error": {"code": code, "message": f"the batch {kind} before this request was answered"}}
    return line | {"response": {"status_code": status, "request_id": f"req_{number}", "body": made}}


def _uploaded(head: bytes, body: bytes) -> bytes:
    """The file of a multipart form."""
    found = re.search(r'boundary="?([^";]+)', header(head, b"content-type") or "")
    if not found:
        return body
    for part in body.split(b"--" + found[1].encode()):
        described, _, content = part.partition(b"\r\n\r\n")
        if b"filename=" in described:
            return content.removesuffix(b"\r\n")
    return b""


def _answer(body: dict[str, Any], status: int = 200) -> Answered:
    return status, orjson.dumps(body), _JSON


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
