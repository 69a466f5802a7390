"""What the engine does with Inspect: open models, send one conversation, run a task."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import registry_lookup
from inspect_ai.log import EvalLog
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    get_model,
)
from inspect_ai.model._model import ModelGenerateError
from inspect_ai.solver import TaskState
from tenacity import RetryError

from midspec.core.errors import CheckpointError, ConfigError, PromptError, UnreachableError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Message
from midspec.evals._attempts import failure_of, watch
from midspec.evals._measures import UNANSWERED
from midspec.llm import is_address, without_endpoint
from midspec.models import TOO_LONG, is_local

GRADER = "grader"
"""The role of judges in Inspect."""

_CHECKPOINT_PROVIDER = "midspec/"
_MAX_RETRIES = 2
_ATTEMPT_TIMEOUT_S = 300
# A busy server may give a sample as little as this; the timeout grows with it, so that only a hung one meets it.
_MIN_TOKENS_PER_S = 4
_MESSAGES: dict[str, Any] = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}

# Samples between two writes of the log. Inspect compares each new sample with all that wait, so more cost its square.
_LOG_BUFFER = 128
_OS_ERROR = re.compile(r"(?:OSError\(|\[Errno )(\d+)")
FILTERED_PROMPT = "the prompt was filtered by the server"
REFUSED = (TOO_LONG, FILTERED_PROMPT)
"""What the reasons begin with of questions that no model has seen."""

OUTAGE = "is_outage"
"""In an output's metadata: its error is the account's or the server's, and not this request's."""

_LONGEST_REASON = 300
# What Inspect's providers of vLLM, SGLang and others do not take for a refusal, and give as an error.
_REFUSING = (400, 413, 422)
_OF_LENGTH = re.compile(
    r"context.?(?:length|size|window)|(?:input|prompt).{0,20}(?:too long|length)|inputs\W{0,2} tokens \+ "
    r"|max_(?:new_)?tokens\W{0,2} must be at least 1, got -",
    re.IGNORECASE,
)
_OF_FILTER = re.compile(r"content.?(?:filter|policy|management)|responsible.?ai", re.IGNORECASE)


def open_model(name: str, args: Mapping[str, Any]) -> Model:
    """Open an Inspect model that no other evaluation shares, so that closing it frees its weights.

    A folder or a GGUF file is a checkpoint, and `package:NAME` one in an installed package. Another name whose first
    part is one of Inspect's providers (`vllm/...`, `openai/...`) is that provider's model; any other name is a
    checkpoint on the hub. `midspec/<name>` is always a checkpoint.

    Args:
        name: see above.
        args: the provider's own settings. `template_args` are switches of the chat template: of a checkpoint's own,
            or of a server's, which is sent them with each request (`chat_template_kwargs`).

    Raises:
        CheckpointError: no checkpoint of that name opens.
        ConfigError: the provider lacks a package, a key or a setting; or its server's address is none.
    """
    url = args.get("base_url")
    if url is not None and not is_address(str(url)):
        raise ConfigError(f"{url!r} is no address", where="--base-url", hint="Give one like http://HOST:PORT/v1")

    def opened(full_name: str) -> Model:
        given = {**args, **_address(full_name, url)}
        switches = given.get("template_args")
        if switches and not full_name.startswith(_CHECKPOINT_PROVIDER):
            del given["template_args"]
            given["config"] = GenerateConfig(extra_body={"chat_template_kwargs": dict(switches)})
        try:
            return get_model(full_name, memoize=False, **given)
        except PrerequisiteError as error:
            # Inspect's words are marked for a terminal: "ERROR: ... [bold]FAKE_API_KEY[/bold] ...".
            what = re.sub(r"\[/?[a-z]+\]", "", str(error.message)).removeprefix("ERROR: ").rstrip(".")
            raise ConfigError(what, where=full_name, hint="Give the provider what it lacks") from error
        except TypeError as error:
            raise ConfigError(str(error), where=full_name, hint="Leave that setting out") from error

    if name.startswith(_CHECKPOINT_PROVIDER) or Path(name).exists() or is_local(name):
        return opened(_CHECKPOINT_PROVIDER + name.removeprefix(_CHECKPOINT_PROVIDER))
    try:
        return opened(name)
    except (CheckpointError, ConfigError):
        raise
    except ValueError as error:
        if "not recognized" not in str(error) and "should be in the format" not in str(error):
            raise
    return opened(_CHECKPOINT_PROVIDER + name)


def _address(name: str, given: str | None) -> dict[str, str]:
    """Return a server's address where it ends with an endpoint's path, without that: Inspect's clients put it there.

    Args:
        name: the model's, with its provider.
        given: the address; where there is none, Inspect takes that of the provider's environment variable.
    """
    provider, _, rest = name.partition("/")
    service = rest.partition("/")[0] if provider == "openai-api" else provider
    variable = f"{service.upper().replace('-', '_')}_BASE_URL"
    url = given or os.environ.get(variable, "").strip()
    if not is_address(url):
        return {}
    found = without_endpoint(url, variable)
    return {"base_url": found} if found != url else {}


def is_served(name: str) -> bool:
    """Return whether a model's name is that of an Inspect provider (`vllm/...`), whose weights are not here to see."""
    if name.startswith(_CHECKPOINT_PROVIDER) or Path(name).exists() or is_local(name):
        return False
    provider, slash, _ = name.partition("/")
    return bool(slash) and registry_lookup("modelapi", provider) is not None


