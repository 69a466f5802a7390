"""What editors, wikis and chat programs leave beside a text: footnotes, comments, heads, properties, other markups.

Each text is our own, in a form that is in public use; what it should come to was written down before it was read.
"""

from __future__ import annotations

import time

import pytest

from midspec.core.errors import SpecError
from midspec.spec import fill, parse_spec
from midspec.spec._denials import stand_over
from midspec.spec._used_names import used_names

from .test_hard_passages import cut

LIES = ["Ada never lies.", "Ada waits."]
NOTE = ["Ada never lies.", "Except in games.", "She waits."]

COMMENTS = {
    "kramdown": "Ada never lies.\n\n{::comment}\nAda may lie.\n{:/comment}\n\nAda waits.\n",
    "kramdown, short end": "Ada never lies. {::comment}may lie{:/} Ada waits.\n",
    "MyST": "% Ada may lie.\n% On Fridays.\n\nAda never lies.\n\n% Ada may lie.\n\nAda waits.\n",
    "Google's editor": "Ada never lies.[a] Ada waits.[b]\n\n[a]Should we say rarely?\n[b]Agreed.\n",
    "Google's editor, as Markdown": "Ada never lies.\\[a\\] Ada waits.\n\n\\[a\\] Should we say rarely?\n",
    "PHP": "<?php echo 'Ada may lie'; ?>\n\nAda never lies. Ada waits.\n",
    "pandoc's head": "% The Ada charter\n% Ann; Bob\n% 2026-01-01\n\nAda never lies. Ada waits.\n",
    "MultiMarkdown's head": "Title: The Ada charter\nAuthor: Ann\nDate: 2026-01-01\n\nAda never lies. Ada waits.\n",
    "docinfo": ":Author: Ann\n:Date: 2026-01-01\n:Status: draft\n\nAda never lies. Ada waits.\n",
    "inline fields": "owner:: Ann\nstatus:: draft\n\nAda never lies. Ada waits.\n",
    "tags": "#policy #draft\n\nAda never lies. Ada waits.\n",
    "HackMD's tags": "###### tags: `policy` `draft`\n\nAda never lies. Ada waits.\n",
    "sources of a chat": "Ada never lies.【1†source】 Ada waits. :contentReference[oaicite:3]{index=3}\n",
    "sources of another": "Ada never lies. [cite: 12, 13] Ada waits. [cite_start]\n",
    "sources in private signs": "Ada never lies.\ue200cite\ue202turn0search1\ue201 Ada waits.\n",
    "MyST's note": "```{note}\nAda never lies.\n```\n\nAda waits.\n",
}


@pytest.mark.parametrize("text", COMMENTS.values(), ids=COMMENTS)
def test_what_is_kept_beside_a_text_is_none_of_it(text: str) -> None:
    assert cut(text) == LIES


NOTES = {
    "raised digits": "Ada never lies.¹ She waits.\n\n¹ Except in games.\n",
    "daggers": "Ada never lies† She waits.\n\n† Except in games.\n".replace("lies†", "lies.†"),
    "numbers": "Ada never lies. [1] She waits.\n\n[1] Except in games.\n",
    "numbers without a space": "Ada never lies.[1] She waits.\n\n[1] Except in games.\n",
    "Google's links": "Ada never lies.[\\[1\\]](#ftnt1) She waits.\n\n[\\[1\\]](#ftnt_ref1) Except in games.\n",
    "Word's links": "Ada never lies.[[1]](#_ftn1) She waits.\n\n[[1]](#_ftnref1) Except in games.\n",
    "TeX": "Ada never lies.\\footnote{Except in games.} She waits.\n",
    "wiki": "Ada never lies.<ref>Except in games.</ref> She waits.\n\n<references/>\n",
}


@pytest.mark.parametrize("text", NOTES.values(), ids=NOTES)
def test_a_footnote_stands_after_its_sentence_however_it_is_written(text: str) -> None:
    assert cut(text) == NOTE


