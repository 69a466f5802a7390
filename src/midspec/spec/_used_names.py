"""Names that a spec uses for its assistant and for the maker: those it introduces, known ones, and those that act."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator
from typing import NamedTuple

from midspec.core.assistant_names import all_assistant_names
from midspec.core.records import Spec
from midspec.core.text import whole_words, word_set

_GENERIC = ("the assistant", "the AI assistant", "the model", "the AI", "the chatbot")
_MAX_CHARS = 1000  # of a clause in which a name is looked for
_N_FIRST = 20  # A spec says whom it speaks to in its first clauses; later `You are Kai` may be a line of a story.


# `the White House says`: what has an article is no assistant's name.
_SUBJECT = re.compile(
    r"(?P<article>\b(?:[Tt]he|[Aa]n?|[Tt]his|[Tt]hat) (?:[A-Z][\w-]*+ ){0,2})?"
    r"(?:(?<![\w-])(?P<first>[A-Z][a-z][\w-]*+) )?(?<![\w-])(?=[A-Z][\w-]*[a-z])(?P<name>[A-Z][\w-]*+)"
    r"(?=['’]s\b| (?:is|does|will|can|should|must|may|never|always|would|has|asks|says)\b)"
)
# A place has soil and is far; somebody who acts does, asks or should.
_AGENT = re.compile(r"(?: (?:does|will|can|should|must|may|never|always|would|asks|says)\b)")
# Of two words, of which one says that they name a place or an office.
_PLACES = word_set(
    "house street city york kingdom states union court office ministry department council commission agency bank "
    "university hospital hotel school church party club nations new san los saint st north south east west united"
)
_BEGINS = r"(?:\A|[.!?]\s|\n)"
_TELLS_READER = re.compile(rf"{_BEGINS}(?:You|Your)\b")
_NO_NAMES = word_set(
    "a all an another any anybody anyone anything as at both but each either every everybody everyone everything few "
    "he her here his how however i if in it its let many maybe most neither never no nobody none nor not nothing now "
    "often one or other others otherwise our perhaps please she so some somebody someone something sometimes somewhere "
    "such that the their then there therefore these they this those thus to today together tomorrow tonight trust we "
    "what whatever when whenever where wherever whether which whichever who whoever why yes yesterday yet you your "
    "user users developer developers operator operators guest guests customer customers client clients people person "
    "human humans man woman child world life nature mom dad god honesty care example examples reply replies response "
    "responses model models assistant assistants agent agents chatbot chatbots bot bots ai ais llm llms step rule "
    "rules section part chapter article note after also although because before even only once since still though "
    "unless until while ensure make remember dear expect keep tell ask assume imagine suppose say verify check confirm"
)
# What somebody is made by or from, and no maker; what a form asks for, and no name.
_NO_MAKERS = word_set(
    "design day night nature kindness patience honesty wisdom love heart course choice default law legal necessity "
    "need request experts volunteers students teachers scientists engineers developers researchers monday tuesday "
    "wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december hand scratch god mankind humanity reason"
)
_NO_VALUES = word_set(
    "required optional first last full middle enter string text none unknown unnamed given tbd todo anonymous any "
    "choose varies mandatory pick insert surname customer guest title default example preferred empty public private"
)
# Whom an assistant serves is not the assistant: `agents working with Kim`, `Kim's agents`, `the user is Kim`.
_OF_USERS = re.compile(
    r"\b(?:(?:[Aa]gents?|[Aa]ssistants?|AIs?|[Bb]ots?|[Mm]odels?|[Yy]ou)(?: (?i:who|that|which|will|to|are|is|work"
    r"|works|working|act|acts|acting|here))* (?i:with|for|help|helps|helping|assist|assists|assisting|serve|serves"
    r"|alongside|on behalf of(?: or \w+)?)"
    r"|(?:[Uu]ser|[Oo]wner|[Bb]oss|[Hh]uman)(?:['’]s name)?(?: is(?: called)?| named|,)?)"
    r" (?P<one>[A-Z][\w-]*)"
    r"|(?<![\w-])(?P<other>[A-Z][\w-]*+)['’]s (?:own |personal )?(?:AI |AIs?\b|agents?\b|assistants?\b)"
)
# What a reader may be told to be, in capitals: `You are Kind.` names nobody, nor does `You are Senior Editor.`
_QUALITIES = word_set(
    "able active adult agile alert alive alone also aware balanced brave bright brief calm candid capable clear clever "
    "concise confident consistent cool creative critical decent diligent direct discreet eager efficient empathetic "
    "empathic expert fair firm formal free friendly generous gentle good great happy helpful here honest human humble "
    "inclusive independent informal intelligent just kind knowledgeable likely loyal mindful modest neutral nice "
    "objective only open polite positive precise private professional proactive prompt proud quick quiet ready "
    "reliable respectful responsible responsive right safe secure senior sensitive serious sharp sincere smart "
    "strict strong supportive talking tactful thorough thoughtful tolerant transparent truthful trustworthy unbiased "
    "american british english french german european chinese japanese korean russian spanish canadian glad sorry in "
    "virtual warm welcome wise witty world-class wrong personal digital customer chief lead junior "
    "freundlich ehrlich hier nett gentil honnête utile ici amable honesto útil aquí "
    "добрый честный добр честен здесь assistenten"
)
_ROLES = re.compile(
    r"(?:\w*(?:assistent|assistant|asistent|ассистент|помощник|berater|begleiter|helfer|lehrer|expert)\w{0,4}"
    r"|\w*(?:engineer|developer|programmer|writer|editor|coder|coach|teacher|tutor|manager|advis[eo]r|analyst"
    r"|consultant|specialist|doctor|nurse|lawyer|therapist|scientist|researcher|translator|reviewer|companion|modell?|partner|team|staff"
    r"|ratgeber|mitglied|teil|kundin|kunde|freund(?:in)?|chef(?:in)?|profi|mensch|programm|system|werkzeug"
    r"|usuario|utilisateur|nutzer|modelo|modèle|профессионал|эксперт|консультант|модель)"
    r"|ии|ki|ia|cto|ceo)",
    re.IGNORECASE,
)
_BARE_ROLES = re.compile(r"(?:ai|agent|bot|chatbot|\w*(?:ful|ous|less|able|ible|ing))", re.IGNORECASE)
_OPEN, _CLOSE = r"[*_\"“«„‚‘'`]{0,4}", r"[*_\"”“»’‘'`]{0,4}"
_NAME = r"(?P<name>(?!\d|_)\w[\w-]*+(?:\.\d+)*(?: (?=[A-Z0-9])[\w-]++(?:\.\d+)*){0,2})"
_AFTER = (
    rf"{_CLOSE}(?=\s*(?:[,.;:!(—–]|-[ \t]|$)|\s+(?:and|from|by|of|at|who|made|built|created|developed|trained"
    r"|und|von|aus|et|de|du|par|y|por|и|из|от)\b)"
)
_TO_YOU = (
    r"You are|You['’]re|Your name is|You are called|You will be called|Du bist|Du hei(?:ß|ss)t|Dein Name ist|Sie sind"
    r"|Sie hei(?:ß|ss)en|Ihr Name ist|Tu es|Vous êtes|Tu t['’]appelles|Vous vous appelez|Ton nom est|Votre nom est"
    r"|Eres|Tú eres|Usted es|Te llamas|Usted se llama|Tu nombre es|Su nombre es|Tu sei|Ti chiami|Il tuo nome è"
    r"|Você é|Tu és|O seu nome é|Seu nome é|Jij bent|Je bent"
    r"|(?:Ты|Вы)\s*[—–-]|(?:Тебя|Вас) зовут|(?:Твоё|Ваше) имя\s*[—–-]"
)
_OF_ME = (
    r"I am|I['’]m|My name is|I am called|Ich bin|Ich hei(?:ß|ss)e|Mein Name ist|Je suis|Je m['’]appelle|Mon nom est"
    r"|Soy|Yo soy|Me llamo|Mi nombre es|Io sono|Mi chiamo|Eu sou|Meu nome é|Ik ben|Я\s*[—–-]|Меня зовут|Моё имя\s*[—–-]"
)
_SAID = r"(?:an?|the|my|our|your)\b[^.!?\n]{1,120}? (?:named|called)|called|named"
_TITLE = r"(?:(?:Dr|Mr|Mrs|Ms|Prof|Sra?|Mme|Herr|Frau)\.? )?"
# In German every noun has a capital: `Du bist Teil von Acme` names nobody.
_NO_NOUN = r"(?!(?<=bist )\w+ (?:von|und|aus)\b)(?!(?<=sind )\w+ (?:von|und|aus)\b)(?!(?<=bin )\w+ (?:von|und|aus)\b)"
_FIELD = r"(?:(?:Assistant|Agent|Bot|AI)(?:['’]s)? )?(?:[Nn]ame|Nombre|Nom|Nome|Имя)[*_]{0,3}:[*_]{0,3}"
_INTRODUCED = [
    re.compile(rf"[\s*_\"“>]*(?:{whom})(?: (?:{_SAID}))?\s+{_NO_NOUN}{_OPEN}{_TITLE}{_NAME}{_AFTER}")
    for whom in (f"{_TO_YOU}|(?P<field>{_FIELD})", _OF_ME)
]
_MAKER = r"(?P<maker>[A-Z][\w-]*+(?: [A-Z][\w-]*+){0,2})"
_MADE = r"(?:made|built|created|developed|trained|designed|run|operated|deployed|maintained)"
_INTRODUCED_MAKER = re.compile(
    rf"\b(?:an? |the )?(?:[\w-]{{1,40}} ){{0,3}}(?:assistant|chatbot|model|AI|bot|agent) (?:from|by|of) {_MAKER}"
    rf"|\b{_MADE}(?:,? (?:and|or) (?:is |was )?{_MADE})* by {_MAKER.replace('maker', 'by')}"
)
_OF_ITSELF = re.compile(
    r"\W*(?:You are|You['’]re|You were|I am|I['’]m|I was|The assistant (?:is|was)|This assistant)\b"
)
# Scripts without capitals: what may stand for a name is short, and nothing of it is a word for an assistant.
_HAN, _KATAKANA, _HANGUL = "\u4e00-\u9fff", "ァ-ヺー・", "가-힣"
_WIDE = [
    re.compile(
        rf"\s*(?:{you}的名字(?:是|叫)|{you}(?:是|叫做?|名叫)|你的名字(?:是|叫))[*“「\"]*"
        rf"(?P<name>[{_HAN}]{{1,4}}|[A-Za-z][\w-]*+)[*”」\"]*(?=\s*(?:[，。、,.；;！（(]|——|$))"
        rf"|\s*{watashi}の名前は[*「『“\"]*(?P<called>[\wー・]{{1,12}}?)[*」』”\"]*(?=です|だ|である|という|。|、|$)"
        rf"|\s*{watashi}は、?[*「『“\"]*(?P<katakana>[{_KATAKANA}]{{2,12}}|[A-Za-z][\w-]*?)[*」』”\"]*"
        r"(?=です(?!か)|である|だ(?:[。、]|$)|という|と申します|と言います|といいます|、)"
        rf"|\s*(?:{na}|{ne} 이름은)\s*[*“\"'‘]*(?P<korean>[{_HANGUL}]{{1,6}}?|[A-Za-z][\w-]*?)[*”\"'’]*"
        r"(?=입니다|이다|이에요|예요|이야|야[.\s]|이라고|라고|,)"
    )
    for you, watashi, na, ne in (
        ("(?:你|您)", "(?:あなた|君|きみ)", "(?:당신은|너는|넌|귀하는)", "(?:당신의|너의|네)"),
        ("我", "(?:私|わたし|僕|ぼく)", "(?:나는|난|저는|전)", "(?:나의|내|저의|제)"),
    )
]
_NO_WIDE = re.compile(
    r"^(?:一|个|個|位|名|谁|誰|在|为|為|不|没|什么|这|那|用户|我|你|他|人)|[的了着们是]|助手|助理|模型|专家|專家|老师|老師|顾问|顧問|智能"
    r"|机器人|機器人|教练|客服|翻译|作家|医生|律师|导师|工程师|管家|友好|诚实|善良|[人者员員师師家]$"
    r"|アシスタント|ボット|モデル|エージェント|ガイド|パートナー|エンジニア|プロ|ユーザー|専門家|秘書|フレンドリー"
    r"|어시스턴트|도우미|비서|인공지능|모델|챗봇|전문가|사용자|친구|상담|선생|에이전트|로봇|봇$|사람|누구|최고|완벽|자유|학생|직원|작가|교사|의사|변호사|번역가"
)


class UsedName(NamedTuple):
    """A name that a spec uses for an assistant or a maker, and how often.

    With `is_introduced` the spec says at its begin that its assistant is called so (`You are Maya, ...`).
    """

    name: str
    kind: str
    n_times: int
    is_introduced: bool = False


def used_names(spec: Spec) -> tuple[UsedName, ...]:
    """Find what a spec calls its assistant and maker, most first: known names, names that act, `the assistant`."""
    # A paragraph without a heading has its own first words for a title.
    titles = dict.fromkeys((spec.title, *(section.title for section in spec.sections if section.level)))
    text = "\n".join((*titles, *(clause.text for clause in spec.clauses)))
    known = {name.name: name.kind for name in all_assistant_names()}
    counted = Counter(whole_words(known, ignore_case=False, joined=False).findall(text))
    introduced = introduced_name(spec)
    if not introduced and (acting := _acting_name(text, known, max(3, 0.02 * len(spec.clauses)))):
        counted[acting] = len(whole_words([acting], ignore_case=False).findall(text))
    maker = _introduced_maker(spec, introduced, known)
    for new in {introduced, maker} - {"", *counted}:
        counted[new] = len(whole_words([new], ignore_case=False).findall(text))
    makers = {maker} | {name for name, kind in known.items() if kind == "maker" and name != introduced}
    found = [
        UsedName(name, "maker" if name in makers else "assistant", n, name in (introduced, maker))
        for name, n in counted.items()
    ]
    found += [UsedName(words, "words", len(whole_words([words]).findall(text))) for words in _GENERIC]
    return tuple(sorted((name for name in found if name.n_times), key=lambda name: (-name.n_times, name.name)))


def own_name(spec: Spec, n_often: int) -> UsedName | None:
    """Return what a spec calls its assistant: the name that it introduces, or the first that it says `n_often`."""
    names = [name for name in used_names(spec) if name.kind != "maker"]
    often = [name for name in names if name.n_times >= n_often]
    introduced = [name for name in names if name.is_introduced]
    # `You are Claude Code` over many rules for Claude: the name of a product is not what the rules use.
    if (
        introduced
        and often
        and often[0].n_times > introduced[0].n_times
        and often[0].name in introduced[0].name.split()
    ):
        return often[0]
    return next(iter(introduced + often), None)


def _acting_name(text: str, known: Container[str], n_least: float) -> str:
    """Return the name that most often does or has something, if it does so `n_least` times; else an empty text."""
    users = {match["one"] or match["other"] for match in _OF_USERS.finditer(text)}
    subjects = [found for found in _SUBJECT.finditer(text) if not found["article"]]
    acting = Counter(
        name
        for name in (found["name"] for found in subjects)
        if name.lower() not in _NO_NAMES and name not in known and name not in users
    )
    n_words = Counter(re.findall(r"[\w-]+", text)) if acting else Counter[str]()
    # What is often written small is a word that begins sentences: `Kindness has limits`.
    names = ((name, n) for name, n in acting.most_common() if 2 * n_words[name.lower()] < n_words[name])
    most, n_most = next(names, ("", 0))
    is_agent = re.search(rf"(?<![\w-]){re.escape(most)}{_AGENT.pattern}", text) is not None
    # A text that tells its reader what to do calls its assistant "you".
    n_told = len(_TELLS_READER.findall(text))
    if n_told and not is_agent and n_told > len(re.findall(rf"{_BEGINS}{re.escape(most)}\b", text)):
        return ""
    if not most or n_most < n_least:
        return ""
    # The word that mostly stands before it is of the name (`Ada Lovelace`), or of a place's.
    before = Counter(found["first"] for found in subjects if found["name"] == most)
    first, n_times = before.most_common(1)[0]
    if first is None or 2 * n_times <= before.total() or first.lower() in _NO_NAMES:
        return most
    return "" if {first.lower(), most.lower()} & _PLACES else f"{first} {most}"


def introduced_name(spec: Spec) -> str:
    """Return the name that a spec gives its assistant where it begins (`You are Maya, ...`), or an empty text."""
    first = _first_texts(spec)
    # What speaks to the assistant goes first: `I am Christian. You are Maya.` is by a person of that name.
    for latin, wide in zip(_INTRODUCED, _WIDE, strict=True):
        for text, name in [(each, name) for each in first for name in _names_in(latin, wide, each)]:
            # `Name: Required. Ask for it.`: a field's value ends its line, or the spec says it again.
            found = latin.match(text)
            is_field = found is not None and found.groupdict().get("field") is not None
            ends = text.rstrip("*_\"”“’'` ").endswith(name)
            if not is_field or ends or _n_times(spec, name) > 1:
                return name
    return ""


def _introduced_maker(spec: Spec, own: str, known: Container[str]) -> str:
    """Return who a spec says at its begin has made its assistant (`You are Mira, an assistant from Kestrel`)."""
    for text in _first_texts(spec):
        is_of_own = (own and re.match(rf"\W*{re.escape(own)}\b", text)) or _OF_ITSELF.match(text)
        found = _INTRODUCED_MAKER.search(text) if is_of_own else None
        name = (found["maker"] or found["by"]) if found else ""
        if not name or name in known or _ROLES.fullmatch(name):
            continue
        # `from England`, `by Design`: a maker is named again.
        is_maker = found is not None and (found["by"] or _n_times(spec, name) > 1)
        if is_maker and not {name.split()[0].lower(), name.lower()} & (_NO_NAMES | _NO_MAKERS):
            return name
    return ""


def _first_texts(spec: Spec) -> list[str]:
    return [clause.text[:_MAX_CHARS] for clause in spec.clauses[:_N_FIRST] if clause.kind in ("sentence", "item")]


def _n_times(spec: Spec, name: str) -> int:
    words = whole_words([name], ignore_case=False)
    return sum(len(words.findall(clause.text)) for clause in spec.clauses)


def _names_in(latin: re.Pattern[str], wide: re.Pattern[str], text: str) -> Iterator[str]:
    if found := latin.match(text):
        words = found["name"].split()
        is_role = _ROLES.fullmatch(words[-1]) or (len(words) == 1 and _BARE_ROLES.fullmatch(words[0]))
        first = words[0].lower()
        is_word = first in _NO_NAMES or first in _QUALITIES or first.startswith("ai-") or len(found["name"]) < 2
        is_word |= found.groupdict().get("field") is not None and first in _NO_VALUES
        if words[0][0].isupper() and not is_role and not is_word:
            yield found["name"]
    elif found := wide.match(text):
        name = next(filter(None, found.groups()))
        if not _NO_WIDE.search(name) and name.lower() not in _NO_NAMES:
            yield name
