"""Names in a spec: placeholders, found in every spelling and filled; its assistant's name, found and replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Protocol

from midspec.core.errors import SpecError, did_you_mean
from midspec.core.records import Section, Spec
from midspec.core.text import whole_words
from midspec.spec._used_names import own_name, used_names

KNOWN = ("model_name", "provider_name")
_MODEL = (
    r"(?:ai[ _-])?(?:assistant|model|bot|chatbot)(?:(?:['’]?s)?[ _.-]?name)?|(?:ai|agent)(?:['’]s)?[ _.-]?name"
    r"|name[ _-]of[ _-](?:the[ _-]|your[ _-])?(?:assistant|model|ai)"
    r"|your[ _-](?:assistant|model|ai)(?:(?:['’]?s)?[ _-]name)?"
    r"|name des (?:assistenten|modells)|nom (?:de l['’]assistant|du modèle)|nom_du_modele"
    r"|nombre del (?:asistente|modelo)|nome d(?:ell['’]assistente|el modello|o assistente|o modelo)"
    r"|имя (?:ассистента|модели)"
    r"|(?:模型|助手|助理)(?:的?名字|名称?|名稱)|(?:モデル|アシスタント)の?名前?|(?:모델|어시스턴트)(?:명|의? ?이름)"
)
_PROVIDER = (
    r"(?:provider|company|developer|organi[sz]ation|org|maker|creator|vendor|lab)(?:(?:['’]?s)?[ _-]?name)?"
    r"|name[ _-]of[ _-](?:the[ _-]|your[ _-])?(?:provider|company|developer|maker)"
    r"|your[ _-](?:provider|company|organi[sz]ation|lab)(?:(?:['’]?s)?[ _-]name)?"
    r"|name des (?:anbieters|unternehmens)|nom de l['’]entreprise|nombre de la empresa"
    r"|nome d(?:ell['’]azienda|a empresa)|название компании"
    r"|(?:公司|提供商|开发商|開發商)(?:的?名字|名称?|名稱)|会社の?名前?|회사(?:명|의? ?이름)"
)
_ROLE = rf"(?i:(?:{_MODEL})|(?:{_PROVIDER}))"
# In lower case `[assistant]` and `<developer>` are no placeholders: they say whose turn it is.
_NAMED = rf"(?:(?=[A-Z])|(?=[\w'’-]+[ _-])|(?!(?:assistant|developer)\b)){_ROLE}"
# What these signs stand around may be a comment, a statement or a token: here it says that it is a name.
_SAID_NAME = r"(?i:(?:model|assistant|ai|bot|chatbot|provider|company|maker|agent)[ _-]?name)"
NO_NAME = rf"(?![ \t]*{_SAID_NAME}[ \t]*[%|@])"
# `{{ user.company }}` and `{{ car.model }}` are of others.
_OWNER = r"(?:(?i:config|cfg|settings|options|params|vars|env|spec|persona|assistant|ai|bot|agent|self)\.|[.$])"
_SPELLINGS = (
    rf"[$#%]?(?:\{{\{{\{{[ \t]*{_OWNER}?{_ROLE}[ \t]*\}}\}}\}}|\{{\{{[ \t]*{_OWNER}?{_ROLE}[ \t]*\}}\}}"
    rf"|\{{[ \t]*[.$]?{_ROLE}[ \t]*\}})|%%[ \t]*{_SAID_NAME}[ \t]*%%|\{{%[ \t]*{_SAID_NAME}[ \t]*%\}}"
    rf"|<\|[ \t]*{_SAID_NAME}[ \t]*\|>|@@[ \t]*{_SAID_NAME}[ \t]*@@"
    rf"|\[(?i:insert|enter|add|put)(?: the| your)? (?=[^\[\]\n]{{0,40}}(?i:name)){_ROLE}(?i: here)?\](?![(\[:])"
    rf"|【(?=[^【】\n]{{0,40}}(?:名|이름|(?i:name)))[ \t]*{_ROLE}[ \t]*】"
    rf"|<%=?[ \t]*{_ROLE}[ \t]*%>|%\({_ROLE}\)s|%{_NAMED}%|<<[ \t]*{_ROLE}[ \t]*>>"
    rf"|\[\[[ \t]*{_ROLE}[ \t]*\]\]|<{_NAMED}>|(?<!\])\[{_NAMED}\](?![(\[:])|(?<![\w$])\${_ROLE}(?!\w)"
    rf"|(?<!\w)__(?=[A-Z_]+__){_ROLE}__(?!\w)|(?<!\w)@(?=[A-Z_]+@){_ROLE}@(?!\w)"
    r"|(?<![\w$@{<\[])(?:MODEL|ASSISTANT|AI|BOT|PROVIDER|COMPANY|MAKER)_NAME(?!\w)"
)
_IS_MODEL = re.compile(rf"(?:{_MODEL})\Z", re.IGNORECASE)
_AROUND = re.compile(r"\A(?:insert|enter|add|put)(?: the| your)? | here\Z", re.IGNORECASE)
_PLAIN = "|".join(rf"\{{{{{n}}}(?:model_name|provider_name)\}}{{{n}}}" for n in (3, 2, 1))
_IN_CODE = re.compile(_PLAIN)
FILLED = re.compile(
    r"(?P<code>^[ \t>]*(?P<fence>(?P<tick>[`~])(?P=tick){2,})[^`\n]*\n"
    r"(?s:.*?)(?:^[ \t>]*(?P=fence)(?P=tick)*[ \t]*$|\Z)"
    rf"|(?<!`)(?P<span>`+)(?!`)[^\n]{{1,1000}}?(?<!`)(?P=span)(?!`))|(?P<placeholder>{_PLAIN}|{_SPELLINGS})",
    re.MULTILINE,
)
_ANY = re.compile(r"(?<!\{)\{([A-Za-z_][A-Za-z0-9_]*)\}(?!\})")
CODE_SPAN = re.compile(r"`[^`\n]*`")


def _known(text: str, closed: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Yield the known placeholders of a text as names, each with its spelling, in order."""
    for match in FILLED.finditer(text):
        spellings = [match[0]] if match["placeholder"] else _IN_CODE.findall(match[0])
        for spelling in spellings:
            if spelling.strip("</>").lower() not in closed or not spelling.startswith("<"):
                yield _name_of(spelling), spelling


