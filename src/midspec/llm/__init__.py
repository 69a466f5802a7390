"""Language models that write or judge: requests go in, typed outcomes come out.

In: a `Request`, a `ModelConfig` (which model answers and how it samples), an `Access` (server, concurrency, budget).
Out: an `Outcome`, whose kind the provider's stop reason decides; and in the `Store`, one SQLite file, a row for every
attempt, written before anything is done with the reply.

`open_client` gives a `Client` made of small final classes, each of which does one thing and wraps the next; the first
four (`_client.py`) are around a whole request, the next three (`_attempts.py`) around each attempt:

    Stored        answers from the store what is settled there; ends a run whose prompts the server cuts (`CutPrompts`)
    Budgeted      sets the worst case aside before it lets a request through; ends the run at the cap
    PrefixFirst   sends the first request of a prefix alone, so that the others find it in the provider's cache
    Retrying      asks again after 429, 5xx, resets and deadlines, for as long as anything succeeds
    Limited       sends as many at once, and as many a minute, as the server takes
    Recorded      writes the attempt's row, and its outcome into it
    Timed         gives the attempt a deadline, near the longest that its stage takes
    provider      one attempt over the network: the client that the model's `Provider` builds

With `batch`, `BatchClient` stands in place of all below `Budgeted` and answers through the batch endpoint. `converse`
asks, reads the value with a strict `parse`, and asks again where that can help. `ScriptedClient` answers from a script.
A provider is one module in `providers/`, or in another package with an entry point (see `Provider`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
