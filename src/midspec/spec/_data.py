"""Rules and traits of a file that is data: JSON, JSON lines or YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from midspec.core.errors import SpecError
from midspec.core.records import Strict
from midspec.spec import _data_keys as keys
from midspec.spec._data_keys import under_verdict
from midspec.spec._denials import lead_of_tag


class Rule(Strict):
    """One rule or trait of a file of them; `id`, `name` and `domain` are empty where the file gives none.

    Attributes:
        text: empty of a rule that is lists alone.
        is_off: the file says that it does not hold (`enabled: false`, `status: deprecated`).
        is_nested: it stands in a form that earlier versions did not read.
        reasons: why it is so, as paragraphs.
        lists: what to do and what not to do, each a lead over its items, as Markdown.
        examples: good and bad replies beside it, as paragraphs under their marks.
    """

    id: str = ""
    name: str = ""
    text: str = ""
    domain: str = ""
    is_off: bool = False
    is_nested: bool = False
    reasons: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        """The rule and all that belongs to it, as Markdown."""
        return "\n\n".join(filter(None, (self.text, *self.reasons, *self.lists, *self.examples)))


_MAX_DEPTH = 20
QUESTIONS = re.compile(r"[\"']?(?:additional_)?questions[\"']?[ \t]*:")
_YAML_BEGINS = re.compile(
    r"(?:---[ \t]*\n|#[^\n]*\n|[ \t]*\n|[A-Za-z_]\w*:[ \t]+[^\n]*\n"
    r"|[A-Za-z_]\w*:[ \t]*[|>][-+]?[ \t]*\n(?:[ \t]+[^\n]*\n|\n)+)*"
    rf"(?:-[ \t]+(?:id|name|dimension|{'|'.join(keys.TEXT_KEYS)}):[ \t]"
    rf"|(?:{'|'.join(keys.LIST_KEYS)}):[ \t]*(?:#[^\n]*)?\n(?:[ \t]*#[^\n]*\n|[ \t]*\n)*[ \t]*-[ \t])"
)
_COMMENTS = r"(?:\s|//[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*"
_STUDY = re.compile(r"^arms:", re.MULTILINE)
_JSON_BEGINS = re.compile(rf"{_COMMENTS}(?:\[{_COMMENTS})?\{{{_COMMENTS}\"")


def rules_of_data(text: str, where: str, form: str = "") -> tuple[list[Rule], list[str]]:
    """Return the rules or traits of a text that is JSON, JSON lines or YAML of them; none of a text that is prose.

    What else the data says of the assistant is returned beside them, a line for each key.

    Args:
        text: the text.
        where: what an error names.
        form: JSON or YAML where the text can be nothing else.

    Raises:
        SpecError: it is JSON or YAML of something else, or begins as such and can't be read.
    """
    begins = text.lstrip()
    if form == "JSON" or begins.startswith(("[", "{")) or _JSON_BEGINS.match(begins):
        found = _json_values(text, where, is_json=form == "JSON")
        is_data, form = bool(form) or any(isinstance(value, list | dict) for value in found), "JSON"
    elif form == "YAML" or _YAML_BEGINS.match(begins):
        found, is_data, form = [_yaml_value(text, where)], True, "YAML"
    else:
        return [], []
    rules = [rule for value in found for rule in _rules(value, "", _MAX_DEPTH) if rule.whole.strip()]
    if not any(not rule.is_off for rule in rules):
        rules = [rule for value in found for rule in _of_names(value, "", _MAX_DEPTH)]
    if is_data and not any(not rule.is_off for rule in rules):
        hint = 'Give traits ([{"trait": ...}, ...]), rules ([{"id", "name", "text"}, ...]), or Markdown'
        raise SpecError(f"is {form} without rules or traits", where=where, hint=hint)
    for rule in rules:
        bad = next((char for char in rule.whole if char == "\0" or "\ud800" <= char <= "\udfff"), None)
        if bad is not None:
            what = f"a rule has U+{ord(bad):04X} in it, which is no character of a text: {rule.whole[:60]!r}"
            raise SpecError(what, where=where, hint="Correct that escape")
    return rules, _unread(found, rules) if rules else []


def _unread(values: list[object], rules: list[Rule]) -> list[str]:
    """Return what no rule was made of: for each way of keys its first text, and how many more there are."""
    used = {words for rule in rules for words in (rule.text, rule.name, rule.id, rule.domain)}
    used |= {" ".join(example.partition(":** ")[2].split()) for rule in rules for example in rule.examples}
    used |= {
        line.removeprefix("- ") for rule in rules for part in (*rule.reasons, *rule.lists) for line in part.split("\n")
    }
    texts: dict[str, list[str]] = {}

    def gather(value: object, way: tuple[str, ...], depth: int) -> None:
        if isinstance(value, dict) and depth and not _is_off(value):
            said = keys.ABOUT | frozenset(keys.WHO_KEYS) if _is_turn(value) else keys.ABOUT
            for key, inner in value.items():
                if str(key).lower() not in said:
                    gather(inner, (*way, str(key)), depth - 1)
        elif isinstance(value, list) and depth:
            for inner in value:
                gather(inner, way, depth - 1)
        elif isinstance(value, str) and value.strip() and not used & {value, " ".join(value.split())}:
            texts.setdefault(".".join(way), []).append(" ".join(value.split()))
        elif not isinstance(value, str | list | dict | None) and {*way[-1:]} & {*keys.TEXT_KEYS, *keys.LIST_KEYS}:
            texts.setdefault(".".join(way), []).append(f"{value} (no text: put it in quotes)")

    for value in values:
        gather(value, (), _MAX_DEPTH)
    return [
        ": ".join(filter(None, (way, found[0]))) + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
        for way, found in texts.items()
    ]


def _is_turn(value: Mapping[str, object]) -> bool:
    """Return whether an entry is a turn of a chat (`{"role": ..., "content": ...}`, `{"from": "human", ...}`)."""
    has_both = "role" in value and "content" in value
    return has_both or any(str(value.get(key, "")).lower() in keys.WHO for key in keys.WHO_KEYS)


def _examples(value: Mapping[str, object]) -> Iterator[str]:
    """Yield the replies beside a rule that the data calls good or bad, as paragraphs under labels."""
    entries = value.get("examples", value.get("example"))
    inner = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    for one in (value, *inner, *([entries] if isinstance(entries, dict) else [])):
        replies = [
            f"**{label}:** {' '.join(reply.split())}"
            for key, label in keys.REPLIES.items()
            for reply in (one[key] if isinstance(one.get(key), list) else [one.get(key)])
            if isinstance(reply, str) and reply.strip()
        ]
        yield from _asked(one) if replies else ()
        yield from replies
    marked = entries if isinstance(entries, dict) else {}
    for label, listed in ((label, marked.get(key)) for key, label in keys.MARKED_LISTS.items()):
        for one in (one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)):
            replies = [words for name in keys.ANSWERS for words in _texts_of(one.get(name))]
            yield from [*_asked(one), f"**{label}:** {replies[0]}"] if replies else ()


def _asked(value: Mapping[str, object]) -> list[str]:
    """Return the user's turn of an example, as a paragraph under its label."""
    return [f"**User:** {words}" for key in keys.ASKS for words in _texts_of(value.get(key))][:1]