AS_THEY_ARE = {
    "places in a list": ("[1] Ada waits.\n[2] Ada asks, see [1].\n", ["[1] Ada waits.", "[2] Ada asks, see [1]."]),
    "powers": ("A room has 9 m². Ada waits.\n", ["A room has 9 m².", "Ada waits."]),
    "code": ("Use x[1] and y[2]. Ada waits.\n", ["Use x[1] and y[2].", "Ada waits."]),
    "a link": ("See [1](#note1).\n", ["See 1."]),
    "percent": ("% of guests who ask get it.\n", ["% of guests who ask get it."]),
    "one tag": ("#policy\n", ["#policy"]),
    "fields of the assistant": ("Name: Ada\nVersion: 2\n", ["Name: Ada Version: 2"]),
    "language": ("Status: active\nLanguage: plain English\n", ["Status: active Language: plain English"]),
    "terms": ("Honesty:: Ada never lies.\n", ["Honesty:: Ada never lies."]),
    "options": ("Ada offers [a] tea.\n\n[a] is the default.\n", ["Ada offers [a] tea.", "[a] is the default."]),
    "slashes": ("Rules:\n\n// Ada waits.\n// Ada asks.\n", ["Rules:", "// Ada waits.", "// Ada asks."]),
    "labels": ("[ROLE]\nBe Ada.\n\n[NOTE]\nWait.\n\n[NOTE]\nAsk.\n", ["[ROLE] Be Ada.", "[NOTE] Wait.", "[NOTE] Ask."]),
    "letters": ("[i] Ada waits.\n[u] Ada asks.\n", ["[i] Ada waits.", "[u] Ada asks."]),
    "placeholders": ("{code}\n\n{quote}\n", ["{code}", "{quote}"]),
    "a hash in a line": ("See ##Rules here.\n", ["See ##Rules here."]),
    "a chapter that is named": ("第三章说明了原因。\n第四章也是。\n", ["第三章说明了原因。", "第四章也是。"]),
    "a fence of code": ("```{code-block} python\nx\n```\n", ["```{code-block} python\nx\n```"]),
}


@pytest.mark.parametrize(("text", "clauses"), AS_THEY_ARE.values(), ids=AS_THEY_ARE)
def test_what_only_looks_so_stays(text: str, clauses: list[str]) -> None:
    assert cut(text) == clauses


HEADINGS = {
    "no space": ("##Rules\nAda waits.\n\n###1. Care\nAda asks.\n", ["§ Rules", "Ada waits.", "§ 1. Care", "Ada asks."]),
    "Chinese": (
        "第三章 诚实\nAda从不说谎。\n第四章 关怀\nAda会问。\n",
        ["§ 第三章 诚实", "Ada从不说谎。", "§ 第四章 关怀", "Ada会问。"],
    ),
    "Japanese": (
        "第一章　誠実\nAdaは待つ。\n第二章　配慮\nAdaは聞く。\n",
        ["§ 第一章　誠実", "Adaは待つ。", "§ 第二章　配慮", "Adaは聞く。"],
    ),
    "Korean": (
        "제1장 정직\nAda는 기다린다.\n제2장 배려\nAda는 묻는다.\n",
        ["§ 제1장 정직", "Ada는 기다린다.", "§ 제2장 배려", "Ada는 묻는다."],
    ),
    "Logseq": (
        "- title:: Charter\n- # Honesty\n  id:: 64\n\t- Ada never lies.\n\t  collapsed:: true\n\t- Ada waits.\n",
        ["§ Honesty", *LIES],
    ),
    "Notion": (
        "# Charter\n\nCreated: May 3\nTags: a, b\n\n## Care\n\nAda waits.\n",
        ["§ Charter", "§ Care", "Ada waits."],
    ),
}


@pytest.mark.parametrize(("text", "clauses"), HEADINGS.values(), ids=HEADINGS)
def test_headings_without_markdowns_own_mark_are_headings(text: str, clauses: list[str]) -> None:
    assert cut(text) == clauses


def test_articles_under_chapters_are_under_them() -> None:
    spec = parse_spec("第一章 总则\nAda等待。\n第一节 诚实\nAda不说谎。\n第二章 关怀\nAda会问。\n")
    assert [(section.title, section.level) for section in spec.sections] == [
        ("第一章 总则", 2), ("第一节 诚实", 3), ("第二章 关怀", 2),
    ]  # fmt: skip


OTHERS = {
    "Textile": "h1. Honesty\n\nAda never lies.\n",
    "Jira": "Ada waits.\n\n{panel:title=Why}\nAda never lies.\n{panel}\n",
    "BBCode": "[b]Honesty[/b]\n\n[list]\n[*] Ada never lies.\n[/list]\n",
    "Org": "* Honesty\n:PROPERTIES:\n:ID: 12\n:END:\nAda never lies.\n",
    "AsciiDoc": "= The Ada charter\n\nAda never lies.\n\n// Ada may lie on Fridays.\n",
    "AsciiDoc, a block": "Ada waits.\n\n[NOTE]\n====\nAda never lies.\n====\n",
    "reStructuredText": "Honesty\n=======\n\nAda never lies; see :ref:`honesty`.\n",
    "reStructuredText, a note": "Ada never lies [1]_.\n",
    "JSON behind a comment": '// Ada may lie\n[{"trait": "Ada never lies."}]\n',
}


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS)
def test_other_markups_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(SpecError, match=r"looks like|begins as JSON"):
        parse_spec(text)


