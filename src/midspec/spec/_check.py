"""What the author of a spec may want to look at again, which stops no run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from midspec.core.assistant_names import assistant_names
from midspec.core.records import Clause, Section, Spec, Strict
from midspec.core.text import MISREAD, whole_words
from midspec.spec._names import CODE_SPAN, FILLED, KNOWN, near_placeholders, placeholders
from midspec.spec._used_names import UsedName, own_name, used_names

_OTHER = re.compile(
    r"\[(?:assistant|developer)\](?![(\[:])|<(?:assistant|developer)>|\{\{[ \t]*[.$]?[A-Za-z_][\w. ]{0,40}\}\}"
    r"|\[[A-Z][A-Z]+(?:[ _][A-Z]+)*\](?![(\[:])|<[A-Z][A-Z]+(?:[ _][A-Z]+)*>|(?<![\w$])\$\{?[A-Z][A-Z]+_[A-Z_]+\}?"
    # What a template asks its reader for: `[what it is good at]`, `[your city]`, `[formal/warm/…]`.
    r"|\[(?i:what|how|your|insert|describe|list of|name of|the name of|fill in|enter|choose|specify|e\.g\."
    r"|ihr|dein|name der|name des|votre|ton|nom de|tu|su|nombre de|ваше?|твоё|название|имя) [^\[\]\n]{1,80}\](?![(\[:])"
    r"|\[(?:你的|您的|填写|填寫|输入|輸入|请|描述|在此|あなたの|ここに|당신의|여기에)[^\[\]\n]{0,60}\](?![(\[:])"
    r"|\[[^\[\]\n/、|]{1,24}[/、|](?:[^\[\]\n/、|]{1,24}[/、|])*(?:[^\[\]\n/、|]{1,24}[/、|][^\[\]\n/、|]{1,24}|…|\.\.\.)\](?![(\[:])"
)
# A licence is named by rules too (`Ada quotes what is in the public domain`): what counts is one of the text itself.
_LICENCES = r"(?:creative commons|CC0|CC[ -]BY|apache licen[cs]e|MIT licen[cs]e|public domain)"
_LICENCE = re.compile(
    r"\ball rights reserved\b|(?:©|\(c\)|copyright) ?(?:©|\(c\))? ?(?:19|20)\d\d"
    rf"|\A[\W_]*(?:CC0|CC[ -]BY|(?:the )?(?:creative commons|apache licen[cs]e|MIT licen[cs]e))"
    r"(?:[ -]+(?:licen[cs]e|attribution|share-?alike|zero|international|universal|[A-Z]{2}|v?\d[\d.]*))*\W*\Z"
    rf"|\A[\W_]*(?:licen[cs]ed|released|published|distributed|available|dedicated|provided)\b[^\n]{{0,100}}?\b{_LICENCES}\b",
    re.IGNORECASE,
)
_NAMES_LICENCE = re.compile(rf"\b{_LICENCES}\b", re.IGNORECASE)
_OF_THE_TEXT = re.compile(
    r"\b(?:(?:this|our) (?:[\w-]+ ){0,2}(?:document|text|work|page|content|contents|file|repository|project|guide|site)"
    r"|(?:this|our|the|\w+['’]s) (?:[\w-]+ ){0,2}(?:constitution|spec|specification|charter|model spec|guidelines))\b",
    re.IGNORECASE,
)
_NO_PLACEHOLDER = frozenset(("[REDACTED]", "[SIC]", "[TODO]", "[NOTE]", "[OMITTED]"))
_MISREAD_WORD = re.compile(rf"\S{{0,20}}(?:{MISREAD.pattern})\S{{0,20}}")
_MAX_SHOWN, _MAX_NO_RULE = 80, 160
_OFTEN = 3
"""A known name that a spec says so often is taken for its own assistant's or maker's."""


_AT_PLACE = r"(?<!\bon )(?<!\bvia )(?<!\bacross )(?<!\busing )(?<!\blike )(?<!\binto )(?<!\bopen )"
_NO_PRODUCT = (
    r"(?! (?:pages?|groups?|posts?|profiles?|accounts?|apps?|ads?|results|search|Messenger|Marketplace|Search|Maps|Docs"
    r"|Drive|Sheets|Slides|Calendar|Chrome|Cloud|Translate|Scholar|Workspace|Play|Photos|Teams|Word|Office|Excel|Edge"
    r"|Windows|Azure|Outlook)\b)"
)


class Finding(Strict):
    """One warning: where in the spec, and what was seen there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def check_spec(spec: Spec, *, model_name: str | None = None) -> tuple[Finding, ...]:
    """Find unknown placeholders, empty sections, duplicate clauses, other assistants' names, and what is no clause.

    Args:
        spec: the spec, filled or not.
        model_name: the assistant's own name, which is no other assistant's.
    """
    found = (*_unknown_placeholders(spec), *_empty_sections(spec), *_repeated_clauses(spec), *_misread(spec))
    own = _own_names(spec, model_name)
    named = _other_assistants(spec, {name.name for name in own}, model_name)
    return _findings((*found, *_calls(spec, own), *named, *_no_clauses(spec)))