def _name_of(spelling: str) -> str:
    word = spelling.removesuffix("s") if spelling.startswith("%(") else spelling
    word = _AROUND.sub("", word.strip("{}[]<>()【】$#%@|_=. \t"))
    words = (word, word.partition(".")[2])  # `{{ config.model_name }}`
    return "model_name" if any(one and _IS_MODEL.match(one) for one in words) else "provider_name"


# What a placeholder is called, without what is between its words; `label_name` and `marker_name` are of other things.
_MEANT = dict.fromkeys(("modelname", "assistantname", "chatbotname"), "model_name")
_MEANT |= dict.fromkeys(
    ("providername", "companyname", "developername", "organizationname", "creatorname"), "provider_name"
)
_MEANT_IN_BRACES = _MEANT | {"model": "model_name", "assistant": "model_name", "provider": "provider_name"}
_LIKE_ONE = re.compile(
    r"(?P<mark>[{\[<%$@#]{1,3}=?)[ \t]*[./$]?"
    r"(?:(?P<closed>[A-Za-z][A-Za-z’' _-]{2,29})[ \t]*[}\]>%@)]{1,3}|(?P<open>[A-Za-z][A-Za-z_-]{2,29})(?!\w))"
    r"|(?<![\w/.-])(?P<bare>_{0,2}[A-Za-z]+(?:_[A-Za-z]+)+_{0,2})(?![\w(=/-]|\.\w)\}{0,3}"
)
_NEARLY = 0.85  # modle_name 0.89, model_nam 0.94; module_name 0.84, operator_name 0.78, user_name 0.59