def _reasons(value: Mapping[str, object]) -> tuple[str, ...]:
    """Return the reasons that the data gives for a rule, each a paragraph."""
    return tuple(words for key in keys.REASON_KEYS for words in _texts_of(value.get(key)))


def _lists(value: Mapping[str, object]) -> tuple[str, ...]:
    """Return the lists of what to do and not to do beside a rule, or of a file of such lists alone."""
    return tuple(
        "\n".join([lead, "", *(f"- {words}" for words in _texts_of(value[key]))]) for key, lead in _leads(value).items()
    )


def _leads(value: Mapping[str, object]) -> dict[str, str]:
    """Return the keys over lists of what to do and not to do, each with the lead that it is."""
    if keys.SCHEMA & value.keys():
        return {}
    leads = {
        key: keys.LEADS.get(re.sub(r"[\W_]+", "", str(key).lower()), "") or _named_lead(key, value) for key in value
    }
    texts = {key: _texts_of(value[key]) for key, lead in leads.items() if lead}
    # `required: yes` is a flag, and `required: [name]` a schema's.
    lists = {key for key, lead in leads.items() if isinstance(value[key], list) and lead != "Required:"}
    said = (key for key, own in texts.items() if len(own) > 1 or (own and (key in lists or " " in own[0] + leads[key])))
    return {key: leads[key] for key in said}


