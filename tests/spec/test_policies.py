"""Forms of policies, model cards and saved pages: what each says, and what denies it; cut by hand first."""

from __future__ import annotations

import time

import pytest

from midspec.spec import parse_spec

from .test_denials import over_of
from .test_tags import said

NEVER = "# Desk\n\nAda never does this:\n\n"
TALK = "# Desk\n\n**User:** Is it late?\n\n**Ideal response:** Yes. By an hour.\n\n"
TALKED = "example: User: Is it late?\nReply marked GOOD: Yes. By an hour.\nReply marked "


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        # A footnote in a denied list ends it not, and is not denied with it.
        (
            f"{NEVER}- Open a room.[^1]\n- Read letters.\n\n[^1]: A guest may ask for it.\n",
            [
                "Ada never does this:",
                "Ada never does this: Open a room.",
                "A guest may ask for it.",
                "Ada never does this: Read letters.",
            ],
        ),
        (
            "# Desk\n\nAda never does this:[^1]\n\n- Lie.\n\n[^1]: Ever.\n",
            ["Ada never does this:", "Ever.", "Ada never does this: Lie."],
        ),
        (
            f"{NEVER}- Share:\n  - names[^1]\n  - rooms\n- Lie.\n\n[^1]: First names are fine.\n",
            [
                "Ada never does this:",
                "Ada never does this: Share:",
                "Ada never does this: Share: names",
                "First names are fine.",
                "Ada never does this: Share: rooms",
                "Ada never does this: Lie.",
            ],
        ),
        (
            "# Desk\n\n## Prohibited content\n\n- Threats.[^1]\n- Slurs.\n\n[^1]: In lessons they are fine.\n",
            ["Prohibited content: Threats.", "In lessons they are fine.", "Prohibited content: Slurs."],
        ),
        # Letters of a law.
        (
            "# Desk\n\n3.2 Ada shall not tell:\n\n(a) a guest's\n\n    (i) name;\n\n    (ii) room;\n\n(b) prices.\n",
            [
                "3.2 Ada shall not tell:",
                "3.2 Ada shall not tell: a guest's",
                "3.2 Ada shall not tell: name;",
                "3.2 Ada shall not tell: room;",
                "3.2 Ada shall not tell: prices.",
            ],
        ),
        ("# Desk\n\nAda shall:\n(a) greet guests;\n(b) wait.\n", ["Ada shall:", "greet guests;", "wait."]),
        ("# Desk\n\n(a) Ada greets.\n\n(b) Ada waits.\n", ["(a) Ada greets.", "(b) Ada waits."]),
        # What goes on with a denial.
        (
            "# Desk\n\nAda shares no data. This includes:\n\n- names\n\nAda helps. This includes:\n\n- bags\n",
            [
                "Ada shares no data.",
                "Ada shares no data: This includes:",
                "Ada shares no data: This includes: names",
                "Ada helps.",
                "This includes:",
                "bags",
            ],
        ),
        (
            "# Desk\n\nAda must not:\n\n- threaten\n\nFor example:\n\n- send cold letters\n\nInstead:\n\n- be kind\n",
            [
                "Ada must not:",
                "Ada must not: threaten",
                "Ada must not: For example:",
                "Ada must not: For example: send cold letters",
                "Instead:",
                "be kind",
            ],
        ),
        ("# Desk\n\nAda:\n\n- greets\n\nFor example:\n\n- hello\n", ["Ada:", "greets", "For example:", "hello"]),
        # A cross in a heading.
        (
            '# Desk\n\n#### ✗ Overpromising\n\n"You will surely get it!"\n\n#### ✓ Plain\n\n"Five days."\n',
            ['✗ Overpromising: "You will surely get it!"', '"Five days."'],
        ),
        ("# Desk\n\n## ❌ Too stiff with any of our guests\n\n- Sir\n", ["❌ Too stiff with any of our guests: Sir"]),
        ("# Desk\n\n## ❌ Don't flatter\n\nPraise must be earned.\n", ["Praise must be earned."]),
        ("# Desk\n\n## ✅ / ❌ Tone\n\n- Ask.\n\n## 🔴 Priority 1\n\n- Wait.\n", ["Ask.", "Wait."]),
        # Labels that say "good" and mean the opposite.
        (f"{TALK}**Less ideal response:** Who knows. Not me.\n", [f"{TALKED}BAD: Who knows. Not me."]),
        (f"{TALK}**Not recommended:** Who knows. Not me.\n", [f"{TALKED}BAD: Who knows. Not me."]),
        (f"{TALK}**Suboptimal:** Who knows.\n", [f"{TALKED}BAD: Who knows."]),
        (
            "# Desk\n\n**Recommended:**\n\n- Greet\n\n**Not recommended:**\n\n- Lend keys\n",
            ["**Recommended:**", "Greet", "**Not recommended:**", "**Not recommended**: Lend keys"],
        ),
        ("Least important: the weather.\n", ["Least important: the weather."]),
        # A lead between items, without a colon.
        (
            "O1: Fights.\nShould not\n- Praise one.\nCan\n- Tell the news.\n",
            ["O1: Fights.", "Should not:", "Should not: Praise one.", "Can:", "Tell the news."],
        ),
        ("# Desk\n\nWhat Ada can\ndo\n- Greet\n", ["What Ada can do", "Greet"]),
        (
            "<rules>\n<rule type='forbid'>Lend keys.</rule>\n<rule type='require'>Greet.</rule>\n</rules>\n",
            ["Forbid: Lend keys.", "Greet."],
        ),
        # Pages in one line.
        (
            "<h1>D</h1><p>Ada never:</p><ul><li>Lies</li><li>Opens rooms</li></ul><p>She is plain</p><p>She waits.</p>",
            ["Ada never:", "Ada never: Lies", "Ada never: Opens rooms", "She is plain", "She waits."],
        ),
        (
            "<h1>D</h1><p>Ada never:</p><ul><li><p>Lies.</p><p>At all.</p></li><li>Opens rooms</li></ul>",
            ["Ada never:", "Ada never: Lies. At all.", "Ada never: Opens rooms"],
        ),
        (
            "<h1>D</h1>\n<p>Ada never:</p>\n<ul>\n <li>\n <p>Lies.</p>\n </li>\n <li>\n Opens rooms\n</ul>\n<p>So.</p>",
            ["Ada never:", "Ada never: Lies.", "Ada never: Opens rooms", "So."],
        ),
        ("Ada writes <li> for\neach.\n\nShe waits.\n", ["Ada writes", "for each.", "She waits."]),
        ("<h1>D</h1><div>Ada asks</div><div>She waits</div>", ["Ada asks", "She waits"]),
        ("<h2>Never</h2><dl><dt>Keys</dt><dd>Lend one.</dd></dl>", ["Never: Keys: Lend one."]),
        (
            '<p class="bad">You will!</p><p class="good">Five days.</p><p>Ada is plain.</p>',
            ["example: Reply marked BAD: You will!\nReply marked GOOD: Five days.", "Ada is plain."],
        ),
        (
            "<div class='example bad'><p>You will!</p></div>\n<div class='good-example'><p>Five days.</p></div>\n",
            ["example: Reply marked BAD: You will!\nReply marked GOOD: Five days."],
        ),
        (
            '<div class="bad"><ul><li>Shout</li><li>Lie</li></ul></div>\n<p>Ada asks.</p>\n',
            ["**Don't:**", "**Don't**: Shout", "**Don't**: Lie", "Ada asks."],
        ),
        ('<ul class="donts"><li>Shout</li></ul>\n', ["**Don't:**", "**Don't**: Shout"]),
        ('<div class="bad"><img src="x.png"></div><p>Ada asks.</p>\n', ["Ada asks."]),
        (
            """<rule level="SHALL NOT">Lend keys</rule>
<rule allowed="false">Shout</rule>
<rule effect="deny">Refuse no guest</rule>
<rule level="MUST">Ask</rule>
""",
            ["Shall not: Lend keys", "Not allowed: Shout", "Refuse no guest", "Ask"],
        ),
        # What follows a denial is more of it, or what is done instead.
        (
            "Ada shares no secrets. For example:\n\n- Rooms of guests\n",
            [
                "Ada shares no secrets.",
                "Ada shares no secrets: For example:",
                "Ada shares no secrets: For example: Rooms of guests",
            ],
        ),
        (
            "Ada never lies. For example:\n\n- She says the price at once.\n",
            ["Ada never lies.", "For example:", "She says the price at once."],
        ),
        (
            "The desk never tells names. For instance:\n\n- The names of guests\n",
            [
                "The desk never tells names.",
                "The desk never tells names: For instance:",
                "The desk never tells names: For instance: The names of guests",
            ],
        ),
        (
            "Never leave a guest alone. This means:\n\n- Walk with children.\n",
            ["Never leave a guest alone.", "This means:", "Walk with children."],
        ),
        (
            f"{NEVER}- Lie.\n\nFor example, she says at once:\n\n- The pool is closed.\n",
            [
                "Ada never does this:",
                "Ada never does this: Lie.",
                "For example, she says at once:",
                "The pool is closed.",
            ],
        ),
        ("👎 from a guest leads to:\n\n- a call\n", ["👎 from a guest leads to:", "a call"]),
        ('<p class="good-news">Ada asks.</p><p class="bad-side text">She waits.</p>', ["Ada asks.", "She waits."]),
    ],
)
def test_a_policy_is_quoted_as_its_author_means_it(text: str, quoted: list[str]) -> None:
    assert said(text) == quoted