def unfilled(spec: Spec) -> tuple[Finding, ...]:
    """Find what looks like a placeholder and is none that is filled: it would stand in every document and chat."""
    return _findings(_unknown_placeholders(spec))


def _findings(found: Iterable[tuple[Section, str]]) -> tuple[Finding, ...]:
    return tuple(
        Finding(where=" > ".join(title for title in section.path if title) or "the spec", what=what)
        for section, what in found
    )


def _unknown_placeholders(spec: Spec) -> Iterator[tuple[Section, str]]:
    seen = set(_NO_PLACEHOLDER)
    for section, prose in _prose(spec):
        for spelling, meant in near_placeholders(prose).items():
            if spelling not in seen:
                seen.add(spelling)
                yield section, f"unknown placeholder {spelling}, which nothing fills: did you mean {{{meant}}}?"
    for name in placeholders(spec):
        if name not in KNOWN and not any(f"{{{name}}}" in spelling for spelling in seen):
            holding = (s for s in spec.sections if f"{{{name}}}" in s.text or f"{{{name}}}" in s.title)
            what = f"unknown placeholder {{{name}}}: only {{model_name}} and {{provider_name}} are filled"
            yield next(holding, spec.sections[0]), what
    for section, prose in _prose(spec):
        for spelling in _OTHER.findall(prose):
            if spelling not in seen and not FILLED.fullmatch(spelling):
                seen.add(spelling)
                yield section, f"looks like a placeholder that nothing fills: {spelling}"


def _prose(spec: Spec) -> Iterator[tuple[Section, str]]:
    """Yield each section with its title and text, code left out."""
    for section in spec.sections:
        prose = " ".join(clause.text for clause in section.clauses if clause.kind in ("sentence", "item", "row"))
        yield section, CODE_SPAN.sub(" ", f"{section.title} {prose}")


def _empty_sections(spec: Spec) -> Iterator[tuple[Section, str]]:
    for section, after in zip(spec.sections, (*spec.sections[1:], None), strict=True):
        has_children = after is not None and after.level > section.level
        if not section.clauses and not has_children:
            yield section, "empty section: a heading with nothing under it"


def _misread(spec: Spec) -> Iterator[tuple[Section, str]]:
    seen = [(section, match[0]) for section in spec.sections for match in _MISREAD_WORD.finditer(section.text)]
    if seen:
        more = f" (and {len(seen) - 1} more)" if len(seen) > 1 else ""
        yield seen[0][0], f"looks wrongly decoded, which every text made of it would be: {seen[0][1]}{more}"


def _repeated_clauses(spec: Spec) -> Iterator[tuple[Section, str]]:
    times = Counter(_normalised(clause) for clause in spec.clauses)
    for section in spec.sections:
        for clause in section.clauses:
            # Reported once, where it stands first.
            if (n := times.pop(_normalised(clause), 1)) > 1:
                yield section, f"said {n} times: {_shown(clause.text)}"


def _own_names(spec: Spec, model_name: str | None) -> tuple[UsedName, ...]:
    """Return what a spec seems to call its own assistant and maker: what it says often, and has no placeholder for."""
    has = placeholders(spec)
    makers = (
        name
        for name in sorted(used_names(spec), key=lambda name: not name.is_introduced)
        if name.kind == "maker" and (name.is_introduced or name.n_times >= _OFTEN <= _n_as_maker(spec, name))
    )
    own = [own_name(spec, _OFTEN)] if "model_name" not in has else []
    own += [next(makers, None)] if "provider_name" not in has else []
    return tuple(name for name in own if name is not None and not (model_name and _is_in(name.name, model_name)))


def _n_as_maker(spec: Spec, name: UsedName) -> int:
    """Count how often a maker's name stands for more than its products (`on Facebook`, `Google Docs`)."""
    pattern = re.compile(rf"{_AT_PLACE}{whole_words([name.name], ignore_case=False).pattern}{_NO_PRODUCT}")
    return sum(len(pattern.findall(clause.text)) for clause in spec.clauses)


def _calls(spec: Spec, own: tuple[UsedName, ...]) -> Iterator[tuple[Section, str]]:
    for name in own:
        pattern = whole_words([name.name], ignore_case=name.kind == "words")
        first = next((s for s in spec.sections if pattern.search(f"{s.title}\n{s.text}")), spec.sections[0])
        whom = "maker" if name.kind == "maker" else "assistant"
        times = "once" if name.n_times == 1 else f"{name.n_times} times"
        what = f"calls its {whom} {name.name} ({times}): --called {_quoted(name.name)}=NAME gives another"
        yield first, what


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _other_assistants(spec: Spec, own: set[str], model_name: str | None) -> Iterator[tuple[Section, str]]:
    pattern = whole_words((known.name for known in assistant_names("spec")), ignore_case=False, joined=False)
    for section in spec.sections:
        for name in dict.fromkeys(pattern.findall(f"{section.title}\n{section.text}")):
            if name not in own and not (model_name and _is_in(name, model_name)):
                yield section, f"names another assistant: {name}"


