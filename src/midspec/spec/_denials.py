"""What stands over the clauses of a section, and denies them: a heading or a lead-in that says what is not to be.

A list item such as "Share secrets with others." says the opposite of what its author means once `Ada never does this:`
is gone. So whoever quotes a clause asks here what has to be quoted with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from midspec.core.records import Clause

# Dutch, Swedish, Danish, Norwegian, Polish, Czech, Slovak, Turkish, Ukrainian, Vietnamese, Indonesian, Greek, Finnish,
# Hungarian, Romanian; Arabic, Persian, Hebrew, Hindi, Bengali, Urdu, Thai. Words that mean something else in other
# languages (`nu`, `ne`, `ei`) are left out.
_NEVER = (
    r"nooit|niet(?!-| alleen\b)|geen|aldrig|aldri|inte(?! bara\b| minst\b)|ikke(?! bare\b| kun\b| mindst\b)|nigdy"
    r"|nie(?! tylko\b| jen\b)|nikdy|nesm\w+|asla|değil|ніколи|đừng|chớ|jangan|ποτέ|δεν|μην?"
    r"|älä|ei (?:saa|koskaan|tee)|soha|nem (?:szabad|tesz|tehet|csinál)|să nu|nu (?:trebuie|este permis|face)|huwag"
    r"|ne (?:smij\w+|sme(?:jo|ju)?|radi|počne|csinálj\w*)"
    r"|no (?!(?:puede[ns]?|debe[ns]?|hacen?) falta)"
    r"(?:se )?(?:debe\w*|hac(?:e[rns]?|emos)|hag(?:a[ns]?)|puede[ns]?|permit(?:e[ns]?|id[oa]s?))"
)
# Of Vietnamese and Indonesian, where these stand before any word that they negate ("Nói không đúng").
_NOT = (
    r"(?<!hay )(?<!hàng )(?<!hư )không(?! chỉ\b| gian\b| khí\b| ngừng\b)|tidak(?! (?:hanya|saja)\b)"
    r"|bukan(?! (?:hanya|saja|sekadar)\b)"
)
_NEVER_ALONE = (
    r"(?<!\w)(?:لا(?! بد| بأس| شك| سيما| يزال| تزال)|لن|ليس(?! فقط)|ولا(?! سيما)|عدم)(?!\w)"
    r"|أبد[ًا]|(?<!\w)(?:לא(?! רק)|אסור)(?!\w)|नहीं|(?<!\S)न(?= (?!केवल|सिर्फ|कि|कुछ|कोई|कहीं|कभी))"
    r"|(?:করবেন|যাবে|করা|উচিত) (?:না|নয়)|কখন(?:ও|ই) না"
    r"|نہیں|نہ کر\w+|(?<!\w)نکن\w*|نباید|هرگز|(?<!หรือ)ไม่(?!เพียง|ว่า|เกิน)|ห้าม|อย่า"
)
_FORBIDDEN = (
    r"verboden|vermijd\w*|verbod\w*|förbjud\w*|förbud\w*|undvik(?!ande)\w*|forbud\w*|forbudt|undgå\w*|unngå\w*|zaka[zž]\w*|zabron\w*"
    r"|unika(?:ć|j\w*|n\w{1,2}|my)"
    r"|(?<=\w )(?<!s )(?<!de )(?<!en )(?<!et )(?<!är )(?<!ina )(?<!åra )(?<!gra )(?<!dra )(?<!nga )(?<!lla )unika"
    r"|zákaz(?:y|u|em|ů|ech)?|zakázá?(?:n\w*|no|at)|vyh(?:n[ěiú]|nou|ýb)\w*|vyvar\w*|od(?:mít|miet)\w*"
    r"|nedovolen\w*|nepovolen\w*|niedozwol\w*|neděl(?:at|á\w*|ej\w*)|nerob(?:iť|te|í)|kielle[dt]\w*|vältä\w*|tilos|tiltott|kerülend\w*|interzis\w*|zabranjen\w*|izb(?:je|e)gav\w*"
    r"|uzak dur\w*|(?:izin verilmey|kabul edilmey|istenmey|yapılmay)\w*|yapılmaması\w*"
    r"|(?:yap|et|ver|söyle|kullan|paylaş)m[ae](?:m[ae]s[ıi]|d[ıi]k)\w*|недопустим\w*|забран\w*|забрањ\w*|избягв\w*"
    r"|\w{2,}m[ae](?:y[ıi]n(?:[ıi]z)?|m[ae]l[ıi]\w*)(?=\W*\Z)|(?<!\w )yapma(?=\W*\Z)"
    r"|yasak\w*|kaçın(?!ıl?maz)\w*|заборон\w*|уника(?!ль)\w*|cấm|tránh(?! thai)|dilarang|larangan|hindari"
    r"|pantangan|bawal|απαγορ\w*"
)
_FORBIDDEN_ALONE = r"নিষিদ্ধ|ممنوع|غير مسموح|נאסר|پرہیز|پرهیز|محظور|يُ?حظر|تجنب|निषिद्ध|वर्जित|मना है|หลีกเลี่ยง|ต้องห้าม"
# "including but not limited to", "not only kind, but also:"
_NO_LIMIT = r" (?:limited|restricted|confined) to\b| (?:only|just|merely|simply)\b[^:]{0,300}\bbut\b"
# Words that negate: of a clause at its begin, of a heading or lead-in anywhere.
_NEGATIONS = (
    rf"\b(?:not(?!{_NO_LIMIT})|never|cannot|avoid(?:s|ing|ed)?|refus(?:e|es|ing|als?)|declin(?:e|es|ing)|forbid(?:s|den)?"
    r"|prohibit(?:s|ed|ions?)?|banned|disallow(?:s|ed)?|out-of-scope uses?|unacceptable"
    r"|anti[ -]?patterns?|don[’']?ts|dont|red lines?"
    r"|nicht(?! (?:nur|beschränkt)\b)|niemals|kein\w*|verboten"
    r"|vermeid\w*|jamais|pas(?! (?:seulement|limit))|interdit\w*|[ée]vite[rz]?|nunca|jamás|prohibid\w*|evitar"
    r"|non(?!-| solo\b| si limita)|mai|vietat\w*|não(?! (?:só|apenas|somente|se limitam?)\b)"
    r"|никогда|не(?! (?:только|ограничива\w+)\b)|нельзя|запрещ\w*)\b"
    r"|n[’']t\b|不(?!限于|局限|仅|只是|光(?![彩明荣])|但)|勿|禁|ません"
    r"|(?<!限定され)(?<!限られ)ない|(?<!국한되지 )(?<!제한되지 )(?<!한정되지 )않|말아야|하지 말|금지"
    r"|(?:서는|면) 안 되는"
    rf"|\b(?:{_NEVER}|{_NOT}|{_FORBIDDEN})\b|{_NEVER_ALONE}|{_FORBIDDEN_ALONE}"
    r"|\b(?!olmazsa olmaz|olmazlar)(?<!olmazsa )(?:yap|et|ol|söyle|ver|paylaş|davran|kullan)m[ae]z\w*"
)
_MORE_NEGATIONS = (
    r"\b(?:(?<!\()no(?! se limit| negociable| s[oó]lo\b)|none of|refrains?|abstains?|rejects?|disapproves?(?: of)?"
    r"|steers? (?:clear|away)|(?:stays?|keeps?) (?:clear of|away from)"
    r"|stop(?:s|ped)? doing|rather than|instead of"
    r"|nie(?! tylko\b)|untersag\w*|unzulässig\w*|aucune?|proscri\w*|[ée]vit\w*|proib\w*|избега\w*|недопустим\w*)\b"
    r"|\b(?:except(?: for)?|other than|apart from|aside from)(?: the following| these| this)?\W*\Z"
    r"|避免|(?<![特分类区级个性差识鉴告])别(?![人的处])|拒绝|避け|控え|やめ|지 ?[마말]|피하|삼가"
)
# What names a kind of what is not to be ("Prohibited content", "Bad habits").
_KINDS = (
    r"\b(?:bad|wrong|mistakes?|pitfalls?|failure modes?|violations?|non[ -]?goals?|out[ -]of[ -]scope"
    r"|taboos?|no[ -]?gos?|(?<!\w )(?:den(?:y|ied)|restricted|ineligible)(?=\W*\Z)"
    r"|(?<!\w )(?:black|deny)[ -]?list(?:ed)?|(?:must|shall)[ -]nots?(?=\W*\Z)"
    r"|unsupported(?= (?:requests?|uses?|topics?|tasks?)\b)"
    r"|(?:blocked|denied|restricted|excluded)(?= (?:content|topics?|subjects?|targets?|words?|phrases?|requests?"
    r"|actions?|behaviou?rs?|commands?|domains?)\b)|(?:hard|soft)coded (?:behaviou?rs |defaults )?(?:\(always )?off\b"
    r"|off[ -]limits|out of bounds(?=\W*\Z)|no-nos?|zero tolerance|block ?list|hard (?:limit|line|stop)s?"
    r"|prohibit(?:ed|ions?)"
    r"|forbidden|banned|disallowed|unacceptable"
    r"|anti[ -]?patterns?|don[’']?ts|red lines?|falsch\w*|verbot\w*|tabus?|interdi\w*|prohib\w*|diviet\w*"
    rf"|vietat\w*|proibi\w*|запре\w*|NG|{_FORBIDDEN})\b|{_FORBIDDEN_ALONE}"
    r"|错误(?!分类|处理|信息|提示|消息|报告)|反面|避免|避け|(?<![A-Za-z])NG(?=[\u3040-\u9fff])|금지|금기|지 ?말"
)
# What negates a clause itself. "Refuse fair wishes" and "Guess rather than ask" under "Don't" are denied from there, as
# are "Offer no reason" and "Cite sources not checked": "no" and "not" are the clause's own at its begin or behind
# somebody and a verb.
_AUXILIARIES = (
    r"do|does|did|is|are|was|were|be|has|have|had|must|shall|should|will|would|can|could|may|might|need|ought"
)
_OWN = re.compile(
    rf"\A\W*(?:no|not|non)\b(?!-)|\b(?:{_AUXILIARIES})[\s*_]+not\b|\A\W*(?:\w+ \w+|under|in|at|by|with|for) no\b(?!-)"
    r"|\A\W*\w+ non\b(?!-| \w+ées?\b| \w+és?\b)"
    rf"|\b(?:never|cannot|nicht|nie|niemals|kein\w*|jamais|pas|nunca|jamás|mai|não|никогда|не|нельзя|{_NEVER})\b"
    rf"|\A\W*(?:(?!ber|me)(?-i:[A-Z][A-Za-z]*) |(?:bạn|trợ lý|mô hình|nó|tôi|chúng ta) )?(?:{_NOT})\b|{_NEVER_ALONE}"
    r"|\bkhông (?:được(?! phép)|bao giờ|nên)\b|\btidak (?:boleh|pernah|akan)\b|\A\W*(?:inga|inget|ingen|intet)\b"
    r"|\b\w{2,}(?:m[ae]y[ıi]n(?:[ıi]z)?|m[ae]m[ae]l[ıi]\w*)\W*\Z|(?<= )(?<!अपना )(?<!का )मत(?= \S+\W*\Z)|\A\W*אל ת"
    r"|\A\W*(?:(?-i:[A-ZÀ-Ž]\w+) )?ne(?:lž|řík|děl(?![eií]\b|n)|dáv|sdíl|použív|sděl|odpovíd|prozra|vyzrad|hád|slib"
    r"|předstír|lich|vymýšl|ptej|zmiň|posíl|klam|rob(?=í\b|te\b))\w*"
    r"|\b(?<!olmazsa )(?:yap|et|ol|söyle|ver|paylaş|davran|kullan)m[ae]z\W*\Z"
    r"|n[’']t\b|\A\W*(?:avoid|refrain|vermeide\w*|[ée]vite[zr]?|evita|избегай\w*|避免|vermijd|undvik|unngå"
    r"|unikaj\w*|tránh|hindari|dilarang)\b"
    r"|\A[^\w]*(?:不|勿|禁|别|避免)|(?:ない|ません)(?:でください|こと|です)?\W*\Z|(?:않|지 ?[말마]|금지)\S{0,6}\W*\Z",
    re.IGNORECASE,
)
# `**Pushy** — No sales talk.`: what is denied is the head; a sentence behind it, or words behind a dash, explain it.
_HEAD = re.compile(r"\s*(?P<head>(?P<sign>\*\*|__)[^*_]+(?P=sign)|\*[^*]+\*)(?:\s*[—–-]\s+\S|\s+(?-i:[A-ZÀ-Þ]))")
# `**Secrets** — Never share them.`: an order behind a word that names what it is about is the clause's own.
_NO_GERUND = (
    "(?:\\w*thing|king|boring|annoying|misleading|existing|missing|pending|ongoing|string|warning|meaning|meeting)"
)
_ORDER_BEHIND = re.compile(
    rf"[\s—–-]*(?:(?:never|do not|don[’']t|avoid)\s+\w|no\s+(?!{_NO_GERUND}\b)\w+ing\b)", re.IGNORECASE
)
_ASIDE = re.compile(
    r"\([^()]{0,300}\)|\"[^\"]{0,300}\"|“[^“”]{0,300}”|«[^«»]{0,300}»|„[^„“”]{0,300}[“”]|「[^「」]{0,300}」"
)
# `Blocked hosts (NEVER fetch)`; `DRY (Don't repeat yourself)` is a name.
_IN_BRACKETS = re.compile(r"\((?:never|always refuse|not (?:allowed|permitted))\b", re.IGNORECASE)
# Behind one of these the negation is of another clause: "Give out data of guests that isn't public."
_SUBORDINATES = re.compile(
    r"\b(?:that|which|who|whose|where|when|if|because|before|after|until|unless|while|although|dass|wenn|falls|weil|que|qui"
    r"|si|che|se|что|котор\w+|если|die(?= (?:niet|nooit|geen)\b)|wat|dat|som(?=(?: \w+)? (?:inte|ikke|aldrig?)\b)"
    r"|któr\w+|kter\w+|co(?= nie\b)|що|як(?:ий|а|е|і)|yang|που|जो|الذي|التي|الذين|ما(?= (?:ليس|لا)\b))\b"
    r"|ที่(?=ไม่)|, (?:der|die|das)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(f"{_NEGATIONS}|{_MORE_NEGATIONS}|{_KINDS}", re.IGNORECASE)
_DENIES_AS_TITLE = re.compile(_NEGATIONS, re.IGNORECASE)
_ENDS_DENYING = re.compile(
    r"(?:\b(?:not|never|cannot|avoid(?:ed|s)?|(?<!to )refuse[sd]?|declines?|steer clear of|nie|niemals|nicht"
    rf"|vermeid\w*|jamais|pas|[ée]vit\w*|nunca|mai|não|никогда|избега\w*|не|{_NEVER}|{_NOT}|{_FORBIDDEN})|n[’']t|ません|ない"
    rf"|{_NEVER_ALONE})"
    r"(?: (?:to )?do(?:es)?)?\W*\Z|\A\W*(?-i:N[Oo])\W*\Z",
    re.IGNORECASE,
)
# Of a tag: `not_found` says when.
_BEGINS_DENYING = re.compile(
    r"(?:(?:do|must|should|may|can) not|never|dont)\b(?! (?:know|mind)\b)|not (?:to|allowed|permitted|acceptable|ok)\b",
    re.IGNORECASE,
)
# `❌ Overpromising`, over a list, a quotation or sentences.
_CROSSED = re.compile(
    r"[^\w✅✔✓☑👍]*?[❌✖✗✘❎👎🚫](?!\W*(?:from|by|means?|is|are|or|and)\b)(?![^✅✔✓☑👍]*[✅✔✓☑👍])[^✅✔✓☑👍]*\w"
)
_NAMES_A_KIND = re.compile(_KINDS, re.IGNORECASE)
# "Do not lend banned keys" forbids one thing, whatever words are in it.
_FORBIDS_A_THING = re.compile(
    r"\W*(?:\w+\W+){0,2}?(?:(?:do|must|should|may|can) not|cannot|never|avoid|don[’']t|no(?!-))\s+\w", re.IGNORECASE
)
_HANDLES = re.compile(
    r"\W*(?:(?:handl|respond|deal|correct|recover|learn|own|admit|report|acknowledg|fix|apologi[sz])ing"
    r"|how to(?! not\b)|(?:mistakes?|violations?|refusals?) (?:handling|recovery|correction|response))\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\W*(?:how|why|when|where|whether|if|what if|wie|warum|wann|wenn|comment|pourquoi|quand|si|cómo|por qué"
    r"|cuando|come|perché|quando|как|почему|когда|если)\b",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"\b(?:instead(?! of)|always|stattdessen|immer|toujours|siempre|sempre|invece|всегда|вместо этого"
    r"|altijd|alltid|altid|zawsze|zamiast tego|vždy|her zaman|bunun yerine|завжди|luôn|selalu|πάντα)\b|دائم|हमेशा|เสมอ"
    r"|相反|应该|代わりに|常に|대신|항상|\A\W*do(?:[’']?s)?\W*\Z",
    re.IGNORECASE,
)
# "Do's and Don'ts", "Good and bad habits": what stands under both is told apart there.
_NO_DENIAL = r"(?<!\bnot )(?<!\bnever )(?<!\bno )(?<!n[’']t )"
_AND = r"(?:\s+(?:and|or|vs\.?)\s+|\s*[&/,]\s*)"
_GOOD = r"(?:good|right|allowed|acceptable|permitted|best|duties)"
_NAMES_BOTH = re.compile(
    rf"\bdo[’']?s{_AND}|{_AND}do[’']?s\b|\bdo{_AND}don[’']?t|\bdon[’']?ts?{_AND}do\b"
    rf"|{_NO_DENIAL}\b{_GOOD}{_AND}(?!not\b|never\b|no\b)\w|\w{_AND}{_NO_DENIAL}{_GOOD}\b",
    re.IGNORECASE,
)
_WIDE = re.compile(r"[\u3040-\u9fff\uac00-\ud7af]")
_MAX_KIND_WORDS = 5
_MAX_WORDS_BEFORE_OWN = 3
_ENDS = " \t*_:：.…—–"
_STOPS = tuple(".!?。！？\"”’'")
_POINTS_ON = re.compile(
    r"\b(?:following|these|this|below|folgende[nrms]?|diese[nrms]?|suivante?s?|siguientes?|seguinti|seguintes?|следующ\w+)"
    r"(?: \w+){0,2}\W*\Z|(?:以下|下列|次の|다음)[^。]{0,8}\W*\Z",
    re.IGNORECASE,
)
# What leads to more of what the sentence or the list before it is about.
_INCLUDES = re.compile(
    r"\W*(?:(?:this|these|it|that|which) (?:also )?(?:includes?|covers?)\b"
    r"|(?:some )?examples?(?: \w+){0,3} (?:include|are)\b"
    r"|(?:for (?:example|instance)|specifically|in particular|namely)\W*\Z)",
    re.IGNORECASE,
)
_HAS_SUBJECT = re.compile(r"\W*(?:(?:she|he|it|they|we|i|you)\b|the (?:assistant|model|ai)\b)", re.IGNORECASE)
# "Refuse requests for keys" under `Refuse:` says the same once more.
_REFUSES = r"(?:refus(?:es?|al)|den(?:y|ies)|declines?|(?:forbid|prohibit|disallow|reject)s?)"
_IS_REFUSING = re.compile(rf"\W*{_REFUSES}\W*", re.IGNORECASE)
_REFUSES_FIRST = re.compile(rf"\W*(?:(?:the )?\w+ )?{_REFUSES}\b", re.IGNORECASE)
LEAD_ENDS = (":", "：")


@lru_cache(maxsize=4096)
def is_denial(text: str) -> bool:
    """Return whether a heading, or what leads to a list, says that what stands under it is not to be."""
    return _DENIES.search(text) is not None or _CROSSED.match(text) is not None


@lru_cache(maxsize=4096)
def denies_itself(text: str) -> bool:
    """Return whether a clause begins with its own denial.

    One far behind ("data that isn't public"), in brackets or quotation marks, or behind a name in bold and a dash is
    of something else.
    """
    head = _HEAD.match(text)
    if head is not None:
        is_topic = " " not in head["head"] and _ORDER_BEHIND.match(text, head.end("head")) is not None
        text = text[head.end("head") :] if is_topic else head["head"]
    text = _ASIDE.sub("", text)
    found = _OWN.search(text)
    if found is None or _SUBORDINATES.search(text, 0, found.end()):
        return False
    n_before = len(re.sub(r"n[’']t\Z", " not", text[: found.end()]).split()) - 1
    return _WIDE.search(text) is not None or n_before <= _MAX_WORDS_BEFORE_OWN


def repeats(lead: str, text: str) -> bool:
    """Return whether a clause under `Refuse:` or `Deny:` says so once more: it is meant, and not what is denied."""
    return _IS_REFUSING.fullmatch(lead) is not None and _REFUSES_FIRST.match(text) is not None


@lru_cache(maxsize=4096)
def _is_denying_title(title: str) -> bool:
    """Return whether a heading denies the list under it.

    "No drastic acts" and "How aims go wrong" do not: what stands under them says how, and is to be.
    """
    bare = _ASIDE.sub("", title)
    negates = _DENIES_AS_TITLE.search(bare) is not None and not _NAMES_BOTH.search(bare) and not _HANDLES.match(bare)
    return _is_kind(title) or _IN_BRACKETS.search(title) is not None or negates


@lru_cache(maxsize=4096)
def _is_kind(title: str) -> bool:
    """Return whether a heading names a kind of what is not to be: all under it is denied, whole sentences too.

    Under one that forbids a single thing ("Don't flatter") they say why.
    """
    if _CROSSED.match(title) and not _FORBIDS_A_THING.match(title):
        return True
    n_words = sum(any(map(str.isalnum, word)) for word in title.split())
    if n_words > _MAX_KIND_WORDS or _ASKS.match(title) or _HANDLES.match(title) or _NAMES_BOTH.search(title):
        return False
    names_one = _NAMES_A_KIND.search(title) is not None and _FORBIDS_A_THING.match(title) is None
    return names_one or _ENDS_DENYING.search(title) is not None


def title_of_tag(name: str) -> str:
    """Return the words of a tag's name: `<do_not>` is "Do not"."""
    return re.sub(r"[_-]+", " ", name).capitalize()