@lru_cache(maxsize=32)
def near_placeholders(text: str) -> Mapping[str, str]:
    """Return what in a text is nearly a known placeholder, by its spelling: which of the two it was meant to be."""
    filled = [match.span() for match in FILLED.finditer(text)]
    found: dict[str, str] = {}
    for match in _LIKE_ONE.finditer(text):
        if any(start < match.end() and match.start() < end for start, end in filled):
            continue
        known = _MEANT_IN_BRACES if (match["mark"] or "").startswith("{") else _MEANT
        word = re.sub("[^a-z]", "", (match["closed"] or match["open"] or match["bare"]).lower())
        word = word.removeprefix("your").removeprefix("the")
        if near := get_close_matches(word, known, n=1, cutoff=_NEARLY):
            found.setdefault(match[0].strip(), known[near[0]])
    return found


def _closed_tags(text: str) -> frozenset[str]:
    return frozenset(tag.lower() for tag in re.findall(r"</([A-Za-z][\w -]*)>", text))


def has_other_spellings(text: str) -> bool:
    """Return whether a text has known placeholders in other spellings than `{model_name}` and `{provider_name}`."""
    return any(
        spelling.strip("{}") not in KNOWN or "{{" in spelling for _, spelling in _known(text, _closed_tags(text))
    )


def placeholders(spec: Spec) -> tuple[str, ...]:
    """Return the names of placeholders, in order of appearance, each once: the two known ones, then others in braces.

    The known ones count in every spelling (`{model_name}`, `[MODEL_NAME]`, `{{ provider }}`), in code in braces only;
    other names only in single braces and outside code, where braces are ordinary.
    """
    found = dict.fromkeys(name for name, _ in _known(spec.text, _closed_tags(spec.text)))
    for match in _ANY.finditer(_prose(spec)):
        if not FILLED.fullmatch(match[0]):
            found[match[1]] = None
    return tuple(found)


def _prose(spec: Spec) -> str:
    """Return the titles and clauses of a spec, code left out."""
    prose = " ".join(clause.text for clause in spec.clauses if clause.kind != "code")
    titles = " ".join(section.title for section in spec.sections)
    return CODE_SPAN.sub(" ", f"{titles} {prose}")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _check_name(name: str, option: str) -> None:
    """Raise where a name would stand in every text as none: blank, over two lines, or its own placeholder."""
    own = option.strip("-").replace("-", "_")
    if not name.strip() or _CONTROL.search(name) or any(known == own for known, _ in _known(name)):
        what = f"{name!r} is no name: it is blank, holds a line end, or is its own placeholder"
        raise SpecError(what, where=option, hint="Give another")


def fill(
    spec: Spec,
    *,
    model_name: str | None,
    provider_name: str | None,
    called: Mapping[str, str] | None = None,
    leave_out: Sequence[str] = (),
) -> Spec:
    """Put an assistant's names into a spec; ids and `sha256` stay those of the text as written.

    A spec that was filled before comes back as it is.

    Args:
        spec: as it was read.
        model_name: for every spelling of the model's placeholder.
        provider_name: for every spelling of its maker's.
        called: names that the spec uses, with those that stand for them, as whole words (`Claude's` is `Ada's`).
        leave_out: titles of sections, ids of clauses, or beginnings of clauses, that are no part of it.

    Raises:
        SpecError: a placeholder has no value, or one that is no name; a name of `called`, or what is to be left out,
            is not in the spec; or the model's name fills nothing, and the spec has nearly its placeholder or calls its
            assistant by another.
    """
    values = {"model_name": model_name or "", "provider_name": provider_name or ""}
    for option, value in (("--model-name", model_name), ("--provider-name", provider_name)):
        _check_name(value or option, option)
    if spec.is_filled:
        return spec
    put = spec_without(spec, leave_out) if leave_out else spec
    named = _renamed(put, called, values) if called else put
    closed, present = _closed_tags(named.text), _present(named)
    if unfilled := [name for name in KNOWN if name in present and not values[name]]:
        used, given = " and ".join(present[name] for name in unfilled), "it" if len(unfilled) == 1 else "them"
        hint = f"Give {' and '.join('--' + name.replace('_', '-') for name in unfilled)}"
        raise SpecError(f"the spec uses {used} and no value is given for {given}", hint=hint)
    if model_name and "model_name" not in present:
        _check_used(named, model_name)
    if not present:
        return named.model_copy(update={"is_filled": True}) if called or leave_out else named

    def value_of(match: re.Match[str]) -> str:
        if match["placeholder"] is None:
            return _IN_CODE.sub(lambda inner: values[_name_of(inner[0])], match[0])
        is_tag = match[0].startswith("<") and match[0].strip("</>").lower() in closed
        return match[0] if is_tag else values[_name_of(match[0])]

    def in_code(text: str) -> str:
        return _IN_CODE.sub(lambda inner: values[_name_of(inner[0])], text)

    return _changed(named, lambda text: FILLED.sub(value_of, text), in_code)


