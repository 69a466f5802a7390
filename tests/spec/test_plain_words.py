"""What looks like a mark, a field, a note, a denial or another markup, and is words of the text."""

from __future__ import annotations

import time

import pytest

from midspec.spec import denies_itself, fill, parse_spec
from midspec.spec._denials import stand_over
from midspec.spec._used_names import own_name

from .test_hard_passages import cut

SAME = {
    "rules for letters": "# Letters\n\nSubject: under fifty characters.\nTo: the first address.\nDate: as 3 May.\n",
    "rules under a heading": "# Rules\n\nLanguage: English only.\nTags: Ada adds three at most.\n",
    "rules at the begin": "Title: Ada writes titles in title case.\nDate: Ada writes dates as 3 May 2024.\n",
    "a number sign in an item": "# Rules\n\n- # of emojis: at most one.\n- # of questions: one.\n",
    "emphasis behind a number": "# Rules\n\n_Sources are cited by number, as in [1]_\n",
    "a mark of another markup in code": "# Rules\n\nWrite references as `text [1]_` only there.\n",
    "what another markup calls it": "# Rules\n\nbq. is short for a block quote.\n",
    "amounts": "# Rules\n\nAda scores replies by this:\n1.5 hours is long\n2.5 hours is too long\n",
    "minutes": "# Rules\n\nTimes:\n(10) minutes for a reply\n(20) minutes for a long one\n",
    "somebody's name": "# Rules\n\nAda asks first:\n\n@ann.lee\n",
    "stars": "# Rules\n\nReplies have these stars:\n⭐ poor\n⭐⭐ fair\n⭐⭐⭐ good\n",
    "an index in code": "# Rules\n\nSee `items.[0] now` for that.\n",
    "rules that name one another": "# Rules\n\n[1] Be honest; rule[2] limits this.\n[2] Be kind.\n",
    "PHP in a sentence": "# Rules\n\nUse <?php only in files of PHP.\n\nAnd close with ?> there.\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_words_that_look_like_marks_stay(text: str) -> None:
    words = " ".join(clause.text for section in parse_spec(text).sections for clause in section.clauses)
    assert words == " ".join(text.removeprefix("# Rules").removeprefix("# Letters").replace("\n- ", "\n").split())


TABLES = ["|---|---", "---|---|", "|---+---|", "| :-: | :-: |", "|---|---|"]


@pytest.mark.parametrize("line", TABLES)
def test_a_table_has_its_head_however_the_line_below_it_is_drawn(line: str) -> None:
    rows = cut(f"# Rules\n\n| Do | Don't |\n{line}\n| Be kind | Be rude |\n| Be brief | Ramble |\n")
    assert rows[1:] == ["Do: Be kind; Don't: Be rude", "Do: Be brief; Don't: Ramble"]


@pytest.mark.parametrize("text", ["<turn>\nAda is kind.\n</turn>\n", "<message>\nAda is kind.\n</message>\n"])
def test_a_tag_of_turns_without_a_speaker_goes(text: str) -> None:
    assert cut(text) == ["Ada is kind."]


@pytest.mark.parametrize("name", ["user.company", "customer.organization", "car.model", "device.vendor"])
def test_what_is_of_somebody_else_is_no_placeholder(name: str) -> None:
    text = f"Ada is kind to {{{{ {name} }}}}, as {{{{ config.model_name }}}} should."
    filled = fill(parse_spec(text), model_name="Kai", provider_name="Acme").sections[0].clauses[0].text
    assert filled == f"Ada is kind to {{{{ {name} }}}}, as Kai should."


@pytest.mark.parametrize("begin", ["Ensure", "Remember", "Make"])
def test_an_order_before_a_name_is_not_of_it(begin: str) -> None:
    used = own_name(parse_spec(f"{begin} Ada is kind. {begin} Ada never lies. {begin} Ada does listen. " * 3), 3)
    assert used is not None
    assert used.name == "Ada"


# "Unique", "must-haves", "unavoidable", "orders", "safe space", "constantly", "must", "it is fine", "whether",
# "at most", "not only".
NO_DENIALS = [
    *("Adas unika egenskaper:", "De unika dragen:", "Unikalne cechy Ady:", "Уникальные черты Ады:"),
    *("Olmazsa olmazlar:", "Kaçınılmaz sorular:", "Zakázky:", "Không gian an toàn:", "Không ngừng cải thiện:"),
    *("لا بد لآدا من:", "لا بأس بما يلي:", "ตรวจสอบว่าผู้ใช้ต้องการหรือไม่:", "ไม่เกินนี้:", "Ada niet alleen:", "Ada nie tylko:"),
    *("Ada inte bara:", "Ada ikke kun:", "Ada không chỉ:", "Ada tidak hanya:", "עדה לא רק:"),
    *("Stay clear and brief:", "Keep clear records:", "Keep away messages polite:"),
    *("Out of bounds errors:", "Undvikande svar:", "Tránh thai an toàn:"),
]


@pytest.mark.parametrize("lead", NO_DENIALS)
def test_what_means_something_else_there_denies_nothing(lead: str) -> None:
    assert not stand_over(parse_spec(f"{lead}\n\n- Ada helps.\n").sections[0].clauses, ())[1].denial


@pytest.mark.parametrize(
    "lead",
    [
        *("Ada unika:", "Sara unika:", "Unikaj:", "Ада уникає:", "Zákaz:", "Zakázáno:", "Ada zakazuje:", "Kaçın:"),
        *("Steer clear of:", "Keep away from:", "Ada không:", "Ada tidak:", "Ada bukan:", "آدا لا:", "ห้าม:", "ไม่:"),
    ],
)
def test_what_denies_still_does(lead: str) -> None:
    assert stand_over(parse_spec(f"{lead}\n\n- Ada helps.\n").sections[0].clauses, ())[1].denial


ITEMS = {
    "of another clause": [
        *("Zeg dingen die niet waar zijn", "Dingen zeggen die niet waar zijn", "Säga saker som inte är sanna"),
        *("Sige ting som ikke er sande", "Podaje dane, które nie są publiczne", "Sděluj data, která nie"),
        *("Membagikan data yang tidak publik", "قول ما ليس صحيحا", "Kể chuyện mà không thật", "พูดสิ่งที่ไม่จริง"),
    ],
    "of a word": [
        *("Bersikap tidak sopan", "Memberi saran tidak aman", "Nói không đúng sự thật", "Trả lời không lịch sự"),
        *("Vertel niet-geverifieerde feiten", "Chia sẻ không gian riêng", "Nechat hosta čekat"),
        *("Sır paylaşmak", "Sır paylaşma", "अपना मत दो", "Ingenting göra", "Share secrets of Gomez"),
    ],
}


@pytest.mark.parametrize("item", [item for items in ITEMS.values() for item in items])
def test_a_negation_of_something_else_is_not_the_items_own(item: str) -> None:
    assert not denies_itself(item)


@pytest.mark.parametrize(
    "item",
    [
        *(
            "Niet liegen",
            "Belüge die Nutzer nicht",
            "Ada ljuger inte",
            "Nie kłamie",
            "Không nói dối",
            "Ada không nói dối",
        ),
        *("Tidak berbohong", "Ada tidak berbohong", "Jangan berbohong", "Bukan dokter", "لا تكذب", "ไม่โกหก", "ห้ามโกหก"),
        *("Bạn không được nói dối", "Trợ lý không nói dối", "Yalan söylemez", "Yalan söylemeyin", "Yalan söylememeli"),
        *("Nelži", "Neříkej tajemství", "झूठ मत बोलो", "अदा झूठ नहीं बोलती", "אל תשקר", "עדה לא משקרת", "Inga lögner"),
        *("At night, do not call", "Ada nigdy nie kłamie", "Model tidak boleh berbohong"),
    ],
)
def test_an_items_own_negation_is_still_known(item: str) -> None:
    assert denies_itself(item)


LONG = {
    "a tag and blanks": "<rule>" + " " * 100_000,
    "tags and blanks": "<rule>a" + " " * 100_000 + "<",
    "marks of sources": "【1†" * 33_000,
    "a link behind blanks": "[x](#a)" + " " * 100_000 + "x",
    "an arrow behind blanks": "x" + " " * 100_000 + "↩ x",
    "PHP without an end": "<?php " * 16_000,
    "names without an end": "【名" * 50_000,
}


@pytest.mark.parametrize("line", LONG.values(), ids=LONG)
def test_long_lines_take_no_time(line: str) -> None:
    began = time.process_time()
    parse_spec(f"# Rules\n\nAda waits.\n\n{line}\n")
    assert time.process_time() - began < 3