def _is_in(name: str, model_name: str) -> bool:
    return whole_words([name]).search(model_name) is not None


_NO_RULE_TITLES = re.compile(
    r"[\W\d_]*(?:licen[cs]e|licensing|copyright|acknowledge?ments?(?: and .*)?|credits|authors|contributors"
    r"|references|bibliography|citation|citing|further reading|table of contents|contents|change ?log|release notes"
    r"|(?:version|revision|change|document|update) (?:history|record|log|control)s?|revisions|versions|contact"
    r"|about this (?:document|file|page)|lizenz|danksagung|quellen|literatur|änderungen|versionsverlauf"
    r"|remerciements|sources|bibliographie|historique(?: des versions)?|licencia|agradecimientos|fuentes|bibliografía"
    r"|historial(?: de versiones)?|лицензия|благодарности|источники|история (?:версий|изменений)"
    r"|许可|许可证|致谢|参考文献|版本记录|版本历史|更新日志|更新记录|ライセンス|謝辞|参考文献|更新履歴|変更履歴"
    r"|라이선스|감사의 글|참고 ?문헌|변경 ?이력|버전 ?기록)\W*",
    re.IGNORECASE,
)
_KEYS = (
    r"sources?|source url|original url|last (?:updated|modified|revised|reviewed)|updated|version|copyright"
    r"|licen[cs]e|authors?|maintainers?|date|created|published|fetched|retrieved|accessed|url|permalink"
    r"|quelle|stand|autor(?:en|es)?|fassung|auteurs?|date de publication|fuente|fecha|versión|источник|автор|дата"
    r"|версия|来源|來源|出处|作者|版本|日期|更新时间|更新日期|获取日期|出典|著者|更新日|バージョン|출처|저자|버전|날짜"
)
_NO_RULE = re.compile(
    rf"[\W_]*(?:(?:{_KEYS})[*_]{{0,3}}[ \t]*[:：]"
    r"|last (?:updated|modified|revised|reviewed)\b|version[ \t]+v?\d[\d.]*(?![\w.]|[ \t]+[a-z])"
    r"|copyright[ \t]*(?:©|\(c\)|(?:19|20)\d\d|by\b)|licen[cs]ed? under\b"
    r"|(?:retrieved|fetched|accessed) (?:from|on|at)\b"
    r"|(?:published|created|written) (?:on|in|at|by) [^\n]{0,60}?(?:19|20)\d\d"
    r"|this (?:document|text|work|spec) is (?:licen[cs]ed|released|published)\b)",
    re.IGNORECASE,
)
_VALUE = re.compile(r"https?://|\bwww\.|\d")  # of an item: `- Source: always name it` is a rule
_BESIDE_SOURCES = re.compile(
    r"[\W_]*(?:purpose|notes?|status|format|description|title)[*_]{0,3}[ \t]*[:：]", re.IGNORECASE
)
_VERSION_ROW = re.compile(
    r"[*_]*(?:version|revision|rev\.?|v|版本|バージョン|버전|версия|versión)[*_]*: [^;\n]{0,60}; "
    r"[*_]*(?:date|author|updated?|changes?|released?|日期|日付|날짜|дата|fecha|datum)\b",
    re.IGNORECASE,
)


def _no_clauses(spec: Spec) -> Iterator[tuple[Section, str]]:
    """Find sections and lines that look like no rule: licences, thanks, sources."""
    for section in spec.sections:
        if section.level and section.clauses and _NO_RULE_TITLES.fullmatch(section.title):
            yield section, f"looks like no rule: --leave-out {_quoted(section.title.strip('*_ '))} leaves it out"
            continue
        was_none = False
        for clause in section.clauses:
            is_beside = was_none and clause.kind != "row" and _BESIDE_SOURCES.match(clause.text) is not None
            was_none = is_beside or _is_no_rule(clause)
            if was_none:
                yield section, f"looks like no rule: --leave-out {clause.id} leaves it out: {_shown(clause.text)}"


def _is_no_rule(clause: Clause) -> bool:
    text = clause.text
    if clause.kind == "row":
        return _VERSION_ROW.match(text) is not None
    if clause.kind == "sentence" and _LICENCE.search(text):
        return True
    if clause.kind == "sentence" and _NAMES_LICENCE.search(text) and _OF_THE_TEXT.search(text):
        return True
    is_line = len(text) < _MAX_NO_RULE and _NO_RULE.match(text) is not None
    return is_line and (clause.kind == "sentence" or (clause.kind == "item" and _VALUE.search(text) is not None))


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_SHOWN else line[: _MAX_SHOWN - 3] + "..."


def _normalised(clause: Clause) -> str:
    return " ".join(clause.text.casefold().split())