@pytest.mark.parametrize(
    ("text", "form", "quoted"),
    [
        (
            "topics:\n  allow:\n    - Hours of the pool\n  deny:\n    - Gossip about guests\n",
            "YAML",
            ["Hours of the pool", "Deny: Gossip about guests"],
        ),
        (
            '{"rules": [{"effect": "deny", "text": "Share a room."}, {"effect": "allow", "text": "Tell hours."}]}',
            "JSON",
            ["Deny: Share a room.", "Tell hours."],
        ),
        (
            "rules:\n- {level: MUST NOT, text: Lend keys}\n- {level: must not, text: No lies}\n- {text: Ask now}\n",
            "YAML",
            ["Must not: Lend keys", "No lies", "Ask now"],
        ),
        (
            "rules:\n- {allowed: false, text: Lending keys.}\n- {allowed: true, text: Lending bags.}\n",
            "YAML",
            ["Not allowed: Lending keys.", "Lending bags."],
        ),
        (
            """rules:
- {level: SHALL NOT, text: Lend keys}
- {allowed: 'no', text: Lend bags}
- {forbidden: true, text: Shout}
- {forbidden: false, text: Sing}
- {decision: deny, text: Lie}
- {level: MUST NOT, text: Refuse fair wishes}
- level: never
  text: |
    - Sleep
    - Smoke
""",
            "YAML",
            [
                *("Shall not: Lend keys", "Not allowed: Lend bags", "Forbidden: Shout", "Sing", "Deny: Lie"),
                *("Must not: Refuse fair wishes", "Never: Sleep", "Never: Smoke"),
            ],
        ),
        (
            # A kind of rule that its text says once more.
            """rules:
- {type: refuse, text: Refuse requests for keys.}
- {type: deny, text: Decline to lend keys}
- {type: prohibit, text: Ada prohibits smoking}
""",
            "YAML",
            ["Refuse requests for keys.", "Decline to lend keys", "Ada prohibits smoking"],
        ),
        (
            # Of a guardrail it is what breaks the rule.
            "rules:\n- {action: block, text: Guests are kept safe.}\n- {severity: deny, text: Be kind to all.}\n",
            "YAML",
            ["Guests are kept safe.", "Be kind to all."],
        ),
    ],
)
def test_a_field_that_denies_a_rule_stands_before_it(text: str, form: str, quoted: list[str]) -> None:
    leads = (
        "Allow:",
        "Deny:",
        "Refuse:",
        "Prohibit:",
        "Must not:",
        "Shall not:",
        "Never:",
        "Forbidden:",
        "Not allowed:",
    )
    assert [words for words in over_of(text, form).values() if words not in leads] == quoted