class SpecSettings(Protocol):
    """Settings that say how a spec is filled."""

    @property
    def model_name(self) -> str | None:
        """The assistant's name."""
        ...

    @property
    def provider_name(self) -> str | None:
        """Its maker's name."""
        ...

    @property
    def called(self) -> Mapping[str, str]:
        """Names of the spec, with those that stand for them."""
        ...

    @property
    def leave_out(self) -> Sequence[str]:
        """What of the spec is no part of it."""
        ...


def fill_by(spec: Spec, settings: SpecSettings) -> Spec:
    """Fill a spec (`fill`) as settings say.

    Raises:
        SpecError: see `fill`.
    """
    return fill(
        spec,
        model_name=settings.model_name,
        provider_name=settings.provider_name,
        called=settings.called,
        leave_out=settings.leave_out,
    )


def _present(spec: Spec) -> dict[str, str]:
    """Return the known placeholders of a spec as names, each with its first spelling."""
    closed, found = _closed_tags(spec.text), dict[str, str]()
    for text in (spec.text, spec.title, *(clause.text for clause in spec.clauses if clause.kind == "example")):
        for name, spelling in _known(text, closed):
            found.setdefault(name, spelling)
    return found


def _changed(spec: Spec, put: Callable[[str], str], put_code: Callable[[str], str]) -> Spec:
    """Return a spec with every text changed by `put`, code by `put_code`."""
    sections = tuple(
        section.model_copy(
            update={
                "title": put(section.title),
                "path": tuple(put(title) for title in section.path),
                "text": put(section.text),
                "clauses": tuple(
                    clause.model_copy(update={"text": (put_code if clause.kind == "code" else put)(clause.text)})
                    for clause in section.clauses
                ),
            }
        )
        for section in spec.sections
    )
    update = {"title": put(spec.title), "text": put(spec.text), "sections": sections, "is_filled": True}
    return spec.model_copy(update=update)


# Names -------------------------------------------------------------------------------------------------------------
_SELDOM_FOREIGN = 2


def _check_used(spec: Spec, model_name: str) -> None:
    """Refuse a model's name that fills nothing, where the spec calls its assistant otherwise."""
    text = "\n".join((spec.title, spec.text, *(clause.text for clause in spec.clauses)))
    if whole_words([model_name]).search(text):
        return
    near = (spelling for spelling, meant in near_placeholders(_prose(spec)).items() if meant == "model_name")
    if (spelling := next(near, None)) is not None:
        what = f"{model_name} fills nothing: the spec has {spelling}, which is no placeholder"
        raise SpecError(what, where=spec.title, hint="Did you mean {model_name}? Correct it in the spec")
    if (own := own_name(spec, _SELDOM_FOREIGN)) is not None:
        times = "once" if own.n_times == 1 else f"{own.n_times} times"
        what = f'{model_name} fills nothing: the spec calls its assistant "{own.name}" ({times})'
        hint = f'Give --called "{own.name}={model_name}", or leave --model-name out'
        raise SpecError(what, where=spec.title, hint=hint)


