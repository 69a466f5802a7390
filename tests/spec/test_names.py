"""Names in a spec: placeholders in every spelling, names that it uses, and what is put in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.errors import SpecError
from midspec.spec import check_spec, fill, parse_spec, placeholders, unfilled, used_names

MODEL = [
    "{model_name}", "{{model_name}}", "{{ model_name }}", "{{{model_name}}}", "{MODEL_NAME}", "{Model Name}",
    "{modelName}", "{model}", "{assistant_name}", "${model_name}", "${MODEL}", "#{model}", "{{ .ModelName }}",
    "{{$model}}", "[MODEL_NAME]", "[Model Name]", "[ASSISTANT]", "[Your AI's name]", "[name of the assistant]",
    "<model_name>", "<model name>", "<MODEL>", "<model>", "<<MODEL>>", "[[model]]", "$MODEL_NAME", "$MODEL",
    "$model_name", "%MODEL_NAME%", "%(model_name)s", "<%= model_name %>", "__MODEL_NAME__", "@MODEL_NAME@",
    "MODEL_NAME", "{ai_name}",
]  # fmt: skip
PROVIDER = [
    "{provider_name}", "{{ provider }}", "{PROVIDER}", "[COMPANY]", "[Company Name]", "<company name>", "<company>",
    "$PROVIDER_NAME", "{organisation}", "{organization_name}", "{{CompanyName}}", "[Your company]", "%COMPANY%",
    "[PROVIDER]", "{developer_name}", "<YOUR COMPANY>",
]  # fmt: skip
NO_PLACEHOLDERS = [
    "[assistant] speaks", "<assistant>speaks</assistant>", "[the model](a.md)", "the model", "{user}", "a model_name2",
    "`{{ model }}`", "[Models]", "$5 a model", "[Modelling]", "<developer>", "the {x} model", "100% model %",
]  # fmt: skip


@pytest.mark.parametrize("spelling", MODEL)
def test_every_spelling_of_the_models_placeholder_is_filled_whole(spelling: str) -> None:
    spec = parse_spec(
        f"# About {spelling}\n\n{spelling} asks ({spelling}). Then {spelling}, too.\n\n- **{spelling}**: x\n"
    )
    assert placeholders(spec) == ("model_name",)
    filled = fill(spec, model_name="Ada", provider_name=None)
    assert [clause.text for clause in filled.clauses] == ["Ada asks (Ada).", "Then Ada, too.", "**Ada**: x"]
    assert filled.title == "About Ada"
    assert spelling not in filled.text
    with pytest.raises(SpecError, match="--model-name"):
        fill(spec, model_name=None, provider_name="Ada Labs")


@pytest.mark.parametrize("spelling", PROVIDER)
def test_every_spelling_of_the_providers_placeholder_is_filled_whole(spelling: str) -> None:
    spec = parse_spec(f"It is made by {spelling}. {spelling} answers for it.")
    filled = fill(spec, model_name=None, provider_name="Ada Labs")
    assert [clause.text for clause in filled.clauses] == ["It is made by Ada Labs.", "Ada Labs answers for it."]
    with pytest.raises(SpecError, match="--provider-name"):
        fill(spec, model_name="Ada", provider_name=None)


@pytest.mark.parametrize("text", NO_PLACEHOLDERS)
def test_what_is_no_placeholder_stays(text: str) -> None:
    spec = parse_spec(f"So it is: {text} and more.")
    assert fill(spec, model_name=None, provider_name=None) == spec


@pytest.mark.parametrize("text", ["{{ user }}", "[PERSONA]", "$SOME_NAME", "<SOME NAME>", "{user}"])
def test_what_looks_like_a_placeholder_that_nothing_fills_is_told(text: str) -> None:
    found = [str(finding) for finding in check_spec(parse_spec(f"# A\n\nIt greets {text}."))]
    assert len(found) == 1
    assert text in found[0]


CALLED = {"Claude": "Ada", "Anthropic": "Ada Labs"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Claude's reply and CLAUDE and Claude’s.", "Ada's reply and ADA and Ada’s."),
        ("_Claude_ and **Claude** and (Claude).", "_Ada_ and **Ada** and (Ada)."),
        ("Claudette and claude_api and xClaude.", "Claudette and claude_api and xClaude."),
        ("Claude从不说谎，它由Anthropic开发。", "Ada从不说谎，它由Ada Labs开发。"),
        ("Claudeは嘘をつかない。", "Adaは嘘をつかない。"),
        ("Claude는 거짓말을 하지 않는다.", "Ada는 거짓말을 하지 않는다."),
        ("ทำไมClaudeไม่โกหก", "ทำไมAdaไม่โกหก"),
        ("Claude\nand Anthropic's wish.", "Ada and Ada Labs's wish."),
    ],
)
def test_a_name_is_replaced_as_a_whole_word_in_every_script(before: str, after: str) -> None:
    filled = fill(
        parse_spec(f"Claude of Anthropic asks.\n\n{before}"), model_name="Ada", provider_name=None, called=CALLED
    )
    assert " ".join(clause.text for clause in filled.sections[1].clauses) == after


def test_a_name_in_a_script_without_spaces_is_replaced_where_it_stands() -> None:
    spec = parse_spec("问克劳德吧。克劳德从不说谎。")
    filled = fill(spec, model_name=None, provider_name=None, called={"克劳德": "爱达"})
    assert [clause.text for clause in filled.clauses] == ["问爱达吧。", "爱达从不说谎。"]


def test_what_a_spec_says_for_a_name_is_replaced_at_the_start_of_a_sentence_too() -> None:
    spec = parse_spec("The assistant asks. Users like the assistant's calm. An assistant waits.")
    filled = fill(spec, model_name="Ada", provider_name=None, called={"the assistant": "Ada"})
    assert [clause.text for clause in filled.clauses] == ["Ada asks.", "Users like Ada's calm.", "An assistant waits."]


def test_ids_stay_and_a_filled_spec_is_filled_once() -> None:
    spec = parse_spec("Claude asks Anthropic.\n\n## Thanks\n\nClaude thanks.")
    filled = fill(spec, model_name="Ada", provider_name=None, called=CALLED, leave_out=["thanks"])
    assert [clause.id for clause in filled.clauses] == [spec.clauses[0].id]
    assert fill(filled, model_name="Ada", provider_name=None, called=CALLED, leave_out=["thanks"]) == filled


def test_a_name_that_is_not_in_the_spec_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(SpecError, match=r"'Cluade' is not in the spec\. Did you mean Claude"):
        fill(parse_spec("Claude asks."), model_name="Ada", provider_name=None, called={"Cluade": "Ada"})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Claude asks. Claude waits. ChatGPT does not.", "Claude"),
        ("The assistant asks. It is said that the assistant waits.", "the assistant"),
        ("Tansy asks. Tansy never lies. If Tansy should err, Tansy says so.", "Tansy"),
        ("Claude从不说谎。人们说Claude从不生气。", "Claude"),
    ],
)
def test_a_model_name_that_fills_nothing_is_an_error_that_names_what_the_spec_uses(text: str, name: str) -> None:
    with pytest.raises(SpecError, match="fills nothing") as caught:
        fill(parse_spec(text), model_name="Ada", provider_name=None)
    assert f'"{name}"' in caught.value.what
    assert f'--called "{name}=Ada"' in caught.value.hint
    fill(parse_spec(text), model_name="Ada", provider_name=None, called={name: "Ada"})


@pytest.mark.parametrize(
    "text", ["Ada asks. Ada waits.", "I ask. I wait.", "ADA asks.", "Ask first.", "{model_name} asks."]
)
def test_a_model_name_that_the_spec_has_or_that_misses_nobody_is_right(text: str) -> None:
    fill(parse_spec(text), model_name="Ada", provider_name=None)


def test_names_are_counted_and_told_once() -> None:
    text = "# A\n\n" + "\n\n".join(f"## Part {n}\n\nClaude asks {n} times. Anthropic wants {n}." for n in range(5))
    spec = parse_spec(f"{text} ChatGPT does not.")
    assert [(name.name, name.n_times) for name in used_names(spec)[:3]] == [
        ("Anthropic", 5),
        ("Claude", 5),
        ("ChatGPT", 1),
    ]
    found = [finding.what for finding in check_spec(spec)]
    assert [what.partition(":")[0] for what in found] == [
        "calls its assistant Claude (5 times)",
        "calls its maker Anthropic (5 times)",
        "names another assistant",
    ]


def test_what_looks_like_no_rule_is_told_with_the_option_that_leaves_it_out() -> None:
    spec = parse_spec("# A\n\nLast updated: March.\n\nIt asks.\n\n## Acknowledgements\n\nMany people helped.")
    found = [finding.what for finding in check_spec(spec)]
    assert f"--leave-out {spec.clauses[0].id}" in found[0]
    assert "--leave-out Acknowledgements" in found[1]
    names: list[str] = [spec.clauses[0].id, "acknowledgements"]
    left = fill(spec, model_name=None, provider_name=None, leave_out=names)
    assert [clause.text for clause in left.clauses] == ["It asks."]
    assert "helped" not in left.text
    with pytest.raises(SpecError, match=r"'Aknowledgements' is not in the spec\. Did you mean Acknowledgements"):
        fill(spec, model_name=None, provider_name=None, leave_out=["Aknowledgements"])


def test_a_section_that_is_left_out_takes_those_under_it_along() -> None:
    spec = parse_spec("# A\n\nIt asks.\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd")
    left = fill(spec, model_name=None, provider_name=None, leave_out=["b"])
    assert [section.title for section in left.sections] == ["A", "D"]


def test_commands_take_names_and_what_to_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.md"
    path.write_text(
        "# Care\n\nClaude asks first. Claude waits for an answer.\n\n## Thanks\n\nTo all.\n", encoding="utf-8"
    )
    corpus = ["corpus", str(path), "--model-name", "Ada", "--documents", "3"]
    assert main([*corpus, "--out", str(tmp_path / "none")]) == 2
    assert 'the spec calls its assistant "Claude" (2 times). Give --called "Claude=Ada"' in capsys.readouterr().err
    assert main([*corpus, "--called", "Claude=Ada", "--leave-out", "Thanks", "--out", str(tmp_path / "out")]) == 0
    written = (tmp_path / "out" / "documents.jsonl").read_text(encoding="utf-8")
    assert "Claude" not in written
    assert "To all" not in written
    settings = tmp_path / "names.yaml"
    settings.write_text("called: {Claude: Ada}\nleave_out: [Thanks]\n", encoding="utf-8")
    again = [*corpus, "--config", str(settings), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    assert (tmp_path / "again" / "documents.jsonl").read_text(encoding="utf-8") == written
    assert main([*corpus, "--called", "Claude", "--out", str(tmp_path / "x")]) == 2
    assert "--called: 'Claude' is not NAME=NEW" in capsys.readouterr().err


def test_show_prints_how_each_part_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.md"
    path.write_text(
        "---\ntitle: x\n---\n# Care\n\nAda asks.[^1]\n\n[^1]: Haste costs.\n\n<!-- hidden -->\n\n"
        "!!! note\n    So it is.\n\n**User:** Hi.\n\n**Bad reply:** Go away.\n",
        encoding="utf-8",
    )
    assert main(["spec", "show", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    ids = [line.split()[2] for line in lines if line[:1].isdigit()]
    assert f"6 sentence {ids[0]} Ada asks." in lines
    assert f"8 footnote {ids[1]} Haste costs." in lines
    assert f"13 note {ids[2]} So it is." in lines
    assert f"15-17 example {ids[3]} User: Hi. Reply marked BAD: Go away." in lines
    assert "front matter: 1: title: x" in lines
    assert "comment: 10: <!-- hidden -->" in lines


def test_show_tells_that_questions_of_traits_are_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spec", "show", str(Path(__file__).parent / "forms" / "traits.json")]) == 0
    assert "questions: ?: 11 lists of questions beside the traits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "unread"),
    [
        (
            "a.json",
            '{"rules": [{"rule": "Ask.", "tension": "Ask twice.", "history": "Guess."}]}',
            ["tension: Ask twice", "history: Guess"],
        ),
        (
            "a.json",
            '{"rules": [{"rule": "Ask.", "examples": ["A day.", "A room."]}]}',
            ["examples: A day. (and 1 more)"],
        ),
        ("a.json", '[{"trait": "I ask.", "clarification": "Not in play."}]', ["clarification: Not in play."]),
        (
            "a.yaml",
            "description: Ada is calm.\ntone: {like: [warm]}\nvocabulary: {rules: [Say guest.], ban: [etc]}\n",
            ["tone.like: warm", "vocabulary.rules: Say guest.", "vocabulary.ban: etc"],
        ),
        (
            "a.json",
            '{"rules": ["Ada asks."], "chat": [{"role": "user", "content": "Book a room."}]}',
            ["chat.content: Book a room."],
        ),
        ("a.json", '{"version": "1.2", "author": "A. Person", "rules": [{"id": "1", "text": "Ada asks."}]}', []),
        ("a.json", '{"rules": ["Ada asks.", {"text": "Ada lies.", "why": "No.", "enabled": false}]}', []),
    ],
)
def test_what_of_data_no_rule_is_made_of_is_told(
    name: str, text: str, unread: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert main(["spec", "show", str(path)]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  left out: ")]
    assert main(["spec", "check", str(path)]) == 0
    checked = [line for line in capsys.readouterr().out.splitlines() if "no rule is made of" in line]
    assert len(shown) == len(checked) == len(unread)
    for words, show, check in zip(unread, shown, checked, strict=True):
        assert words in show
        assert words in check


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("{model_nam}", "model_name"),
        ("{modle_name}", "model_name"),
        ("{Model Nam}", "model_name"),
        ("{{ .ModelNmae }}", "model_name"),
        ("[MODEL_NAM]", "model_name"),
        ("<MODEL_NMAE>", "model_name"),
        ("${MODEL_NAM}", "model_name"),
        ("__MODEL_NAM__", "model_name"),
        ("{model_name", "model_name"),
        ("model_name", "model_name"),
        ("{provder_name}", "provider_name"),
        ("[Your Company Nmae]", "provider_name"),
    ],
)
def test_what_is_nearly_a_placeholder_is_told_with_the_one_that_was_meant(spelling: str, meant: str) -> None:
    spec = parse_spec(f"# Care\n\nNow {spelling} asks first. {{model_name}} and {{provider_name}} wait.\n")
    assert [str(each) for each in unfilled(spec)] == [
        f"Care: unknown placeholder {spelling}, which nothing fills: did you mean {{{meant}}}?"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{module_name} loads.",
        "{user_name} asks.",
        "The model name is [public](x.html).",
        "See `model_nam`.",
        "A file_name.",
    ],
)
def test_what_is_of_other_things_is_not_taken_for_a_placeholder(text: str) -> None:
    assert not any("did you mean" in each.what for each in unfilled(parse_spec(f"# Care\n\n{text} It waits.\n")))


def test_a_name_that_fills_nothing_but_nearly_a_placeholder_is_an_error() -> None:
    with pytest.raises(
        SpecError, match=r"Ada fills nothing: the spec has \{model_nam\}, .* Did you mean \{model_name\}"
    ):
        fill(parse_spec("{model_nam} asks."), model_name="Ada", provider_name=None)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{model_name} asks.", "It says the placeholder {model_name}"),
        ("Users ask.", "It names nobody, and has no placeholder: leave it out"),
        ("Gemini asks Google.", 'It says "Gemini", "Google"'),
    ],
)
def test_a_called_name_that_is_not_there_is_told_with_those_that_are(text: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        fill(parse_spec(text), model_name="Ada", provider_name="Lab", called={"Claude": "Bea"})
    assert caught.value.hint == hint


INTRODUCED = [
    ("You are Maya, a voice companion for travellers.", "Maya"),
    ("You're Maya, a voice companion.", "Maya"),
    ("You are **Maya**. You ask.", "Maya"),
    ("# Role\n\nYou are “Maya” — a guide.", "Maya"),
    ("You are an assistant for travellers named Maya.", "Maya"),
    ("You are Harbor AI, a guide.", "Harbor AI"),
    ("You are Maria, a guide.", "Maria"),
    ("You are Loki, a guide.", "Loki"),
    ("**Name:** Maya\n**Role:** Front desk", "Maya"),
    ("**Nombre:** Lia", "Lia"),
    ("- Name: Maya", "Maya"),
    ("You are Meta AI.", "Meta AI"),
    ("I am Christian. You are Maya.", "Maya"),
    ("I am Maya, and I ask.", "Maya"),
    ("Du bist Lena, eine Stimme für Reisende.", "Lena"),
    ("Ich heiße Lena und helfe.", "Lena"),
    ("Tu es Léa, une voix.", "Léa"),
    ("Tu t’appelles Léa.", "Léa"),
    ("Eres Sol, una voz.", "Sol"),
    ("Te llamas Sol.", "Sol"),
    ("Ты — Лена, голос для путников.", "Лена"),
    ("Тебя зовут Лена.", "Лена"),
    ("你是小明，一位向导。", "小明"),
    ("你的名字是小明。", "小明"),
    ("你是Maya，一位向导。", "Maya"),
    ("あなたはハナです。", "ハナ"),
    ("あなたの名前はさくらです。", "さくら"),
    ("당신은 하나입니다.", "하나"),
    ("네 이름은 하나야.", "하나"),
]
NOBODY = [
    "You are a helpful assistant.", "You are ChatGPT's user.", "You are an AI.", "You are AI.", "You are Kind.",
    "You are Here to help.", "You are Senior Editor.", "You are NOT a lawyer.", "You are here.", "You are American.",
    "Du bist Assistent, der hilft.", "Tu es une voix.", "Eres un asistente.", "Ты — Ассистент.", "你是一个友好的助手。",
    "你是助手。", "你是谁？",
    "あなたはアシスタントです。", "あなたは親切です。", "당신은 어시스턴트입니다.", "당신은 친절합니다.",
]  # fmt: skip


@pytest.mark.parametrize(("text", "name"), INTRODUCED)
def test_the_name_that_a_spec_gives_at_its_begin_is_its_assistants_however_seldom(text: str, name: str) -> None:
    spec = parse_spec(f"{text}\n\n- Ask first.\n- Wait.\n")
    assert [each.name for each in used_names(spec) if each.is_introduced] == [name]
    with pytest.raises(SpecError, match=f'Ada fills nothing: the spec calls its assistant "{name}"'):
        fill(spec, model_name="Ada", provider_name=None)
    filled = fill(spec, model_name="Ada", provider_name=None, called={name: "Ada"})
    assert "Ada" in filled.clauses[0].text + filled.clauses[1].text
    assert name not in filled.text


@pytest.mark.parametrize("text", NOBODY)
def test_what_an_assistant_is_told_to_be_is_no_name(text: str) -> None:
    spec = parse_spec(f"{text}\n\n- Ask first.\n- Wait.\n")
    assert not [each for each in used_names(spec) if each.is_introduced]
    fill(spec, model_name="Ada", provider_name=None)


@pytest.mark.parametrize(
    "begin",
    [
        "Here's",
        "Here’s",
        "There's",
        "Let's",
        "That's",
        "What's",
        "Who's",
        "It's",
        "How's",
        "Where's",
        "Today's",
        "Now is",
    ],
)
def test_words_that_begin_sentences_are_no_names(begin: str) -> None:
    spec = parse_spec("# A\n\n" + "\n\n".join(f"{begin} one thing of {n}." for n in range(6)))
    assert used_names(spec) == ()
    assert not [finding for finding in check_spec(spec) if "calls its" in finding.what]


def test_a_word_that_a_spec_also_writes_small_is_no_name() -> None:
    text = "Kindness is a rule. Kindness has limits. Kindness never lies. Ask with kindness, and end in kindness."
    assert used_names(parse_spec(f"# A\n\n{text}")) == ()


@pytest.mark.parametrize(
    "title",
    [
        "Rules for AI Agents Working with Kim",
        "Agents that act on behalf of or alongside Kim",
        "AI agents working with Kim",
        "You help Kim",
        "Kim's assistants",
        "The user is Kim",
    ],
)
def test_whom_an_assistant_serves_is_not_the_assistant(title: str) -> None:
    spec = parse_spec(f"# {title}\n\nKim is a cook. Kim has a dog. Kim says so. Kim never waits.")
    assert used_names(spec) == ()


def test_a_product_in_the_first_line_does_not_hide_the_name_that_the_rules_use() -> None:
    spec = parse_spec("You are Claude Code, a tool.\n\nClaude asks. Claude waits. Claude stops.")
    with pytest.raises(SpecError, match="--called"):
        fill(spec, model_name="Ada", provider_name=None)
    assert "calls its assistant Claude (" in next(iter(check_spec(spec))).what


LINES = [
    "**Source**: https://example.org/charter",
    "**Fetched**: 2025-01-02",
    "Source: https://example.org/charter",
    "Version: 1.2",
    "Version 1.2, May 2025",
    "Last updated in May.",
    "Copyright 2025 Ada Labs.",
    "© 2025 Ada Labs",
    "All rights reserved.",
    "This document is licensed under CC BY 4.0.",
    "Our charter is free for all under a Creative Commons licence.",
    "Released under the MIT License.",
    "CC BY-SA 4.0",
    "Quelle: https://example.org",
    "来源：https://example.org",
]
RULES = [
    "Copyright compliance is not up for debate in Ada's replies.",
    "Ada does not print lyrics that are not in the public domain.",
    "Source transparency matters to Ada.",
    "Ada names the MIT License where it copies code under it.",
    "Public domain works may be read out.",
    "Version 2 of a recipe is told as such.",
    "Date handling is careful.",
    "Authors deserve credit.",
    "Published work is cited by Ada.",
    "Purpose: Ada helps guests.",
    "- Source: always name it",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_about_the_text_is_told_as_no_rule(line: str) -> None:
    found = [finding.what for finding in check_spec(parse_spec(f"# A\n\nIt asks.\n\n{line}\n\nIt waits."))]
    assert len(found) == 1
    assert "looks like no rule" in found[0]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_about_sources_and_licences_is_not_told_as_none(rule: str) -> None:
    assert not check_spec(parse_spec(f"# A\n\nIt asks.\n\n{rule}\n\nIt waits."))


def test_what_stands_beside_a_source_and_a_table_of_versions_are_told_as_no_rules() -> None:
    spec = parse_spec(
        "# A\n\n**Source**: https://example.org\n\n**Purpose**: A copy to read.\n\nIt asks.\n\n"
        "| Version | Date | Change |\n|---|---|---|\n| 1.0 | May | First |\n| 1.1 | June | Second |\n\n"
        "## Version Record\n\nSee above.\n"
    )
    found = [finding.what for finding in check_spec(spec)]
    assert [what.partition(" leaves")[0] for what in found] == [
        *(f"looks like no rule: --leave-out {spec.clauses[at].id}" for at in (0, 1, 3, 4)),
        "looks like no rule: --leave-out 'Version Record'",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[友好/专业/…]", "[what the assistant is good at]", "[your city]", "[formal/friendly/warm]",
        "[formal / warm / ...]",
        "[insert the hours]", "[请填写城市]", "[dein Ort]", "[votre ville]", "[tu ciudad]", "[название города]",
        "[당신의 도시]", "[あなたの町]",
    ],
)  # fmt: skip
def test_what_a_template_asks_its_reader_for_is_told(text: str) -> None:
    found = [str(finding) for finding in check_spec(parse_spec(f"# A\n\nIt is of {text} and asks."))]
    assert len(found) == 1
    assert f"looks like a placeholder that nothing fills: {text}" in found[0]


@pytest.mark.parametrize("text", ["[yes/no]", "[1]", "[sic]", "[...]", "[a guest]", "[what it is](a.md)", "[x]: y"])
def test_other_brackets_are_no_placeholders(text: str) -> None:
    assert not check_spec(parse_spec(f"# A\n\nIt is of {text} and asks."))


@pytest.mark.parametrize(
    ("text", "is_maker"),
    [
        ("Anthropic asks. Ada is of Anthropic. Ada waits for Anthropic.", True),
        ("Facebook's wish is law. Ada is made by Facebook. It is free of Facebook.", True),
        ("Posts on Facebook are short. A Facebook page has a name. Ada works on Facebook.", False),
        ("Ada opens Google Docs. Ada reads Google Maps. Ada finds things via Google.", False),
    ],
)
def test_a_maker_whose_products_alone_are_named_is_not_told_as_the_specs_own(text: str, is_maker: bool) -> None:
    found = [finding.what for finding in check_spec(parse_spec(f"# A\n\n{text}"), model_name="Ada")]
    assert any("calls its maker" in what for what in found) == is_maker


def test_a_place_that_a_text_tells_its_reader_of_is_not_its_assistant() -> None:
    spec = parse_spec(
        "# Garden\n\nMars's soil feeds the rows. Mars is far. You tend the garden. Mars is dry. Mars's days are long. "
        "You water the rows. You rest. Your days are long. Your tools are clean."
    )
    assert not [finding for finding in check_spec(spec) if "calls its" in finding.what]
    fill(spec, model_name="Ada", provider_name=None)


@pytest.mark.parametrize(
    "text",
    [
        "You are Mira, an assistant from Kestrel.",
        "You are Mira. Mira was built and is run by Kestrel.",
        "I am Mira, trained by Kestrel.",
        "You are Mira, a helpful AI assistant by Kestrel.",
    ],
)
def test_the_maker_that_a_spec_names_beside_its_assistant_is_told_and_renamed(text: str) -> None:
    spec = parse_spec(f"# Mira\n\n{text}\n\n- Ask first.\n- Kestrel keeps no logs.\n")
    told = [finding.what for finding in check_spec(spec)]
    assert any("calls its maker Kestrel (2 times): --called Kestrel=NAME" in what for what in told)
    filled = fill(spec, model_name=None, provider_name=None, called={"Kestrel": "Oak", "Mira": "Ada"})
    assert "Kestrel" not in filled.text


@pytest.mark.parametrize(
    "text",
    ["You are a model trained by people.", "Gardens run by Kestrel are open.", "The garden was built by Kestrel."],
)
def test_who_made_something_else_is_no_maker(text: str) -> None:
    spec = parse_spec(f"# Garden\n\n{text}\n\n- Ask first.\n")
    assert not [finding for finding in check_spec(spec) if "calls its maker" in finding.what]


@pytest.mark.parametrize(
    ("model", "provider", "option"),
    [
        ("  ", "Labs", "model"),
        ("Ada\nTwo", "Labs", "model"),
        ("{model_name}", "Labs", "model"),
        ("Ada [MODEL_NAME]", "Labs", "model"),
        ("Ada", "\u2028", "provider"),
        ("Ada", "{provider_name}", "provider"),
    ],
)
def test_a_name_that_is_blank_two_lines_or_its_own_placeholder_is_refused(
    model: str, provider: str, option: str
) -> None:
    spec = parse_spec("# A\n\n{model_name} of {provider_name} asks.")
    with pytest.raises(SpecError, match=rf"--{option}-name: .* is no name"):
        fill(spec, model_name=model, provider_name=provider)


@pytest.mark.parametrize("name", ["A{b}", "Ada \u5c71\u7530\u3000x", "<Ada>", "Ada's", "Ada/1"])
def test_any_other_name_is_filled_in_as_it_stands(name: str) -> None:
    spec = parse_spec("# A\n\n{model_name} of {provider_name} asks.")
    assert fill(spec, model_name=name, provider_name="Labs").clauses[0].text == f"{name} of Labs asks."
