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

With `batch`, `BatchClient` stands in place of all below `Budgeted` and answers through the batch endpoint. What is done
about each kind of outcome is not the client's business but that of `converse`, which asks, reads the value with a
strict `parse` and asks again where that can help. `Pool` runs conversations side by side without barriers;
`ScriptedClient` answers from a script and needs no server.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