def _named_lead(key: object, value: Mapping[str, object]) -> str:
    """Return the lead that a longer key is over its list, or an empty text."""
    words = " ".join(re.split(r"[\s_-]+", str(key).strip(" :")))
    found, entries = keys.NAMED_LEAD.match(words), value[str(key)] if isinstance(key, str) else None
    if not isinstance(entries, list) or key in keys.REPLIES or (found is not None and " " not in words):
        return ""
    if found is None:
        return lead_of_tag(words) if words.lower() != "no" else ""  # Norwegian, beside "en"
    is_lead = (
        found["kind"] or found["verb"] or all(len(one.split()) <= keys.MAX_THING_WORDS for one in _texts_of(entries))
    )
    return f"{words[0].upper()}{words[1:]}:" if is_lead else ""


def _texts_of(value: object) -> list[str]:
    """Return a text, or those of a list, each in one line."""
    texts = value if isinstance(value, list) else [value]
    return [" ".join(text.split()) for text in texts if isinstance(text, str) and text.strip()]


def _json_values(text: str, where: str, *, is_json: bool) -> list[object]:
    """Return the values of JSON or JSON lines; none of a text that only begins with a bracket or a brace."""

    def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
        _refuse_twins([key for key, _ in pairs], where)
        return dict(pairs)

    try:
        return [json.loads(text, object_pairs_hook=object_of)]
    except (ValueError, RecursionError) as error:
        try:
            if isinstance(error, SpecError):
                raise
            return [json.loads(line, object_pairs_hook=object_of) for line in text.split("\n") if line.strip()]
        except SpecError:
            raise
        except (ValueError, RecursionError):
            if not is_json and json_front_matter(text):
                return []
            if is_json or _JSON_BEGINS.match(text):
                line = getattr(error, "lineno", 1)
                hint = "Correct it, or begin a text that is no JSON with words"
                raise SpecError(f"begins as JSON and can't be read (line {line})", where=where, hint=hint) from error
            return []


def _refuse_twins(keys: list[object], where: str) -> None:
    """Raise where an object names a key twice, of which readers keep the later value alone."""
    if len(keys) > len({str(key) for key in keys}):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SpecError(f"names the key {twice!r} twice, and one would be lost", where=where, hint="Put both under one")


def json_front_matter(text: str) -> str:
    """Return the JSON object that a text of prose begins with, as sites of Hugo have it; empty where there is none.

    One that holds rules is no front matter.
    """
    begin = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return ""
    rest = text[end:]
    is_prose = rest.lstrip(" \t").startswith("\n") and rest.strip() and rest.lstrip()[0] not in "{}[],"
    if not isinstance(value, dict) or not is_prose or value.keys() & keys.RULE_KEYS:
        return ""
    return "" if any(isinstance(value.get(key), list | dict) for key in keys.LIST_KEYS) else text[:end]


def _yaml_value(text: str, where: str) -> object:
    import yaml

    if _STUDY.search(text):
        raise SpecError("is a study", where=where, hint="midspec plan checks it; give one of the specs that it names")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.CSafeLoader)):
            raise SpecError("is YAML with aliases", where=where, hint="Write each rule out")
        nodes = [yaml.compose(text, Loader=yaml.CSafeLoader)]
        while nodes:
            node = nodes.pop()
            if isinstance(node, yaml.MappingNode):
                _refuse_twins([key.value for key, _ in node.value], where)
                nodes += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                nodes += node.value
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, SpecError):
            raise
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        what = f"begins as YAML and can't be read (line {line})"
        raise SpecError(what, where=where, hint="Correct it, or give Markdown") from error


