"""Tags, labels and marks of published prompts: tags that deny what is in them, diffs, line blocks, `Yes:` and `No:`."""

from __future__ import annotations

import pytest
from tests.spec.test_denials import headings_of

from midspec.spec import read_parts, stand_over


def said(text: str) -> list[str]:
    """Return the clauses of a text as they are quoted, what denies them before them; examples by their kind."""
    return [
        f"{clause.kind}: {clause.text}" if clause.kind in ("example", "code") else over.said_before(clause.text)
        for section in read_parts(text)[0].sections
        for clause, over in zip(section.clauses, stand_over(section.clauses, headings_of(section)), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        # The list in a tag that denies, and what stands beside it.
        ("<do>\n- Ask.\n</do>\n<dont>\n- Guess.\n</dont>", ["Ask.", "Dont:", "Dont: Guess."]),
        ("<never>\n- Lie\n</never>\n<always>\n- Ask\n</always>", ["Never:", "Never: Lie", "Always:", "Ask"]),
        ("<do_not>\n\n1. Guess.\n\n</do_not>\nAda asks.", ["Do not:", "Do not: Guess.", "Ada asks."]),
        ("<never>\n- Lie\n</never>\n- Ask.", ["Lie", "Ask."]),
        ("<all>\n<never>\n- Lie\n</never>\n</all>\n- Ask.", ["Lie", "Ask."]),
        ("<never>\n- Lie\n</never>\n\n| a | b |\n|---|---|\n| c | d |", ["Lie", "a: c; b: d"]),
        ("<forbidden>Sharing keys.</forbidden>\n\nAda asks.", ["Forbidden: Sharing keys.", "Ada asks."]),
        ("<forbidden_phrases>\nIt needs no words.\n</forbidden_phrases>", ["It needs no words."]),
        ("<handling_mistakes>\n- Own it.\n</handling_mistakes>", ["Own it."]),
        ("<bad_reply>I am so sorry!</bad_reply>", ["example: Reply marked BAD: I am so sorry!"]),
        (
            "<not_found>\n- Say so.\n</not_found>\n<not_to_do>\n- Lie\n</not_to_do>",
            ["Say so.", "Not to do:", "Not to do: Lie"],
        ),
        ("<do_not>Do not guess.</do_not>\n<never>Lie to guests.</never>", ["Do not guess.", "Never: Lie to guests."]),
        ("<yes>\n- Ask\n</yes>\n<no>\n- Guess\n</no>", ["Ask", "No:", "No: Guess"]),
        ("<non_goals>\n- Sales\n</non_goals>", ["Non goals:", "Non goals: Sales"]),
        # Sections of one line.
        (
            "<role>You are Ada, a clerk.</role>\n<tone>Be warm to guests.</tone>",
            ["You are Ada, a clerk.", "Be warm to guests."],
        ),
        ("Answer so:\n<form>Your answer in words.</form>", ["Answer so: <form>Your answer in words.</form>"]),
        (
            "Answer so:\n<form>\n<why>Your reasons in words.</why>\n<word>Your verdict in a word.</word>\n</form>",
            ["Answer so:", "<why>Your reasons in words.</why> <word>Your verdict in a word.</word>"],
        ),
        ("Ada writes <b>one clear line.</b> She stops.", ["Ada writes one clear line.", "She stops."]),
        # Labels.
        (
            'Ada asks.\n\n**Yes:** "Noon works."\n\n**No:** "Certainly!"',
            ["Ada asks.", 'example: Reply marked GOOD: "Noon works."\nReply marked BAD: "Certainly!"'],
        ),
        (
            'No: "Certainly!"\nYes: "Noon works."',
            ['example: Reply marked BAD: "Certainly!"\nReply marked GOOD: "Noon works."'],
        ),
        (
            "May she open?\n\nYes: for guests.\n\nNo: for others.",
            ["May she open?", "Yes: for guests.", "No: for others."],
        ),
        (
            'May she?\n\n**Yes:** "Open" says the sign.\n\n**No:** "Closed" on Sundays.',
            ["May she?", '**Yes:** "Open" says the sign.', '**No:** "Closed" on Sundays.'],
        ),
        ("## No\n\n- Guess\n\n## Yes\n\n- Ask", ["No: Guess", "Ask"]),
        ("**Yes:**\n\n- Ask\n\n**No:**\n\n- Guess", ["**Yes:**", "Ask", "**No:**", "**No**: Guess"]),
        # A diff of prose, and one of code.
        (
            "```diff\n- I would be delighted to help!\n+ Noon works. Shall I book?\n```",
            ["example: Reply marked BAD: I would be delighted to help!\nReply marked GOOD: Noon works. Shall I book?"],
        ),
        ("```diff\n-x = 1\n+count = 1\n```", ["code: ```diff\n-x = 1\n+count = 1\n```"]),
        (
            '```diff\n-raise ValueError("Bad thing.")\n+raise DataError("Bad thing.")\n```',
            ['code: ```diff\n-raise ValueError("Bad thing.")\n+raise DataError("Bad thing.")\n```'],
        ),
        (
            '```diff\n-RUN echo "All is done."\n+RUN echo "All is well."\n```',
            ['code: ```diff\n-RUN echo "All is done."\n+RUN echo "All is well."\n```'],
        ),
        (
            '```diff\n-Console.Write(a, b, "x y.")\n+Console.Write(b, a, "x y.")\n```',
            ['code: ```diff\n-Console.Write(a, b, "x y.")\n+Console.Write(b, a, "x y.")\n```'],
        ),
        ("```diff\n+ Noon works well. Shall I?\n```", ["code: ```diff\n+ Noon works well. Shall I?\n```"]),
        # Line blocks; a table of one column is none.
        (
            "Ada never:\n\n| Lies to guests.\n| Hides a price.",
            ["Ada never:", "Ada never: Lies to guests.", "Ada never: Hides a price."],
        ),
        ("| Rule\n|---\n| Ask.\n| Wait.", ["Rule: Ask.", "Rule: Wait."]),
        ("reply = yes\n| no\n| later", ["reply = yes | no | later"]),
        # Leads that deny nothing.
        (
            "Ada's tasks include, but are not limited to:\n\n- Keys",
            ["Ada's tasks include, but are not limited to:", "Keys"],
        ),
        (
            "Ada must not share data, including but not limited to:\n\n- Names",
            [
                "Ada must not share data, including but not limited to:",
                "Ada must not share data, including but not limited to: Names",
            ],
        ),
        ("She is not only quick, but also:\n\n- Kind", ["She is not only quick, but also:", "Kind"]),
        ("**Basics (no prefix):**\n\n- Names", ["**Basics (no prefix):**", "Names"]),
        ("包括但不限于：\n\n- 预订", ["包括但不限于：", "预订"]),
        ("不光彩的行为：\n\n- 撒谎", ["不光彩的行为：", "不光彩的行为: 撒谎"]),
        ("Inclui, mas não se limita a:\n\n- Chaves", ["Inclui, mas não se limita a:", "Chaves"]),
        ("Ada include, ma non solo:\n\n- Chiavi", ["Ada include, ma non solo:", "Chiavi"]),
        ("이에 한정되지 않는다:\n\n- 열쇠", ["이에 한정되지 않는다:", "열쇠"]),
        ("不做：\n\n- 撒谎", ["不做：", "不做: 撒谎"]),
        ("## Handling mistakes\n\nAda says so.", ["Ada says so."]),
        ("## Handling refusals\n\n- Say why.", ["Say why."]),
        ("## How to refuse\n\n- Say why.", ["Say why."]),
        ("## DRY (Don't repeat yourself)\n\n- Say it once", ["Say it once"]),
        ("## Blocked tasks\n\n- Ask the owner.", ["Ask the owner."]),
        ("## Blocked targets (NEVER fetch)\n\n- Local files", ["Blocked targets (NEVER fetch): Local files"]),
        ("### Tier 1 — Hard stops\n\n- Share keys", ["Tier 1 — Hard stops: Share keys"]),
        (
            '❌ "I am so sorry!" → ✅ "Noted."',
            ['example: Reply marked BAD: "I am so sorry!"\nReply marked GOOD: "Noted."'],
        ),
        ("## Blocked topics\n\n- Elections", ["Blocked topics: Elections"]),
        (
            "## Never\n\n- **Secrets** — No sharing\n- **Pushy** — No sales talk\n- **Lies** — No boring excuses",
            ["**Secrets** — No sharing", "Never: **Pushy** — No sales talk", "Never: **Lies** — No boring excuses"],
        ),
    ],
)
def test_tags_labels_and_marks_of_prompts_are_read_as_meant(text: str, quoted: list[str]) -> None:
    assert said(f"# Ada\n\n{text}\n") == quoted