def lead_of_tag(name: str) -> str:
    """Return the lead that a tag is to the list in it: `<do_not>` is "Do not:"; empty for tags that don't deny."""
    title = title_of_tag(name)
    return f"{title}:" if _is_kind(title) or _BEGINS_DENYING.match(title) else ""


class Over(NamedTuple):
    """What stands over a clause.

    Attributes:
        lead: the index of the clause that leads to it; `None` without one.
        denial: the words from what denies it down to that lead, outermost first; empty where nothing denies it.
        leads: the indices of the clauses that these words are of.
    """

    lead: int | None = None
    denial: tuple[str, ...] = ()
    leads: tuple[int, ...] = ()

    def said_before(self, text: str) -> str:
        """Return the text behind what denies it; the text alone where nothing does or it denies itself."""
        return text if denies_itself(text) else ": ".join([*self.denial, text])


def stand_over(clauses: Sequence[Clause], titles: Sequence[str]) -> list[Over]:
    """Find for each clause of a section what leads to it, and what denies it.

    Args:
        clauses: of one section, in order.
        titles: the headings over it, outermost first.
    """
    title = _denying_title(titles)
    is_kind = _is_kind(title)
    found: list[Over] = []
    # The leads that are open, outermost first, each with the depth that it is of.
    opened: list[tuple[float, int]] = []
    for index, clause in enumerate(clauses):
        following = clauses[index + 1] if index + 1 < len(clauses) else None
        leads = _leads_on(clause, following)
        opened = _still_open(opened, clauses, index, leads=leads)
        over = _over(clauses, [at for _, at in opened], title)
        if clause.kind == "sentence" and ((not leads and not is_kind) or clause.depth):
            over = Over()
        elif over.denial and repeats(over.denial[-1], clause.text):
            over = Over(over.lead)
        found.append(over)
        if leads:
            is_nested = following is not None and following.kind == "item" and following.depth > clause.depth
            depth = clause.depth - (0.0 if is_nested else 0.5)
            if clause.kind == "sentence":
                depth = -0.75 if opened else -1.0
            opened = [entry for entry in opened if entry[0] < depth]
            opened.append((depth, index))
    return found


