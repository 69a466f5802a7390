"""The keys under which data of rules has its texts, names, lists, examples and reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping

from midspec.core.text import word_set
from midspec.spec._denials import denies_itself, is_denial, repeats

TEXT_KEYS_BEFORE = ("text", "trait", "principle", "rule", "statement", "value", "clause", "description", "content")
TEXT_KEYS = (*TEXT_KEYS_BEFORE, "definition")
DEFINED_KEYS = ("dimension", "attribute", "aspect", "criterion", "label")  # names of what a definition is of
RULE_KEYS = frozenset(["trait", "principle", "rule", "statement", "clause"])  # of these no page has its own
NAME_KEYS = ("domain", "name", "title")
LIST_KEYS = ("domains", "rules", "traits", "principles", "constitution", "values", "clauses", "sections", "statements")
MORE_LIST_KEYS = ("articles", "guidelines", "tenets", "commandments", "laws", "policies", "directives", "standards")
NESTED_KEYS = (*LIST_KEYS, "subrules", "sub_rules", "children", "items", "subsections")
# Chats, data sets and what explains a rule: texts under these are no rules.
NO_RULES = word_set(
    "messages conversations conversation dialogue prompt completion response question questions "
    "additional_questions answer example examples input output role metadata meta author authors license "
    "source critic critique critique_request critic_request revision revision_request"
)
WHO_KEYS = ("role", "from", "speaker", "sender")
WHO = word_set("system user human assistant gpt bot chatbot model ai tool function developer customer agent")
REPLIES = {
    **dict.fromkeys(("good", "good_example", "good_response", "good_reply", "good_examples"), "Good reply"),
    **dict.fromkeys(("bad", "bad_example", "bad_response", "bad_reply", "bad_examples"), "Bad reply"),
}
ASKS = ("user", "prompt", "query", "input", "question")
ANSWERS = ("expected", "output", "response", "reply", "answer", "completion", "assistant", "text")
# Lists of examples by their mark: `{"positive": [{"input", "output"}, ...], "negative": [...]}`.
MARKED_LISTS = {
    **dict.fromkeys(("positive", "good", "correct", "do", "compliant"), "Good reply"),
    **dict.fromkeys(("negative", "bad", "incorrect", "dont", "noncompliant"), "Bad reply"),
}
REASON_KEYS = ("rationale", "reason", "reasons", "reasoning", "why", "explanation", "justification")
# What stands over a list of what to do or not to do; keys without their marks ("don't", "do_not", "DoNot").
LEADS = {
    re.sub(r"\W", "", lead.lower()): lead
    for lead in (
        *("Do:", "Always:", "Must:", "Shall:", "Should:", "May:", "Allow:", "Allowed:", "Permit:", "Permitted:"),
        *("Required:", "Exceptions:", "Don't:", "Do not:", "Never:", "Must not:", "Shall not:", "Should not:"),
        *("May not:", "Cannot:", "Avoid:", "Not allowed:", "Not permitted:", "Not recommended:", "Forbid:"),
        *("Forbidden:", "Prohibit:", "Prohibited:", "Prohibition:", "Disallow:", "Disallowed:", "Deny:", "Denied:"),
        "Refuse:",
    )
} | {"dos": "Do:", "donts": "Don't:"}
# What says of one rule that what it names is not to be; of `action: block` it is what breaks the rule.
VERDICT_KEYS = ("effect", "permission", "decision", "verdict", "level", "modality", "keyword", "requirement", "type")
PERMISSION_KEYS = ("allowed", "permitted", "is_allowed", "allow")
_NO = ("no", "false")
_IS_ITEM = re.compile(r"[ \t]*[-*+] ")
# A longer key over a list of things (`Forbidden topics`, `never_say`); `Never lie` over sentences is a rule's name.
NAMED_LEAD = re.compile(
    r"(?P<kind>forbidden|prohibited|disallowed|banned)\b"
    r"|(?:never|do not|don[’']?t|avoid)(?P<verb> (?:ever )?(?:do|say|use|discuss|mention|reveal|share|give|these|topics"
    r"|words|phrases)\Z)?\b",
    re.IGNORECASE,
)
MAX_THING_WORDS = 3
# Of a mapping beside a rule's text only these hold rules: `parameters: {required: [...]}` is a schema.
CONDUCT = word_set("behavior behaviour behaviors behaviours conduct guidelines constraints")
SCHEMA = word_set("parameters properties schema $schema arguments")
# What says something of a file or a rule, and nothing of the assistant.
ABOUT = word_set(
    "id name title dimension domain version date created created_at updated updated_at author authors license licence "
    "source sources url link language lang tag tags type kind status slug model metadata meta $schema schema key order "
    "questions additional_questions"
)
OFF_WORDS = word_set("deprecated removed disabled inactive rejected obsolete archived retired draft")


def lead_over(fields: Mapping[str, object], text: str) -> str:
    """Return the lead that the fields beside a rule are (`deny`); empty where none denies it, or its text does so."""
    said = [words for key in VERDICT_KEYS if isinstance(words := fields.get(key), str)]
    said += ["not allowed" for key in PERMISSION_KEYS if str(fields.get(key)).lower() in _NO]
    said += [str(key) for key, flag in fields.items() if flag is True or flag == "true"]  # `forbidden: true`
    leads = (LEADS.get(re.sub(r"[\W_]+", "", one.lower()), "") for one in said)
    lead = next(filter(is_denial, leads), "")
    return "" if denies_itself(text) or repeats(lead, text) else lead


def under_verdict(value: Mapping[str, object], text: str) -> tuple[str, tuple[str, ...]]:
    """Return a rule's text, or as a list under its lead where a field denies it (`effect: deny`, `allowed: false`)."""
    lead = lead_over(value, text)
    is_list = all(map(_IS_ITEM.match, text.strip().splitlines()))
    items = text.strip() if is_list else f"- {' '.join(text.split())}"
    return ("", (f"{lead}\n\n{items}",)) if lead and text.strip() else (text, ())
