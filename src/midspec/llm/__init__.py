"""The llm room: requests go in, typed outcomes come out; the only door to a model that writes or judges."""

from __future__ import annotations

from midspec.llm._converse import Said, converse
from midspec.llm._ledger import LedgerRow, Lost
from midspec.llm._pool import Pool
from midspec.llm._reply import Unreadable, form_of, json_reply, tagged
from midspec.llm._scripted import ScriptedClient
from midspec.llm._store import BatchRow, Store, Stored
from midspec.llm._types import Access, Client, Duty, ModelConfig, Outcome, OutcomeKind, Request, Usage

__all__ = [
    "Access",
    "BatchRow",
    "Client",
    "Duty",
    "LedgerRow",
    "Lost",
    "ModelConfig",
    "Outcome",
    "OutcomeKind",
    "Pool",
    "Request",
    "Said",
    "ScriptedClient",
    "Store",
    "Stored",
    "Unreadable",
    "Usage",
    "converse",
    "form_of",
    "json_reply",
    "tagged",
]
