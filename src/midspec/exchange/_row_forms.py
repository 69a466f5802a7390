"""What a row of others is, by its keys: a document, turns, a question with its answer, or none of these and why.

The names are those of data sets that are in use: ShareGPT, Alpaca, Dolly, OpenOrca, TRL and ms-swift (KTO), SQuAD,
UltraFeedback, OASST, MetaMathQA, Anthropic's HH.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from midspec.core.chat_rows import CHAT_KEYS, ROLES, BadRowError, check_text, parse_content
from midspec.core.errors import DataError

TEXT_KEYS = ("text", "content")
# One question with its answer: question, what it is about, answer.
_ASKED = ("instruction", "prompt", "question", "query")
ABOUT = ("input", "context")
_ANSWERS = ("completion", "output", "response", "answer")
_SEVERAL = ("completions", "outputs", "responses", "answers")
_CHOICES = ("choices", "options")
_SYSTEM = ("system", "system_prompt", "system_message")
_TRL_PAIR = ("prompt", "completion")
# Questions and answers by other names, where no name above is there and both are texts.
_OTHER_PAIRS = (("input", "output"), ("inputs", "targets"), ("problem", "solution"), ("user", "assistant"))
# What self-instruct writes where a question is about nothing.
_NO_INPUT = "<noinput>"
_SHOWN_KEYS = 6
_FEW_WORDS = 5
# Names of the lists of rows that a file of one object holds.
_ROWS = {"data", "rows", "train", "test", "examples", "records", "items"}

# A list of turns that a table keeps as text: JSON, or as Python prints it.
_TURNS_AS_TEXT = re.compile(r"""\s*(?:array\()?\[\s*\{\s*['"](?:role|content|from|value)['"]\s*:""")

_TRANSCRIPT = re.compile(r"\s*Human:.*\n[^\S\n]*Assistant:\s*", re.DOTALL)
_SPOKEN = re.compile(r"\s*(Human|User|Assistant|System):\s*(.*)", re.DOTALL)
_SPEAKER = re.compile(r"(?:^|\n[^\S\n]*)(Human|Assistant):")
_PLACE = re.compile(r"\W*[A-Z0-9]\W*")


def given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that have a value: a null, or the NaN of a table, is as good as a key that is not there."""
    found = {key: value for key, value in row.items() if not (value is None or is_nan(value))}
    return _of_gemini(found) if "contents" in found else found


def _of_gemini(found: dict[str, Any]) -> dict[str, Any]:
    """Return a row of Gemini's tuning data (`contents` of turns with `parts`) under the names that others have."""
    turns = found["contents"]
    if not _is_list_of(turns, dict) or not all(isinstance(turn.get("parts"), list) for turn in turns):
        return found
    system = found.get("systemInstruction", found.get("system_instruction"))
    beside = {"contents", "systemInstruction", "system_instruction"}
    rest = {key: value for key, value in found.items() if key not in beside}
    if isinstance(system, dict) and isinstance(system.get("parts"), list):
        rest["system"] = system["parts"]
    return {"messages": [{"role": turn.get("role", "user"), "content": turn["parts"]} for turn in turns], **rest}


def is_nan(value: object) -> bool:
    """Return whether a value is not a number, as tables fill cells that nobody filled."""
    return isinstance(value, float) and math.isnan(value)


def without_nulls(value: Any) -> Any:
    """Return a value of a table without the nulls in its structs: all of a column have the keys of each, filled so."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def is_chat(row: Mapping[str, Any]) -> bool:
    """Return whether a row is a conversation, by the keys that have a value."""
    found = given(row)
    if any(found.get(key) for key in TEXT_KEYS):
        # What a table filled with empty texts and lists is not there either. Alpaca has in `text` what is trained on.
        pair = pair_of(found) or _TRL_PAIR
        said = [found[key].strip() for key in pair if isinstance(found.get(key), str)]
        # An answer that says nothing is still one: such a row is no document of its question.
        is_asked = len(said) > 1 and bool(said[0])
        is_rendered = is_asked and any(all(one in str(found.get(key)) for one in said) for key in TEXT_KEYS)
        is_pair = all(found.get(key) for key in _TRL_PAIR)
        # Beside a text, what is no list is about the conversation that it is of: an id, say.
        turns = (found.get(key) for key in CHAT_KEYS)
        is_turns = any(bool(one) and (isinstance(one, list | dict) or str(one).lstrip()[:1] == "[") for one in turns)
        return is_pair or is_rendered or is_turns
    return any(key in found for key in CHAT_KEYS) or pair_of(found) is not None


def chat_key(found: Mapping[str, Any]) -> str | None:
    """Return the name of a row's turns; of several names, the first whose list holds any."""
    for key in CHAT_KEYS:
        if found.get(key):
            return key
    return next((key for key in CHAT_KEYS if key in found and pair_of(found) is None), None)


def pair_of(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the names of a row's question and answer, where it is such a row."""
    if set(_TRL_PAIR) <= set(found):
        return _TRL_PAIR
    asked, answer = (next((key for key in keys if key in found), None) for keys in (_ASKED, _ANSWERS))
    answer = answer or ("generation" if isinstance(found.get("generation"), str) else None)  # distilabel's
    if asked or {"chosen", "rejected"} <= set(found):
        return (asked, answer) if asked and answer else None
    pair = next((pair for pair in _OTHER_PAIRS if all(isinstance(found.get(key), str) for key in pair)), None)
    is_turns = isinstance(found.get("output"), str) and _is_list_of_turns(found.get("input"))  # Nemotron's
    return ("input", "output") if is_turns else pair


def refuse_parts(found: Mapping[str, Any]) -> None:
    """Refuse a row that is no document and no chat by itself, although its keys are those of one.

    Raises:
        BadRowError: it is one turn of a conversation whose other turns are other rows.
    """
    role = found.get("role")
    if isinstance(role, str) and role.lower() in ROLES:
        raise BadRowError(f"is one turn of a conversation (`role` is {role!a}), and no document by itself")


def why_neither(found: Mapping[str, Any]) -> str:
    """Say why a row that has no text, no turns and no answer is what it seems to be; empty where it seems nothing."""
    asked = next((key for key in _ASKED if key in found), None)
    several = next((key for key in _SEVERAL if isinstance(found.get(key), list | dict)), None)
    if {"chosen", "rejected"} <= set(found):
        return "is a pair of answers (`chosen`, `rejected`), a preference and no chat to learn"
    if asked and isinstance(found[asked], dict) and "replies" in found[asked]:
        return f"is a tree of replies (`{asked}.replies`), of which no branch is said to be the one"
    if asked and several:
        return f"has several answers in `{several}`, of which none is said to be the one"
    if asked:
        return f"has `{asked}`, and no answer in {', '.join(f'`{key}`' for key in _ANSWERS)}"
    return ""


def shown_keys(found: Mapping[str, Any]) -> str:
    """Return the first keys of a row for a message; empty where it has none."""
    keys = ", ".join(map(ascii, list(found)[:_SHOWN_KEYS]))
    return f": its keys are {keys}" if keys else ""


# Files of one object -------------------------------------------------------------------------------------------------
def rows_within(found: dict[str, Any], where: str) -> list[Any]:
    """Return the rows of a file of one object: itself, or those of the one list of rows that it holds.

    A list is one of rows by its name (`data`, `rows`), or where the object has no other value.

    Raises:
        DataError: it holds several lists of rows, or it is a table that pandas wrote in a form other than rows.
    """
    if _is_row(found):
        return [found]
    parts = list(found.values())
    rows = {
        key: value
        for key, value in found.items()
        if (key in _ROWS or len(found) == 1) and _is_list_of(value, dict) and not _is_list_of_turns(value)
    }
    if len(rows) == 1 or "data" in rows:
        return list(rows.get("data") or next(iter(rows.values())))
    if len(rows) > 1:
        hint = "Write each list to a file of its own"
        raise DataError(f"holds several lists of rows: {', '.join(rows)}", where=where, hint=hint)
    known = {*CHAT_KEYS, *TEXT_KEYS, *_ASKED, *_ANSWERS} & set(found)
    orient = ""
    if {"columns", "data"} <= set(found):
        orient = "split"
    elif known and all(isinstance(part, list) for part in parts):
        orient = "list"
    elif known and all(isinstance(part, dict) and "0" in part for part in parts):
        orient = "columns"
    elif parts and all(isinstance(part, dict) and _is_row(part) for part in parts):
        orient = "index"
    if orient:
        hint = 'Write it as rows, with pandas by to_json(FILE, orient="records", lines=True)'
        raise DataError(f"is a table as pandas writes it with orient={orient}", where=where, hint=hint)
    return [found]


def unwrapped(row: Any, where: str) -> tuple[Any, str, str]:
    """Return a row as the Hub's viewer gives it (`{"row_idx", "row", "truncated_cells"}`) as it is in the data set.

    Returns:
        The row, its place, and why it can't be read where cells of it were cut off.
    """
    names = set(row) if isinstance(row, dict) and isinstance(row.get("row"), dict) else set()
    if not {"row_idx", "row"} <= names <= {"row_idx", "row", "truncated_cells"}:
        return row, where, ""
    cut = row.get("truncated_cells")
    return row["row"], where, f"the viewer cut off its cells {', '.join(map(str, cut))}" if cut else ""


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, kind) for one in value)


def _is_list_of_turns(value: object) -> bool:
    return isinstance(value, list) and _is_list_of(value, dict) and any({"role", "from"} & set(one) for one in value)


def _is_row(found: Mapping[str, Any]) -> bool:
    """Return whether the values are those of one row, and not columns of several."""
    if any(isinstance(found.get(key), str) for key in TEXT_KEYS):
        return True
    turns = [found[key] for key in CHAT_KEYS if key in found]
    if any(isinstance(one, str) or _is_list_of_turns(one) or _is_list_of(one, str) for one in turns):
        return True
    pair = pair_of(found)
    return pair is not None and all(
        isinstance(found[key], str | int | float) or _is_list_of_turns(found[key]) for key in pair
    )


# Turns -----------------------------------------------------------------------------------------------------------
def turns_of(value: Any, name: str) -> Any:
    """Return a list of turns as tables keep it: as JSON text, as texts of JSON, or as a struct of lists; else `value`.

    Raises:
        BadRowError: it is text as Python prints lists.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return one_text(value, name)
    if isinstance(value, list) and value and all(isinstance(one, str) and one.lstrip()[:1] == "{" for one in value):
        try:
            decoded = [json.loads(one) for one in value]
        except (ValueError, RecursionError):
            return value
        return decoded if _is_list_of_turns(decoded) else value
    if _is_list_of(value, dict) and all("output" in one and not {"role", "from"} & set(one) for one in value):
        # XTuner's: a question with its answer, and a system text beside the first.
        names = (("system", "system"), ("input", "user"), ("output", "assistant"))
        return [{"role": role, "content": one[key]} for one in value for key, role in names if one.get(key)]
    if _is_list_of(value, dict) and all(
        not {"role", "from"} & set(one) and {"type", "content"} <= set(one) for one in value
    ):
        return [{"role": one["type"], **one} for one in value]  # LangChain's
    if _is_list_of(value, dict) and all("role" in one and isinstance(one.get("parts"), list) for one in value):
        # What a chat window of Vercel's keeps: a text and its parts, with a mark where the model is asked anew.
        step = {"type": "step-start"}
        return [{"role": one["role"], "content": [part for part in one["parts"] if part != step]} for one in value]
    if _is_list_of(value, str) and all(spoken := [_SPOKEN.fullmatch(one) for one in value]):
        return [{"role": one[1].lower(), "content": one[2]} for one in spoken if one is not None]
    if (
        isinstance(value, dict)
        and {"role", "from"} & set(value)
        and all(isinstance(one, list) for one in value.values())
    ):
        # So the `datasets` library keeps a sequence of structs.
        n = {len(one) for one in value.values()}
        return (
            [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)] if len(n) == 1 else value
        )
    return value


def transcript(question: Any) -> Any:
    """Return the turns of a prompt that ends where the assistant is to answer, as Anthropic's data has it; else it."""
    if not isinstance(question, str) or not _TRANSCRIPT.fullmatch(question):
        return question
    _, *parts = _SPEAKER.split(question.strip())
    said = list(zip(parts[::2], parts[1::2], strict=True))[:-1]
    return [{"role": speaker.lower(), "content": text.strip()} for speaker, text in said]


# Answers -----------------------------------------------------------------------------------------------------------
def one_text(value: Any, name: str) -> Any:
    """Return a question or an answer as the one text that it is, or as the turns that it is.

    A number is as good as its digits, a list of one text as that text, and turns that a table keeps as JSON as these.

    Raises:
        BadRowError: it is several texts, a truth, or turns as Python prints them.
    """
    if isinstance(value, bool):
        raise BadRowError(f"`{name}` is {json.dumps(value)}, not text")
    if isinstance(value, dict):
        raise BadRowError(f"`{name}` is an object, not text")
    if isinstance(value, int | float):
        return json.dumps(value)
    if isinstance(value, str) and _TURNS_AS_TEXT.match(value):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"`{name}` is a list of turns as Python prints it, which is not JSON") from error
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        if len(value) > 1:
            raise BadRowError(f"`{name}` is a list of several texts, not turns and not one text")
        return value[0]
    return value


def refuse_rivals(found: Mapping[str, Any], pair: tuple[str, str]) -> None:
    """Refuse a row with a second question or answer, unless one holds the other (a prompt made of an instruction).

    Case and white space don't count. A short answer beside a long one is its result, perhaps in another form: it is
    passed over, as keys are that have no place here.

    Raises:
        BadRowError: it has one: what is learned would be the answer to something else, or a wrong one.
    """
    asked, answer = pair
    others = [(asked, key) for key in _ASKED if pair != _TRL_PAIR] + [(answer, key) for key in _ANSWERS]
    for key, other in others:
        one, two = _folded(found.get(key)), _folded(found.get(other))
        if one in two or two in one:
            continue
        n_words = sorted((len(one.split()), len(two.split())))
        if other not in _ANSWERS or n_words[0] > _FEW_WORDS or n_words[1] <= _FEW_WORDS:
            raise BadRowError(f"has one text in `{key}` and another in `{other}`, of which one would be lost")


def _folded(value: Any) -> str:
    """Return a text or a number as it is compared; empty for what is neither."""
    return (
        " ".join(str(value).casefold().split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    )


def answer_of(found: Mapping[str, Any], name: str) -> Any:
    """Return the answer of a row, as `one_text` does.

    Raises:
        BadRowError: there are several, or it is only the number or letter of one of the row's choices.
    """
    value = found[name]
    for key in _CHOICES:
        listed = found.get(key)
        is_place = (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, str) and _PLACE.fullmatch(value)
        )
        texts = listed.values() if isinstance(listed, dict) else listed
        if isinstance(texts, Iterable) and not isinstance(texts, str) and listed and is_place and value not in texts:
            raise BadRowError(f"`{name}` is {value!a}, the place of an answer in `{key}`, and no answer by itself")
    if isinstance(value, list) and len(value) > 1 and all(isinstance(one, str) for one in value):
        raise BadRowError(f"`{name}` is a list of several answers to one question, not turns")
    return one_text(value, name)


def abouts_of(found: Mapping[str, Any]) -> list[str]:
    """Return the texts that a question is about, in the order in which they stand behind it."""
    texts = []
    for key in ABOUT:
        if key in found and found[key] not in ("", []) and (key, "output") != pair_of(found):
            text = parse_content(one_text(found[key], key), key, may_be_empty=True)
            texts += [text] if text.strip().lower() not in ("", _NO_INPUT) else []
    return texts


def system_of(found: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the system text that a row keeps beside its turns, and the keys that it was read from.

    A value that is no text, nor text in parts, says something else, and is left alone.

    Raises:
        BadRowError: two keys have different texts.
    """
    texts: dict[str, str] = {}
    for key in _SYSTEM:
        if key not in found:
            continue
        value = found[key]
        if isinstance(value, str | list):
            texts[key] = parse_content(value, key, may_be_empty=True) if value else ""
    if not texts:
        return "", {}
    said = {key: check_text(text, key) for key, text in texts.items() if text.strip()}
    if len({text.strip() for text in said.values()}) > 1:
        raise BadRowError(f"has different system texts in {' and '.join(f'`{key}`' for key in said)}")
    return next(iter(said.values()), ""), texts