def _rules(value: object, domain: str, depth: int) -> Iterator[Rule]:
    if depth and isinstance(value, list):
        for entry in value:
            is_text = isinstance(entry, str) and len(entry.split()) > 1
            yield from [Rule(text=entry, domain=domain)] if is_text else _rules(entry, domain, depth - 1)
    elif isinstance(value, dict) and _is_turn(value):
        return
    elif isinstance(value, dict) and (key := next((k for k in keys.TEXT_KEYS if isinstance(value.get(k), str)), "")):
        identity, name = value.get("id", ""), value.get("name", value.get("title", "") if key != "text" else "")
        if key == "definition":
            name = name or next((value[one] for one in keys.DEFINED_KEYS if isinstance(value.get(one), str)), "")
        is_off = _is_off(value)
        within = [
            inner for name, inner in value.items() if isinstance(inner, dict) and str(name).lower() in keys.CONDUCT
        ]
        text, denied = under_verdict(value, value[key])
        lists = denied + tuple(words for one in (value, *within) for words in _lists(one))
        beside = {"reasons": _reasons(value), "lists": lists, "examples": tuple(_examples(value))}
        is_new = key == "definition" or any(beside.values())
        about = {"id": str(identity), "name": str(name), "domain": domain, "text": text, "is_off": is_off}
        yield Rule.model_validate({**about, **beside, "is_nested": is_new})
        # A text over a list of rules introduces them; one with subrules is a rule itself.
        for inner in keys.NESTED_KEYS if depth and not is_off else ():
            is_below = isinstance(value.get(inner), list | dict)
            yield from map(_as_nested, _rules(value[inner], str(name or domain), depth - 1) if is_below else ())
    elif depth and isinstance(value, dict) and not _is_off(value):
        own = next((str(value[key]) for key in keys.NAME_KEYS if key in value), domain)
        if lists := _lists(value):
            about = {"id": str(value.get("id", "")), "name": "" if own == domain else own, "domain": domain}
            beside = {"reasons": _reasons(value), "lists": lists, "examples": tuple(_examples(value))}
            yield Rule.model_validate({**about, **beside, "is_nested": True})
            yield from _of_names(_named(value), own, depth)
        for key in keys.NESTED_KEYS if lists else (*keys.LIST_KEYS, *keys.MORE_LIST_KEYS):
            found = _rules(value.get(key, []), own, depth - 1)
            yield from map(_as_nested, found) if key in keys.MORE_LIST_KEYS else found


def _as_nested(rule: Rule) -> Rule:
    return rule.model_copy(update={"is_nested": True})


def _named(value: Mapping[str, object]) -> dict[str, object]:
    """Return what of a mapping with lists of what to do are rules under their names."""
    known = {
        *_leads(value),
        *keys.NESTED_KEYS,
        *keys.REASON_KEYS,
        *keys.REPLIES,
        *keys.MARKED_LISTS,
        *keys.ABOUT,
        *keys.NO_RULES,
        *keys.SCHEMA,
    }
    return {
        str(key): inner
        for key, inner in value.items()
        if isinstance(inner, str | list | dict) and not {key, str(key).lower()} & {*known, "note", "notes", "comment"}
    }


def _of_names(value: object, domain: str, depth: int) -> Iterator[Rule]:
    """Yield the rules of objects whose keys are names: `{"Honesty": ["Ada never lies.", ...], "1": "Ada asks."}`."""
    if not depth or not isinstance(value, dict) or _is_turn(value) or _is_off(value):
        return
    no_rules = keys.NO_RULES & {str(key).lower() for key in value}
    if no_rules or not all(isinstance(inner, str | list | dict) for inner in value.values()):
        return
    for name, inner in value.items():
        own = str(name)
        if own.lower() in keys.SCHEMA:
            continue
        if isinstance(inner, str):
            words = inner if len(inner.split()) > 1 else ""
            found = [Rule(id="" if not own.isdigit() else own, name="" if own.isdigit() else own, text=words)]
        else:
            found = list(_rules(inner, own, depth - 1)) or list(_of_names(inner, own, depth - 1))
        for rule in (one for one in found if one.whole.strip()):
            yield rule.model_copy(update={"is_nested": True, "domain": rule.domain or domain})


def _is_off(value: Mapping[str, object]) -> bool:
    """Return whether an entry says that it does not hold."""
    flags = any(value.get(key) is False for key in ("enabled", "active"))
    flags |= any(value.get(key) is True for key in ("disabled", "deprecated", "removed", "archived", "hidden"))
    return flags or str(value.get("status", "")).strip().lower() in keys.OFF_WORDS