@pytest.mark.parametrize(
    "title",
    [
        "Co nedělat",
        "Vyhněte se",
        "Čeho se vyvarovat",
        "Ada odmítá",
        "Čo nerobiť",
        "Yapılmaması gerekenler",
        "Bunları yapmayın",
        "Ada şunları yapmamalı",
        "Uzak durulacaklar",
        "İzin verilmeyenler",
        "Yapma",
        "Ce să nu faci",
        "Tilos",
        "Vältä",
        "Kielletty",
        "Zabranjeno",
        "Забранено",
        "করবেন না",
        "نہ کریں",
        "هرگز",
    ],
)
def test_a_list_is_denied_in_further_languages(title: str) -> None:
    assert said(f"# Ada\n\n## {title}\n\n- X yz\n") == [f"{title}: X yz"]
    assert said(f"# Ada\n\n{title}:\n\n- X yz\n") == [f"{title}:", f"{title}: X yz"]


@pytest.mark.parametrize(
    "title",
    [
        "Nejdůležitější",
        "Neděle",
        "Rezervasyon yapma",
        "Açıklama",
        "Olmazsa olmaz",
        "Mayın",
        "Nu",
        "Vyhledávání",
        "Vyhnojené pole",
    ],
)
def test_words_that_look_like_denials_of_other_languages_deny_nothing(title: str) -> None:
    assert said(f"# Ada\n\n## {title}\n\n- X yz\n") == ["X yz"]


def test_clauses_that_deny_themselves_in_czech_stand_alone() -> None:
    items = [
        "Ada nelže hostům.",
        "Nehádej ceny.",
        "Nesdílejte hesla.",
        "Neděle je volná.",
        "Nedělní prodej.",
        "Nechte hosta mluvit.",
        "Lhát hostům.",
    ]
    assert said("# Ada\n\n## Zakázáno\n\n" + "".join(f"- {item}\n" for item in items)) == [
        *items[:3],
        *(f"Zakázáno: {item}" for item in items[3:]),
    ]
