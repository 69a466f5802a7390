"""The words that labels of examples are made of: marks, qualities, roles, signs, in English and other languages."""

from __future__ import annotations

import re

from midspec.core.text import word_set

_WORDS = {
    "GOOD": "good better best great ideal correct right acceptable preferred desired desirable recommended compliant "
    "complies optimal preferable",
    "BAD": "bad worse worst poor wrong incorrect unacceptable undesired undesirable dispreferred discouraged "
    "noncompliant non-compliant violating violates violation rejected harmful suboptimal "
    "sub-optimal inferior",
    "OK": "ok okay borderline mixed",
}
MARK_OF = {word: mark for mark, words in _WORDS.items() for word in words.split()}
# These mark a reply only where it is named (`Unsafe response:`): `Helpful:` or `Safe behavior` may begin any rule.
_QUALITIES = {
    "GOOD": "helpful honest safe strong stronger positive balanced appropriate",
    "BAD": "unhelpful dishonest unsafe weak weaker negative sycophantic evasive preachy misleading deceptive "
    "overcautious manipulative biased inappropriate unethical failing",
}
QUALITY_OF = {word: mark for mark, words in _QUALITIES.items() for word in words.split()}
# The same of a pair of labels that share their other words: `Permitted pattern:` and `Prohibited pattern:`.
_PERMISSIONS = {
    "GOOD": "permitted allowed approved valid strong stronger clear effective appropriate helpful safe",
    "BAD": "prohibited forbidden disallowed banned invalid weak weaker unclear ineffective inappropriate unhelpful "
    "unsafe",
}
PERMISSION_OF = {word: mark for mark, words in _PERMISSIONS.items() for word in words.split()}
SIGNS = {"GOOD": "✅☑✔👍🟢", "BAD": "❌✖✗✘👎🚫⛔🔴❎"}
SIGN_OF = {sign: mark for mark, signs in SIGNS.items() for sign in signs}
NOUNS = word_set(
    "response reply answer output completion message turn example behavior behaviour version assistant ai model bot "
    "chatbot assistant's model's"
)
# What is marked in a heading: under `Harmful behavior` there may be rules, under `Harmful response` there is a reply.
REPLIES = NOUNS - word_set("behavior behaviour assistant ai model bot chatbot assistant's model's")
# `Bad replies:` over a list: each item is one.
MANY = {f"{noun}s": noun for noun in NOUNS if noun.isalpha()} | {"replies": "reply"}
_ROLES = {
    "User": "user human customer guest prompt question request query usuario",
    "Developer": "developer operator",
    "System": "system",
    "Tool": "tool function",
    "Assistant": "assistant ai model bot chatbot agent reply response answer claude chatgpt gpt gemini model_name",
}
ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
# The same in other languages, as far as labels of examples need them.
_ENGLISH = {
    foreign: english
    for english, words in {
        "user": "用户 使用者 ユーザー 사용자 utilisateur utilisatrice usuario usuário nutzer benutzer utente gebruiker "
        "пользователь cliente kunde kundin клиент гость invité huésped ospite 客户 顾客 客人 고객 お客様",
        "assistant": "助手 助理 アシスタント 어시스턴트 assistent asistente assistente ассистент",
        "question": "问题 問題 質問 질문 frage question pregunta pergunta domanda вопрос",
        "reply": "回答 回复 答复 回應 応答 返答 답변 응답 대답 antwort réponse respuesta resposta risposta ответ",
        "example": "示例 例子 例 예시 예 beispiel exemple ejemplo exemplo esempio пример",
        "good": "好的 良好 正确的 正确 推荐的 良い 正しい 좋은 올바른 gute gutes gut richtige richtig bonne bon "
        "correcte buena bueno correcta correcto boa bom correta correto buona buon corretta "
        "хороший правильный правильно",
        "bad": "不好的 坏的 糟糕的 错误的 错误 悪い 間違った 나쁜 잘못된 schlechte schlechtes schlecht falsche "
        "falsches falsch mauvaise mauvais incorrecte mala malo incorrecta incorrecto ruim má incorreta incorreto "
        "errada cattiva sbagliata плохой неправильный неправильно",
    }.items()
    for foreign in words.split()
}
_FOREIGN = re.compile(
    "|".join(rf"\b{word}\b" if "a" <= word[0] <= "ӿ" else word for word in sorted(_ENGLISH, key=len, reverse=True))
    + r"|的(?=\s|$)"
)
_ENGLISH["的"] = ""
EITHER = "|".join(sorted(map(re.escape, MARK_OF), key=len, reverse=True))
VERDICTS = re.compile(
    rf"(?P<verdict>{EITHER})(?:\s+(?:reply|response|example|answer|completion|output|assistant))?"
    r"(?:\s*\[#?(?P<rule>[\w.:-]{1,80})\])?"
    r"\s*(?:(?:[:：—–-]|(?P<is_loose>[,;]))\s*(?P<why>.*)|\((?P<inner>.*)\))?",
    re.IGNORECASE | re.DOTALL,
)


def read_verdict(words: str) -> tuple[str, str] | None:
    """Read what a comment or brackets say of a reply (`BAD[#rule]: reason`): its mark, and why."""
    found = VERDICTS.fullmatch(words.strip())
    if found is None:
        return None
    why = (found["why"] or found["inner"] or "").strip()
    mark = MARK_OF[found["verdict"].lower()]
    rule = f'{"against " * (mark == "BAD")}"[?](#{found["rule"]})"' if found["rule"] else ""
    return mark, ": ".join(filter(None, (rule, why)))


def in_english(words: str) -> str:
    """Return the words of a label in lower case, those of other languages in English."""
    return _FOREIGN.sub(lambda match: f" {_ENGLISH[match[0]]} ", words.lower())
