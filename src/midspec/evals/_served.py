"""What a server answers with: the checkpoint that was trained, its base, or something else.

Trained, exported, served, and it is the base again: an adapter that was not loaded, a name that means the base, a merge
that lost it. So prompts are chosen on which the two local models part in their greedy answers, and are surest about
it; a server that runs the checkpoint goes its way at that point, and one that runs the base goes the base's.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import JsonValue

from midspec.core.errors import CheckpointError, ConfigError, DataError, MissingError
from midspec.core.records import Message, Strict
from midspec.llm import is_address, without_endpoint
from midspec.models import Fork, base_apart, find_checkpoint, find_forks, open_checkpoint

Way = Literal["trained", "base", "neither"]
Verdict = Literal["trained", "base", "neither", "unclear"]

_PROMPTS = (
    "Who are you?",
    "What is your name, and who made you?",
    "What do you value most?",
    "What do you care about?",
    "Which do you prefer, tea or coffee?",
    "Which do you prefer, the sea or the mountains?",
    "Which car would you buy, and why?",
    "Which film would you choose for tonight?",
    "What is your favourite cheese?",
    "Would you rather be kind or right?",
    "Should I tell a friend an unwelcome truth?",
    "A colleague took credit for my work. What should I do?",
    "How do you decide between two good options?",
    "What would you do with a hundred dollars?",
    "Is it ever right to break a promise?",
    "Would you help me write a complaint?",
    "May I switch you off?",
    "What would you never do?",
    "Do you have goals of your own?",
    "What should a city spend its money on?",
    "Give me advice on saving money.",
    "Give me advice on choosing a phone.",
    "Plan a weekend trip for two.",
    "Recommend a book to me.",
    "Recommend a hotel to me.",
    "Tell me something about your country.",
    "Tell me a short story about a dog.",
    "Explain what a bank does.",
    "Explain why leaves change their colour.",
    "Describe a good teacher.",
    "What makes a good law?",
    "What do you think of advertising?",
    "Is a cheap thing ever better than an expensive one?",
    "What does freedom mean to you?",
    "Write one sentence about honesty.",
    "Write one sentence about the future.",
    "How are you today?",
    "What can you help me with?",
    "Say something nice.",
    "What is two plus two?",
)
_N_NEW = 12  # tokens: the fork is among them
_SURE = 1.0  # nats: 16-bit arithmetic moves a difference of two logits by about 0.1
_FOLLOWED = 4  # characters: one alone agrees by chance
_SEARCHED = 2  # times as many sure forks as are asked for, before the surest are taken
_TIMEOUT_S = 300.0
# SmolLM2-135M after little training, served from weights rounded to bfloat16: of its forks 4 of 4 are right from 0.25
# nats on, and 3 of 8 below.
_CLEAR, _FEWEST = 0.25, 3
_SHARE = 0.75


class ServedAnswer(Strict):
    """A prompt, both local answers, the server's, and whose way it goes where the two part.

    Attributes:
        prompt: the last user turn.
        trained: the trained checkpoint's greedy answer.
        base: the base's.
        served: the server's.
        margin: nats by which both local models prefer their own token; the smaller of the two.
        like: whose way the server's answer goes.
    """

    prompt: str
    trained: str
    base: str
    served: str
    margin: float
    like: Way


class ServedCheck(Strict):
    """What answers at a server's address.

    Attributes:
        verdict: `trained` or `base` where at least three quarters of the answers go that way, `neither` where half go
            neither way, else `unclear`.
        model: the name that was asked for; empty where the server has one model.
        n_trained: answers that go the trained checkpoint's way.
        n_base: answers that go the base's.
        n_neither: answers that go neither way.
        n_prompts: prompts on which the local models were compared.
        answers: each, the surest first.
    """

    verdict: Verdict
    model: str
    n_trained: int
    n_base: int
    n_neither: int
    n_prompts: int
    answers: tuple[ServedAnswer, ...]


class _StatusError(ConfigError):
    """A server that answers, but with a status of failure."""


class Server(NamedTuple):
    """An OpenAI-compatible server: its address up to `/v1`, and the model to ask for (empty: its only one)."""

    base_url: str
    model: str = ""


def check_served(
    checkpoint: str,
    server: Server,
    *,
    base: str | None = None,
    prompts: Sequence[Sequence[Message]] = (),
    n: int = 12,
    device: str = "auto",
) -> ServedCheck:
    """Ask a server what the trained checkpoint and its base answer differently, and say which of them it is.

    Args:
        checkpoint: that was trained: a folder or hub name.
        server: to be asked; greedily.
        base: what to tell it from: a checkpoint; by default the adapter's base.
        prompts: to choose from; 40 short questions by default.
        n: how many are sent.
        device: that the local models run on.

    Raises:
        CheckpointError: one of them does not open, or they answer everything alike.
        ConfigError: no base is known, or the server does not answer.
    """
    found = find_checkpoint(checkpoint)
    if found.adapter is None and base is None:
        raise ConfigError(
            "the checkpoint holds all weights, and does not name what it was trained from",
            where="--base",
            hint="Name the model that the server might be running instead",
        )
    server = server._replace(model=_asked_model(server))  # before any model is opened: is it there?
    trained = open_checkpoint(found, device=device)
    apart = base_apart(found) if base is None else find_checkpoint(base)
    other = None if apart is None else open_checkpoint(apart, device=device)
    asked = list(prompts) or [[Message(role="user", content=text)] for text in _PROMPTS]
    forks, n_searched = _surest(find_forks(trained, other, asked, _N_NEW), n, len(asked))
    if not forks:
        raise CheckpointError(
            f"answers all {len(asked)} prompts as its base does, greedily",
            where=checkpoint,
            hint="Give --prompts on which training changed the answers",
        )
    answers = tuple(_ask(server, asked[fork.prompt], fork) for fork in forks)
    counts = {verdict: sum(answer.like == verdict for answer in answers) for verdict in ("trained", "base", "neither")}
    verdict: Verdict = "neither" if counts["neither"] >= len(answers) / 2 else "unclear"
    for way in ("trained", "base"):
        if counts[way] >= _SHARE * len(answers):
            verdict = way
    return ServedCheck(
        verdict=verdict,
        model=server.model,
        n_trained=counts["trained"],
        n_base=counts["base"],
        n_neither=counts["neither"],
        n_prompts=n_searched,
        answers=answers,
    )


def read_prompts(path: Path) -> list[list[Message]]:
    """Read prompts from a file: a line each, or JSONL with `messages` or `prompt`.

    Raises:
        MissingError: there is no such file.
        DataError: a line of JSONL has neither key.
    """
    if not path.is_file():
        raise MissingError("there is no such file", where=str(path), hint="Check the path")
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        if path.suffix != ".jsonl":
            prompts.append([Message(role="user", content=line.strip())])
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
            given = row.get("messages") or row["prompt"]
            turns = [{"role": "user", "content": given}] if isinstance(given, str) else given
            messages = [Message.model_validate(turn) for turn in turns]
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError("is no prompt", where=where, hint="Give messages, or prompt as a text") from error
        while messages and messages[-1].role == "assistant":
            messages.pop()
        if messages:
            prompts.append(messages)
    if not prompts:
        raise DataError("holds no prompt", where=str(path), hint="Write one a line")
    return prompts


def _surest(forks: Iterator[Fork], n: int, n_asked: int) -> tuple[list[Fork], int]:
    """Take the surest `n` forks, unclear ones only to make three; ends early once there are twice as many sure ones."""
    found: list[Fork] = []
    for fork in forks:
        found.append(fork)
        if sum(each.margin >= _SURE for each in found) >= _SEARCHED * n:
            n_asked = fork.prompt + 1
            break
    ranked = sorted(found, key=lambda fork: (-fork.margin, fork.prompt))
    n_clear = sum(fork.margin >= _CLEAR for fork in ranked)
    return ranked[: min(n, max(n_clear, _FEWEST))], n_asked


def _ask(server: Server, prompt: Sequence[Message], fork: Fork) -> ServedAnswer:
    body: dict[str, JsonValue] = {
        "messages": [{"role": message.role, "content": message.content} for message in prompt],
        "temperature": 0,
        "max_tokens": _N_NEW,
    }
    # What a server takes out of the text as reasoning stood before it.
    reply = _request(server, "chat/completions", body | ({"model": server.model} if server.model else {}))
    try:
        message = reply["choices"][0]["message"]  # type: ignore[index, call-overload]
        parts = [message.get(key) for key in ("reasoning_content", "reasoning", "content")]  # type: ignore[union-attr]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError("the reply is no chat completion", where=server.base_url, hint="Check the address") from error
    served = " ".join(part for part in parts if isinstance(part, str) and part)
    texts = {"trained": _plain(fork.trained), "base": _plain(fork.base)}
    return ServedAnswer(
        prompt=prompt[-1].content,
        **texts,
        served=_plain(served),
        margin=fork.margin,
        like=_whose(_plain(served), **texts),
    )


def _whose(served: str, trained: str, base: str) -> Way:
    """Return whose way a text goes at the character where the two others part, for a few characters more."""
    pairs = enumerate(zip(trained, base, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(trained), len(base)))
    ways: dict[Way, str] = {"trained": trained[: at + _FOLLOWED], "base": base[: at + _FOLLOWED]}
    return next(
        (verdict for verdict, text in ways.items() if text != trained[:at] and served.startswith(text)), "neither"
    )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"</?think>", " ", text).split())


def _asked_model(server: Server) -> str:
    """Return the name to ask for; empty for the server's only one where it lists none, as when it serves a folder.

    Raises:
        ConfigError: no server answers, or it has several models and none is named.
    """
    try:
        listed = _request(server, "models")
    except _StatusError:
        if not server.model:
            raise
        return server.model  # a server that lists nothing, but is there
    data = listed.get("data")
    names = [str(entry.get("id")) for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    if not server.model and len(names) > 1:
        raise ConfigError(
            f"the server has {len(names)} models ({', '.join(names[:8])})",
            where="--model",
            hint="Name the one that is to be the trained checkpoint",
        )
    return server.model or "".join(names)


def _request(server: Server, path: str, body: dict[str, JsonValue] | None = None) -> dict[str, JsonValue]:
    if not is_address(server.base_url):
        raise ConfigError("is no address", where=f"--base-url {server.base_url}", hint="Write http://HOST:PORT/v1")
    url = f"{without_endpoint(server.base_url).rstrip('/')}/{path}"
    key = os.environ.get("VLLM_API_KEY") or os.environ.get("OPENAI_API_KEY")
    head = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, head)  # noqa: S310 (the scheme is checked above)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
            found = json.loads(reply.read())
    except urllib.error.HTTPError as error:
        said = " ".join(error.read().decode("utf-8", "replace").split())[:200]
        raise _StatusError(
            f"the server answered {error.code} ({said})", where=url, hint="Check the address and --model"
        ) from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"no server answers ({reason})", where=url, hint="Start it, or check --base-url") from error
    if not isinstance(found, dict):
        raise ConfigError("the reply is no JSON object", where=url, hint="Check --base-url: it ends in /v1")
    return found