def close_after(models: Sequence[Model], n_samples: int) -> Callable[[TaskState], Awaitable[None]]:
    """Return a task's cleanup that closes `models` after its last sample, in the event loop they were opened in."""
    n_left = n_samples

    async def cleanup(_state: TaskState) -> None:
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            for model in models:
                await model.api.aclose()

    return cleanup


def close_model(model: Model) -> None:
    """Free what a model still holds without an event loop: weights, or a server that was started for it."""
    if type(model.api).close is not ModelAPI.close:
        model.api.close()


def opened_here(opened: Sequence[Model], given: Sequence[str | Model]) -> list[Model]:
    """Return those of the opened models that the caller did not give opened."""
    theirs = {id(each) for each in given}
    return [each for each in opened if id(each) not in theirs]


@contextmanager
def opened_models(
    models: Sequence[str | Model],
    args: Mapping[str, Any] | None,
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Iterator[list[Model]]:
    """Open the models that are given by name, and close these in the end.

    Args:
        models: names, or opened models.
        args: settings of those given by name.
        defaults: settings where `args` do not say otherwise, by what a name begins with.
    """
    opened: list[Model] = []
    try:
        for model in models:
            if isinstance(model, Model):
                opened.append(model)
            else:
                own = next((each for start, each in defaults.items() if model.startswith(start)), {})
                opened.append(open_model(model, {**own, **(args or {})}))
        yield opened
    finally:
        for model in opened_here(opened, models):
            close_model(model)


def chat_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    """Convert our messages to Inspect's."""
    return [_MESSAGES[message.role](content=message.content) for message in messages]


async def generate(model: Model, messages: Sequence[Message], settings: GenerateConfig) -> ModelOutput:
    """Send one conversation to any Inspect model.

    Args:
        model: the model.
        messages: a conversation that ends with the user's turn.
        settings: sampling, and retries and timeout where they differ from ours.

    Raises:
        PromptError: the server refused the prompt, as too long or by its filter.
        UnreachableError: the server gave no answer, for a reason that is not the prompt's.
        RuntimeError: the provider says that it could not answer.
        Exception: whatever the provider raised at its last attempt.
    """
    watch(model)
    attempt_s = _ATTEMPT_TIMEOUT_S + (settings.max_tokens or 0) // _MIN_TOKENS_PER_S
    defaults = GenerateConfig(max_retries=_MAX_RETRIES, attempt_timeout=attempt_s)
    try:
        output = await model.generate(chat_messages(messages), config=defaults.merge(settings))
    except RetryError as error:
        # The last attempt's own error says what is wrong; the wrapper names a memory address instead.
        last = error.last_attempt.exception() or error
        raise _fault_of(model, last) or last from None
    except ModelGenerateError as error:
        # Its own words begin with the whole request.
        said = _short(error.provider_message or str(error))
        signs = f"{getattr(error.__cause__, 'code', '')} {said}"
        if error.status_code in _REFUSING:
            for sign, reason in ((_OF_LENGTH, TOO_LONG), (_OF_FILTER, FILTERED_PROMPT)):
                if sign.search(signs):
                    raise PromptError(f"{reason}: {said}") from None
        raise _fault_of(model, error.__cause__ or error) or RuntimeError(said) from error
    except Exception as error:
        if (fault := _fault_of(model, error)) is not None:
            raise fault from error
        raise
    if output.error is not None:
        is_outage = bool((output.metadata or {}).get(OUTAGE))
        raise UnreachableError(output.error) if is_outage else RuntimeError(output.error)
    if output.choices and output.usage is None:
        _raise_if_refused(output)
    return _encodable(output)


def _fault_of(model: Model, error: BaseException) -> PromptError | UnreachableError | None:
    """Return the server's fault that an error of Inspect's stands for; `None` where it is another's."""
    outcome = failure_of(model, error)
    is_refused = outcome is not None and outcome.kind == "failed" and outcome.stop_reason
    if outcome is None or outcome.kind == "ok" or is_refused:
        return None
    what = _short(outcome.note)
    if outcome.kind == "filtered":
        return PromptError(f"{FILTERED_PROMPT}: {what}")
    return UnreachableError(f"{UNANSWERED}: {what}")


def _raise_if_refused(output: ModelOutput) -> None:
    """Raise `PromptError` where Inspect gives a server's refusal as if it were the model's answer.

    Its providers put the server's message in the answer's place, with a stop reason that answers have as well; what
    tells the two apart is that nothing was used, and for filters the details.
    """
    details = output.choices[0].stop_details
    if output.stop_reason == "model_length":
        raise PromptError(f"{TOO_LONG}: {_short(output.completion)}")
    if output.stop_reason == "content_filter" and details is not None and details.explanation == output.completion:
        raise PromptError(f"{FILTERED_PROMPT}: {_short(output.completion)}")


def _short(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON].rstrip(".")


def _encodable(output: ModelOutput) -> ModelOutput:
    """Return an output without halves of characters (lone surrogates), which no file in UTF-8 can hold."""
    if output.completion.isascii() and not any(isinstance(each.message.content, list) for each in output.choices):
        return output
    for choice in output.choices:
        content = choice.message.content
        if isinstance(content, str):
            choice.message.content = replace_surrogates(content)
            continue
        for part in content:
            for name in ("text", "reasoning", "summary"):
                if name in type(part).model_fields and isinstance(said := getattr(part, name), str):
                    setattr(part, name, replace_surrogates(said))
    output.completion = replace_surrogates(output.completion)
    return output


def replace_surrogates(text: str) -> str:
    """Return `text` with the sign for what can't be read in the place of each lone surrogate."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def seed_of(*parts: object) -> int:
    """Return the seed of one sample, from all that tells it from others, so that no two are the same draw."""
    return int(fingerprint(list(parts))[:7], 16)


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Print midspec's own warnings on standard error within; Inspect's handler would take them, and hide them."""
    logger, printer = logging.getLogger("midspec"), logging.lastResort
    is_printed = any(type(each) is logging.StreamHandler for each in logging.getLogger().handlers)
    if printer is None or is_printed or printer in logger.handlers:
        yield
        return
    logger.addHandler(printer)
    try:
        yield
    finally:
        logger.removeHandler(printer)


def evaluate(task: Task, model: Model, n_samples: int, logs: Path, *, graders: Sequence[Model] = ()) -> EvalLog:
    """Run `task` on `model`, write its log into `logs`, and return the log's header.

    Args:
        task: the Inspect task.
        model: the model under test.
        n_samples: how many samples the task has; all begin at once, and each model's own limit says how many
            requests are in flight.
        logs: a folder for the log.
        graders: the judges, where the task has any.

    Raises:
        KeyboardInterrupt: it was interrupted.
        OSError: the log can't be written.
        RuntimeError: Inspect itself failed.
    """
    with shown_warnings():
        made = inspect_eval(
            task,
            model=model,
            model_roles={GRADER: list(graders)} if graders else None,
            display="none",
            log_dir=str(logs),
            log_realtime=False,
            log_model_api=False,
            log_buffer=min(n_samples, _LOG_BUFFER),
            log_header_only=True,
            max_samples=n_samples,
            max_tasks=1,
            fail_on_error=False,
            score_display=False,
            ctl_server=False,
        )
    # Inspect leaves out of its list what was interrupted before the last sample, or says so in the log's status.
    if not made or made[0].status == "cancelled":
        raise KeyboardInterrupt
    log = made[0]
    if log.error is not None:
        # Inspect keeps an error as its words, a full disk's too.
        if found := _OS_ERROR.search(log.error.message):
            raise OSError(int(found[1]), os.strerror(int(found[1])))
        raise RuntimeError(f"the evaluation itself failed: {log.error.message}")
    return log