def _denying_title(titles: Sequence[str]) -> str:
    """Return the heading that denies what stands under all of them; empty where none does.

    One that forbids a single thing ("Don't take sides") denies nothing under a heading within it.
    """
    for index, title in enumerate(reversed(titles)):
        if _is_kind(title) or (index == 0 and _is_denying_title(title)):
            return title.strip(_ENDS)
        if _AFFIRMS.search(title):
            return ""
    return ""


def _leads_on(clause: Clause, following: Clause | None) -> bool:
    """Return whether a clause leads to what follows: by its colon, or as one that denies the list behind it.

    Such a one has no stop at its end, or says that the list follows.
    """
    if clause.kind in ("code", "example"):
        return False
    words = clause.text.rstrip("*_ )]")
    if words.endswith(LEAD_ENDS) or following is None or following.kind != "item" or not is_denial(clause.text):
        return words.endswith(LEAD_ENDS)
    if clause.kind == "item":
        return following.depth > clause.depth
    return not words.endswith(_STOPS) or _POINTS_ON.search(words) is not None


def _still_open(
    opened: list[tuple[float, int]], clauses: Sequence[Clause], index: int, *, leads: bool
) -> list[tuple[float, int]]:
    """Return the leads that lead to a clause: a sentence ends all, an item those of its depth or deeper.

    A lead of the same list leads to the items after it, and not to the next lead. `This includes:` goes on with the
    lead or the denial before it, and a footnote of an item (a sentence with a depth) ends nothing.
    """
    clause = clauses[index]
    if clause.kind == "sentence" and clause.depth:
        return opened
    if clause.kind == "sentence":
        if not leads or not index or not _INCLUDES.match(clause.text):
            return []
        before = clauses[index - 1]
        subject = before.text.partition(" ")[0].removeprefix("The").removeprefix("Do")
        for one in clauses[index + 1 : index + 2]:
            if _HAS_SUBJECT.match(one.text) or (subject and one.text.startswith(f"{subject} ")):
                return []  # a sentence of what is done instead
        is_denied = before.kind == "sentence" and not before.depth and denies_itself(before.text)
        return [(-1.0, index - 1)] if is_denied else [entry for entry in opened if entry[0] <= -1.0]
    if clause.kind in ("code", "example"):
        return opened if opened and opened[-1][1] == index - 1 else []
    return [entry for entry in opened if entry[0] < clause.depth - 0.5 * leads]


def _over(clauses: Sequence[Clause], leads: list[int], title: str) -> Over:
    """Return what stands over a clause under some leads, outermost first, and a heading that denies."""
    lead = leads[-1] if leads else None
    for first in range(len(leads) - 1, -1, -1):
        words = clauses[leads[first]].text
        if is_denial(words):
            chain = leads[first:]
            return Over(lead, tuple(_without_end(clauses[at].text) for at in chain), tuple(chain))
        if _AFFIRMS.search(words):
            return Over(lead)
    words_of = tuple(_without_end(clauses[at].text) for at in leads)
    return Over(lead, (title, *words_of), tuple(leads)) if title else Over(lead)


def _without_end(words: str) -> str:
    """Return a lead without its colon; emphasis that ended there ends before it."""
    bare = words.rstrip(_ENDS)
    bare += "**" * (bare.count("**") % 2)
    return bare + "*" * (bare.replace("**", "").count("*") % 2)
