"""The llm room: requests go in, typed outcomes come out; the only door to a model that writes or judges.

In: a `Request` (what is asked, for which task and stage), a `ModelConfig` (who answers and how it samples), an `Access`
(how it is reached: server, concurrency, budget). Out: an `Outcome`, whose kind the provider's stop reason decides; and
in the `Store`, one SQLite file, a row for every attempt, written before anything is done with the reply.

`open_client` gives a `Client` made of small final classes, each of which does one thing and wraps the next:

    Stored        answers from the store what is settled there
    Budgeted      sets the worst case aside before it lets a request through; ends the run at the cap
    PrefixFirst   sends the first request of a prefix alone, so that the others find it in the provider's cache
    Retrying      asks again after 429, 5xx, resets and deadlines, for as long as anything succeeds
    Limited       keeps as many requests in flight as the server takes
    Recorded      writes the attempt's row, and its outcome into it
    Timed         gives the attempt a deadline, near the longest that its stage takes
    provider      one attempt over the network: AnthropicClient or OpenAIClient

With `batch`, `Batched` stands in place of all below `Budgeted` and answers through the batch endpoint. What is done
about each kind of outcome is not the client's business but that of `converse`, which asks, reads the value with a
strict `parse` and asks again where that can help. `Pool` runs conversations side by side without barriers;
`ScriptedClient` answers from a script and needs no server.
"""

from __future__ import annotations

from midspec.llm._budget import Budgeted
from midspec.llm._converse import Said, converse
from midspec.llm._embed import embed
from midspec.llm._forecast import Forecast, ForecastRow, StageLoad, forecast
from midspec.llm._ledger import Against, LedgerRow, Lost, against, estimate_usd
from midspec.llm._open import check_access, open_client
from midspec.llm._pool import Pool
from midspec.llm._prices import Price, Prices
from midspec.llm._reply import Unreadable, form_of, json_reply, tagged
from midspec.llm._scripted import ScriptedClient
from midspec.llm._store import BatchRow, Store, Stored
from midspec.llm._types import Access, Client, Duty, ModelConfig, Outcome, OutcomeKind, Request, Usage

__all__ = [
    "Access",
    "Against",
    "BatchRow",
    "Budgeted",
    "Client",
    "Duty",
    "Forecast",
    "ForecastRow",
    "LedgerRow",
    "Lost",
    "ModelConfig",
    "Outcome",
    "OutcomeKind",
    "Pool",
    "Price",
    "Prices",
    "Request",
    "Said",
    "ScriptedClient",
    "StageLoad",
    "Store",
    "Stored",
    "Unreadable",
    "Usage",
    "against",
    "check_access",
    "converse",
    "embed",
    "estimate_usd",
    "forecast",
    "form_of",
    "json_reply",
    "open_client",
    "tagged",
]