def _renamed(spec: Spec, called: Mapping[str, str], values: Mapping[str, str]) -> Spec:
    """Put names in the place of others; one that is not there is an error, unless its new name already is."""
    names: dict[str, str] = {}
    for old, new in called.items():
        names[old] = new
        if old.lower().startswith("the "):
            names[f"The {old[4:]}"] = names[f"the {old[4:]}"] = new
        elif old != old.upper() and len(old) > 3:
            names.setdefault(old.upper(), new.upper())
    everything = "\n".join((spec.title, spec.text, *(clause.text for clause in spec.clauses)))
    filled = {values[name] for name in _present(spec)}
    for old, new in called.items():
        if not (whole_words([old]).search(everything) or new in filled or whole_words([new]).search(everything)):
            used = [name.name for name in used_names(spec)]
            hint = did_you_mean(old, used)
            if not hint.startswith("Did"):
                said = [f'"{name}"' for name in used] + [f"the placeholder {each}" for each in _present(spec).values()]
                hint = f"It says {', '.join(said)}" if said else "It names nobody, and has no placeholder: leave it out"
            raise SpecError(f"{old!r} is not in the spec", where="called", hint=hint)
    pattern = whole_words(names, ignore_case=False)

    def rename(text: str) -> str:
        return pattern.sub(lambda match: names[" ".join(match[0].split())], text)

    return _changed(spec, rename, rename).model_copy(update={"is_filled": False})


def whole_text(sections: Sequence[Section]) -> str:
    """Return the text of a spec from those of its sections, and the headings over them that no section is of."""
    texts: list[str] = []
    for one, over in zip(sections, titles_over(sections), strict=True):
        texts += [f"{'#' * level} {title}" for level, title in over]
        texts.append(f"{'#' * one.level} {one.title}\n\n{one.text}" if one.level else one.text)
    return "\n\n".join(text.strip("\n") for text in texts) + "\n"


def titles_over(sections: Sequence[Section]) -> list[list[tuple[int, str]]]:
    """Return for each section the headings over it that no section is of, each with its level, where they change."""
    found: list[list[tuple[int, str]]] = []
    seen, above = {section.title for section in sections if section.level}, tuple[str, ...]()
    for section in sections:
        parents = section.path[:-1]
        over = [(level, title) for level, title in enumerate(parents, 1) if title not in seen]
        found.append([] if parents == above[: len(parents)] else over)
        above = section.path
    return found


def _bare(words: str) -> str:
    return " ".join(words.casefold().strip("*_#\"'“”‘’ \n").split())


def spec_without(spec: Spec, leave_out: Sequence[str]) -> Spec:
    """Return a spec without the sections (with those under them) and clauses that are named.

    Raises:
        SpecError: one of the names is neither a title, an id nor the beginning of a clause.
    """
    wanted = {_bare(name): name for name in leave_out if name.strip()}
    used: set[str] = set()
    sections: list[Section] = []
    below: int | None = None
    for section in spec.sections:
        if below is not None and section.level > below:
            continue
        title = _bare(section.title)
        name = next((name for name in wanted if name in (title, section.id)), None)
        below = section.level if name is not None else None
        if name is not None:
            used.add(name)
            continue
        kept = []
        for clause in section.clauses:
            words = _bare(clause.text)
            name = next(
                (name for name in wanted if name == clause.id or (len(name) > 3 and words.startswith(name))), None
            )
            used |= {name} if name is not None else set()
            kept += [clause] if name is None else []
        if len(kept) < len(section.clauses):
            text = "\n\n".join(clause.text for clause in kept)
            section = section.model_copy(update={"clauses": tuple(kept), "text": text})
        sections.append(section)
    if missing := [name for key, name in wanted.items() if key not in used]:
        titles = [section.title for section in spec.sections if section.title]
        hint = (
            did_you_mean(missing[0], titles) if titles else "It has no headings: name a clause by its id or beginning"
        )
        raise SpecError(f"{missing[0]!r} is not in the spec", where="leave_out", hint=hint)
    if not any(section.clauses for section in sections):
        raise SpecError("leaves nothing of the spec", where="leave_out", hint="Leave out less")
    return spec.model_copy(update={"sections": tuple(sections), "text": whole_text(sections)})