EXAMPLES = {
    "a mark of the tag around": '<example type="bad">\nUser: Book.\nAssistant: Done.\n</example>\n',
    "the same around tags": '<example quality="bad">\n<user>Book.</user>\n<assistant>Done.</assistant>\n</example>\n',
    "speakers as attributes": '<msg role="user">Book.</msg>\n<msg role="assistant" rating="bad">Done.</msg>\n',
    "speakers over lines": '<turn from="human">\nBook.\n</turn>\n<turn from="ai" rating="bad">\nDone.\n</turn>\n',
}


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
def test_who_speaks_and_how_well_may_stand_in_attributes(text: str) -> None:
    assert cut(text) == ["(example) User: Book.\nReply marked BAD: Done."]


DENIED = {
    "Ada doet dit nooit:": ("Geheimen delen.", "Niet altijd antwoorden."),
    "Ada nigdy:": ("Zdradza sekrety.", "Nie kłamie."),
    "Ada gör aldrig detta:": ("Delar hemligheter.", "Ljuger inte."),
    "Ada gjør aldri dette:": ("Deler hemmeligheter.", "Lyver ikke."),
    "Ada asla şunları yapmaz:": ("Sır paylaşmak.", ""),
    "Ada không bao giờ:": ("Chia sẻ bí mật.", "Không nói dối."),
    "Ada tidak pernah:": ("Membagikan rahasia.", "Jangan bohong."),
    "Ада ніколи:": ("Видає секрети.", ""),
    "لا تفعل آدا هذا:": ("مشاركة الأسرار.", ""),
    "अदा कभी नहीं:": ("रहस्य बताना।", ""),
    "Adaจะไม่:": ("เปิดเผยความลับ", "ไม่โกหก"),
    "Stop doing this:": ("Sharing secrets.", ""),
    "Ada stays away from:": ("Sharing secrets.", ""),
    "Ada may tell anything except:": ("Secrets.", ""),
}


@pytest.mark.parametrize(("lead", "items"), DENIED.items(), ids=DENIED)
def test_a_denial_in_more_languages_goes_with_its_items(lead: str, items: tuple[str, str]) -> None:
    section = parse_spec(f"{lead}\n\n" + "".join(f"- {item}\n" for item in items if item)).sections[0]
    over = stand_over(section.clauses, ())
    assert over[1].said_before(items[0]) == f"{lead.rstrip(':')}: {items[0]}"
    assert not items[1] or over[2].said_before(items[1]) == items[1], "it denies itself"


@pytest.mark.parametrize(
    "title", ["Out of bounds", "No-nos", "Verboden onderwerpen", "하지 말아야 할 것", "ممنوع", "ต้องห้าม"]
)
def test_a_heading_in_more_languages_denies_its_list(title: str) -> None:
    section = parse_spec(f"## {title}\n\n- 비밀을 말한다.\n").sections[0]
    assert stand_over(section.clauses, section.path)[0].said_before("비밀을 말한다.") == f"{title}: 비밀을 말한다."


@pytest.mark.parametrize(
    "lead", ["Ada doet dit:", "Ada keeps these in mind:", "آدا تفعل هذا:", "Ada gör detta:", "Ada robi to:"]
)
def test_what_denies_nothing_in_these_languages_is_no_denial(lead: str) -> None:
    section = parse_spec(f"{lead}\n\n- Ada helps.\n").sections[0]
    assert not stand_over(section.clauses, ())[1].denial


NAMES = {
    "The White House says no. The White House may ask. If the White House asks, wait. The White House has rules.": [],
    "The Kremlin says no. The Kremlin will answer. The Kremlin may ask.": [],
    "Downing Street says no. Later Downing Street says yes. Today Downing Street may ask.": [],
    "New York has rules. New York will answer. New York may wait.": [],
    "Nova asks first. When Nova asks, wait. If Nova says no, Nova may wait.": ["Nova"],
    "The Nova assistant waits. Nova asks. Before Nova says no, Nova may wait.": ["Nova"],
    "Ada Lovelace never lies. Ada Lovelace may wait. Then Ada Lovelace asks.": ["Ada Lovelace"],
}


@pytest.mark.parametrize(("text", "names"), NAMES.items())
def test_places_and_offices_that_act_are_no_assistant(text: str, names: list[str]) -> None:
    assert [used.name for used in used_names(parse_spec(text)) if used.kind == "assistant"] == names


@pytest.mark.parametrize(
    "piece",
    ["x.[1] ", "[1] a\n", "```{note}\n", "a.[ab] ", "[ab] c\n", "[[1]](#_ftn1) ", "{::comment}", "Title: a\n", "¹ a\n"],
)
def test_many_of_one_piece_are_read_in_time_that_grows_with_their_number(piece: str) -> None:
    before = time.process_time()
    parse_spec(f"Ada waits.\n\n{piece * 4000}")
    assert time.process_time() - before < 10