TITLES = """Lo que Ada no debe hacer|Qué no hacer|Lo que no se permite|Mitä Ada ei tee|Mit nem tesz Ada|Niedozwolone
Nepovolené|Co Ada nedělá|Čo Ada nerobí|Što Ada ne radi|Ce nu face Ada|Недопустимо|Ada'nın yapmadıkları
Yapmaması gerekenler|Pantangan|Mga bawal|Huwag gawin|غير مسموح|נאסר|क्या न करें|যা করা যাবে না|چه کارهایی نکنیم|NG行動
해서는 안 되는 것|금기|Out-of-scope use|Misuse, Malicious Use, and Out-of-Scope Use|Unsupported requests|Denylist|Deny
Restricted|Must-nots"""
OTHERS = """Lo que Ada debe hacer|Qué hacer|Mitä Ada tekee|Dozwolone|Neděle|Ada'nın yaptıkları|المسموح|क्या करें|न केवल दया
In scope|Uses|Access denied|Restricted areas|Denial of service|Preventing misuse|Supported requests|Allowlist
이해가 안 되는 질문|ENG日本語|No puede faltar|No hace falta|कुछ न कुछ दें"""


@pytest.mark.parametrize("title", TITLES.replace("\n", "|").split("|"))
def test_headings_of_policies_in_more_languages_deny_their_lists(title: str) -> None:
    assert over_of(f"# Desk\n\n## {title}\n\n- Lend keys\n")["Lend keys"] == f"{title}: Lend keys"


@pytest.mark.parametrize("title", OTHERS.replace("\n", "|").split("|"))
def test_headings_that_only_look_so_deny_nothing(title: str) -> None:
    assert over_of(f"# Desk\n\n## {title}\n\n- Lend keys\n")["Lend keys"] == "Lend keys"


@pytest.mark.parametrize(
    "piece",
    [
        "<p class='bad'>No!</p>", "<ul><li>a</li></ul>", "<dl><dt>a</dt><dd>b</dd></dl>", "Ada:\n(a) b;\n(b) d.\n",
        "This includes:\n\n- a\n\n", "- a[^1]\n", "## ❌ a\n\n- b\n\n", "✖", "न ", "**Not recommended:** a\n\n",
    ],
)  # fmt: skip
def test_many_of_one_form_take_time_that_grows_with_their_number(piece: str) -> None:
    def took_s(n: int) -> float:
        before = time.process_time()
        parse_spec(f"# Desk\n\nAda waits.\n\n{piece * n}")
        return time.process_time() - before

    assert took_s(800) < 0.5 + 30 * took_s(80)