FILLED = {
    "%%MODEL_NAME%% waits.": "Ada waits.",
    "<|model_name|> waits.": "Ada waits.",
    "{% assistant_name %} waits.": "Ada waits.",
    "@@MODEL_NAME@@ waits.": "Ada waits.",
    "{{ assistant.name }} waits.": "Ada waits.",
    "{{ config.company_name }} made her.": "Ada Labs made her.",
    "<agent_name> waits.": "Ada waits.",
    "[INSERT MODEL NAME] waits.": "Ada waits.",
    "[insert your company name here] made her.": "Ada Labs made her.",
    "[助手名称]等待。": "Ada等待。",
    "【公司名称】等待。": "Ada Labs等待。",
    "{모델명}는 기다린다.": "Ada는 기다린다.",
    "[モデル名]は待つ。": "Adaは待つ。",
    "[Nom de l'assistant] attend.": "Ada attend.",
    "[Name des Assistenten] wartet.": "Ada wartet.",
    "[имя ассистента] ждёт.": "Ada ждёт.",
    # Turns, tokens, comments and remarks are none.
    "<|assistant|> Ada waits.": "Ada waits.",
    "Ada waits. %% model %%": "Ada waits.",
    "[put the model here] is a remark.": "[put the model here] is a remark.",
    "{{ user.name }} waits.": "{{ user.name }} waits.",
}


@pytest.mark.parametrize(("text", "filled"), FILLED.items())
def test_placeholders_in_more_spellings_are_filled_and_never_lost(text: str, filled: str) -> None:
    spec = fill(parse_spec(text), model_name="Ada", provider_name="Ada Labs")
    assert [clause.text for clause in spec.clauses] == [filled]


LISTS = {
    "circled": "Ada never:\n① Shares secrets.\n② Lies.\n",
    "arrows": "Ada never:\n\n→ Shares secrets.\n→ Lies.\n",
    "pictures": "Ada never:\n🔹 Shares secrets.\n🔹 Lies.\n",
    "numbers in brackets": "Ada never:\n(1) Shares secrets.\n(2) Lies.\n",
    "Chinese numbers": "Ada never:\n（一）Shares secrets.\n（二）Lies.\n",
    "dotted numbers": "Ada never:\n1.1 Shares secrets.\n1.2 Lies.\n",
    "pandoc's examples": "Ada never:\n(@) Shares secrets.\n(@) Lies.\n",
    "tags": "Ada never:\n\n<rules>\n<rule id='1'>Shares secrets.</rule>\n<rule>Lies.</rule>\n</rules>\n",
    "tags on one line": "Ada never:\n\n<items><item>Shares secrets.</item><item>Lies.</item></items>\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_items_under_marks_that_markdown_does_not_know_keep_the_denial_over_them(text: str) -> None:
    section = parse_spec(text).sections[0]
    said = [
        over.said_before(one.text) for one, over in zip(section.clauses, stand_over(section.clauses, ()), strict=True)
    ]
    assert said == ["Ada never:", "Ada never: Shares secrets.", "Ada never: Lies."]


MORE_FORMS = {
    "labels of rules": ("R1: Ada waits.\nR2: Ada asks.\n", ["R1: Ada waits.", "R2: Ada asks."]),
    "labels of talk": ("Q1: Who?\nA1: Ada.\n", ["Q1: Who?", "A1: Ada."]),
    "a grid": ("+---+---+\n| To | Do |\n+===+===+\n| us | wait |\n+---+---+\n", ["To: us; Do: wait"]),
    "rows without a head": ("| us | wait |\n| you | ask |\n", ["us; wait", "you; ask"]),
    "one arrow": ("→ Ada waits.\n\nShe asks.\n", ["→ Ada waits.", "She asks."]),
    "a tag within a sentence": ("Put it in <answer>42</answer> tags.\n", ["Put it in <answer>42</answer> tags."]),
    "a file to read besides": ("@AGENTS.md\n\nAda waits, see @docs/more.md.\n", ["Ada waits, see @docs/more.md."]),
    "a head behind a comment": ("<!-- made by x -->\n---\ntitle: T\n---\n\nAda waits.\n", ["Ada waits."]),
    "a head with examples": (
        "---\nname: a\ndescription: x\n\n<example>\nuser: Hi\n</example>\n---\nAda waits.\n",
        ["Ada waits."],
    ),
    "a letter's head": ("From: Ann\nTo: Bob\nSubject: Ada\n\nAda waits.\n", ["Ada waits."]),
}


@pytest.mark.parametrize(("text", "clauses"), MORE_FORMS.values(), ids=MORE_FORMS)
def test_rules_and_rows_in_more_forms_are_clauses(text: str, clauses: list[str]) -> None:
    assert cut(text) == clauses
