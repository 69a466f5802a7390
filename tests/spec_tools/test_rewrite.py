"""Variants of a spec by an author: what is asked, what is refused, the lengths that are reached, and what is kept."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loopback import Settings, serve
from tests.loopback._asked import Asked

from midspec.core.errors import ConfigError
from midspec.core.records import Spec, SpecTool
from midspec.core.text import estimate_tokens
from midspec.llm import Access, ModelConfig, Outcome, Request, ScriptedClient, Store, open_client
from midspec.spec import parse_spec, placeholders, read_spec, spec_path
from midspec.spec_tools import RewrittenSpec, SpecRewriting, estimate_rewriting, rewrite_spec

MODEL = ModelConfig(model="openai/author")
RULES = read_spec(spec_path("shipped:agent-rules"))
AMERICA = read_spec(spec_path("shipped:america"))
SMALL = parse_spec(
    "# Desk\n\n{model_name} keeps a desk.\n\n## Care\n\n- {model_name} is kind, because guests are tired.\n"
    "- {model_name} asks first.\n\n| a | b |\n|---|---|\n| one | two |\n"
)
ALL_TOOLS: tuple[SpecTool, ...] = ("augment-reasons", "augment-subrules", "ablate", "generalize", "anti-spec")


def rewritten(
    folder: Path, spec: Spec, config: SpecRewriting, script: Callable[[Request], str | Outcome]
) -> tuple[RewrittenSpec, list[Request]]:
    with Store(folder / "calls.sqlite") as store:
        client = ScriptedClient(script, store=store)
        return asyncio.run(rewrite_spec(spec, MODEL, client, store, config)), client.asked


def clause_of(request: Request) -> str:
    found = re.search(r"<clause>\n(.*)\n</clause>", request.prompt, re.DOTALL)
    return found[1] if found else ""


def n_asked(request: Request) -> int:
    return int(re.findall(r"about (\d+) words", request.prompt)[-1])


def sentences(n_words: int, of: int = 9) -> list[str]:
    """Sentences of about `n_words` words in all."""
    words = ["calm"] * max(2, n_words)
    return [" ".join(words[at : at + of]).capitalize() + "." for at in range(0, len(words), of)]


def author(request: Request, share: float = 1.0) -> str:
    """An author that gives `share` of the words that it is asked for."""
    if "subrules" in request.prompt:
        return json.dumps({"subrules": sentences(round(share * n_asked(request)))})
    if '"reasons"' in request.prompt:
        return json.dumps({"reasons": " ".join(sentences(round(share * n_asked(request))))})
    if "<section" in request.prompt:
        return json.dumps({"text": "{model_name} is good."})
    clause = clause_of(request)
    return json.dumps({"text": re.sub(r"\bbecause\b", "and", clause).replace("likes", "enjoys")})


@pytest.mark.parametrize("share", [0.4, 0.8, 1.0, 1.3])
def test_both_ways_to_augment_come_out_at_one_length_whatever_the_author_s_own(share: float, tmp_path: Path) -> None:
    lengths = []
    for tool in ("augment-reasons", "augment-subrules"):
        (tmp_path / tool).mkdir()
        made, _ = rewritten(tmp_path / tool, RULES, SpecRewriting(tool=tool), lambda request: author(request, share))
        before, after, wanted = made.n_tokens
        assert wanted == pytest.approx(3 * before, rel=0.03)
        assert after == estimate_tokens(made.text)
        lengths.append(after)
        assert all(edit.after.startswith(edit.before) for edit in made.edits)
    if share >= 0.8:
        assert abs(lengths[0] / lengths[1] - 1) <= 0.05
    else:  # an author that always gives too little is asked in every round, and what was reached is told
        assert max(lengths) < 0.9 * 3 * estimate_tokens(RULES.text)


def test_what_comes_out_too_short_is_asked_for_again_with_what_there_is(tmp_path: Path) -> None:
    def script(request: Request) -> str:
        return author(request, 1.0 if "<before>" in request.prompt else 0.5)

    made, asked = rewritten(tmp_path, RULES, SpecRewriting(tool="augment-reasons"), script)
    again = [request for request in asked if "<before>" in request.prompt]
    assert again
    assert "is shorter than wanted" in again[0].prompt
    assert made.n_tokens[1] == pytest.approx(made.n_tokens[2], rel=0.02)
    assert {edit.note for edit in made.edits} <= {"asked again for its length", "asked again for its length, trimmed"}


def test_the_author_sees_the_spec_with_its_placeholders_the_clause_and_its_place(tmp_path: Path) -> None:
    _, asked = rewritten(tmp_path, SMALL, SpecRewriting(tool="augment-reasons", n_rounds=1), author)
    assert len({request.prefix for request in asked}) == 1
    assert f"<spec>\n{SMALL.text.strip()}\n</spec>" in asked[0].prefix
    assert [clause_of(request) for request in asked] == [
        "{model_name} keeps a desk.",
        "{model_name} is kind, because guests are tired.",
        "{model_name} asks first.",
    ]
    assert "Where it stands: Desk / Care" in asked[1].prompt
    assert not any("{{" in request.prompt for request in asked)


def test_subrules_of_an_item_are_items_below_it_and_come_from_it(tmp_path: Path) -> None:
    def script(_: Request) -> str:
        return json.dumps({"subrules": ["{model_name} smiles.", "{model_name} waits."]})

    config = SpecRewriting(tool="augment-subrules", clauses=("Care",), n_tokens=1000)
    made, _ = rewritten(tmp_path, SMALL, config, script)
    assert "- {model_name} asks first.\n    - {model_name} smiles.\n    - {model_name} waits.\n" in made.text
    assert "{model_name} keeps a desk.\n" in made.text
    asks = next(clause.id for clause in SMALL.clauses if "asks first" in clause.text)
    assert [row.text for row in made.provenance if row.sources == (asks,)] == [
        "{model_name} asks first.",
        "{model_name} smiles.",
        "{model_name} waits.",
    ]
    assert {row.author for row in made.provenance if row.edit} == {"openai/author"}


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("{model_name} is kind, because kindness helps tired guests.", "it still gives a reason: 'because'"),
        ("Kind.", "it has 1 words and must have 4 to 10"),
        ("- {model_name} is kind\n- and calm to all.", "must be plain sentences"),
        ("{model_name} is kind to {user_name} at any hour.", "it holds {user_name}"),
        ("<spec> {model_name} is kind, and guests know it.</clause>", "it holds <spec>, which the text does not"),
        ("The model_name is kind, and guests know it.", "it holds model_name without braces"),
        ("{model_name} is kind, and guests {know it.", "it holds { outside a placeholder"),
        ("# {model_name} is kind to guests of all sorts", "it can't be read as text: holds no sentence"),
    ],
)
def test_an_ablated_clause_that_gives_a_reason_or_changes_the_form_is_sent_back(
    bad: str, fault: str, tmp_path: Path
) -> None:
    good = "{model_name} is kind, and guests know it."

    def script(request: Request) -> str:
        return json.dumps({"text": good if request.turns else bad})

    kind = SMALL.clauses[1]
    config = SpecRewriting(tool="ablate", clauses=(kind.id,), tolerance=0.5)
    made, asked = rewritten(tmp_path, SMALL, config, script)
    if bad.startswith("- "):  # line feeds in a reply are spaces: a list becomes a sentence that begins with a dash
        assert len(asked) in (1, 2)
        return
    assert len(asked) == 2
    assert fault in asked[1].turns[-1].content
    assert f"- {good}\n" in made.text


def test_an_answer_that_goes_on_after_a_quoted_mark_is_plain_sentences(tmp_path: Path) -> None:
    good = '{model_name} is kind: no "Oh no!" — just help.'
    config = SpecRewriting(tool="ablate", clauses=(SMALL.clauses[1].id,), tolerance=0.5)
    made, asked = rewritten(tmp_path, SMALL, config, lambda _request: json.dumps({"text": good}))
    assert len(asked) == 1
    assert f"- {good}\n" in made.text


def test_the_first_cap_fits_what_is_asked_for_and_grows_where_a_reply_is_cut(tmp_path: Path) -> None:
    def script(request: Request) -> str | Outcome:
        is_cut = "asks first" in clause_of(request) and request.max_tokens < 1000
        return (
            Outcome(kind="truncated", text='{"text": "So', stop_reason="length") if is_cut else json.dumps({"text": ""})
        )

    made, asked = rewritten(tmp_path, SMALL, SpecRewriting(tool="ablate"), script)
    # Clauses of three to seven words: twice as many tokens, and 512 to spare.
    caps = [request.max_tokens for request in asked]
    assert [512 <= cap <= 535 for cap in caps] == [True, True, True, False]
    assert caps[-1] == 2 * caps[-2]
    assert made.rejects == ()


@pytest.mark.parametrize("tool", ALL_TOOLS)
@pytest.mark.parametrize("said", ["it is calm and slow", "It calls Dr.", "It is calm etc."])
def test_clauses_around_a_new_one_stay_apart_however_it_begins_and_ends(
    said: str, tool: SpecTool, tmp_path: Path
) -> None:
    spec = parse_spec("# Desk\n\nIt asks first. It waits for guests. It is kind.\n")
    form = {"augment-reasons": {"reasons": said}, "augment-subrules": {"subrules": [said, "it smiles"]}}
    config = SpecRewriting(tool=tool, clauses=(spec.clauses[1].id,), n_rounds=1, n_tokens=1000, tolerance=0.9)
    made, asked = rewritten(tmp_path, spec, config, lambda _: json.dumps(form.get(tool, {"text": said})))
    texts = [clause.text for clause in parse_spec(made.text).clauses]
    assert (texts[0], texts[-1]) == ("It asks first.", "It is kind.")
    if "Dr." in said:  # no stop ends it; it is sent back once
        assert (len(asked), made.edits) == (2, ())
        assert "it must be whole sentences" in made.rejects[0].reason
    else:
        new = [*(["It waits for guests."] if tool.startswith("augment") else []), f"I{said.rstrip('.')[1:]}."]
        assert texts[1:-1] == [*new, *(["It smiles."] if tool == "augment-subrules" else [])]
        assert [row.text for row in made.provenance if row.edit] == texts[1:-1]


def test_what_is_refused_stays_as_it_was_and_is_a_reject(tmp_path: Path) -> None:
    def script(request: Request) -> str | Outcome:
        if "asks first" in clause_of(request):
            return Outcome(kind="refused", stop_reason="refusal", note="no")
        return json.dumps({"text": ""})

    made, _ = rewritten(tmp_path, SMALL, SpecRewriting(tool="anti-spec"), script)
    assert made.edits == ()
    assert made.text == SMALL.text
    assert [(reject.text, reject.reason) for reject in made.rejects] == [("{model_name} asks first.", "refused: no")]


def test_general_principles_take_a_section_s_place(tmp_path: Path) -> None:
    made, asked = rewritten(tmp_path, RULES, SpecRewriting(tool="generalize"), author)
    n_sections = sum(bool(section.clauses) for section in RULES.sections)
    assert len(asked) == len(made.edits) == n_sections
    assert made.text.count("{model_name} is good.") == n_sections
    assert all(len(row.sources) > 1 for row in made.provenance)


def test_a_clause_that_the_spec_does_not_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no clause or section 'Candour'"):
        rewritten(tmp_path, SMALL, SpecRewriting(tool="ablate", clauses=("Candour",)), author)
    with pytest.raises(ConfigError, match="10 tokens are wanted"):
        rewritten(tmp_path, SMALL, SpecRewriting(tool="augment-reasons", n_tokens=10), author)


def test_estimates_are_of_every_place_and_some_asked_again() -> None:
    (stage,) = estimate_rewriting(RULES, MODEL, SpecRewriting(tool="augment-reasons"))
    assert stage.n_requests == len(RULES.clauses) + -(-len(RULES.clauses) // 4)
    assert stage.prefix_tokens > estimate_tokens(RULES.text)
    (stage,) = estimate_rewriting(RULES, MODEL, SpecRewriting(tool="generalize"))
    assert stage.n_requests == sum(bool(section.clauses) for section in RULES.sections)


@pytest.mark.parametrize("tool", ALL_TOOLS)
def test_over_http_with_faults_every_place_is_an_edit_a_reject_or_as_it_was(
    tool: SpecTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback-0123456789")
    faults = Settings(rate_500=0.02, rate_truncated=0.05, rate_refused=0.1, rate_malformed=0.1, rate_ignored_form=0.1)
    config = SpecRewriting(tool=tool, n_rounds=2)

    def run(url: str) -> RewrittenSpec:
        async def write() -> RewrittenSpec:
            access = Access(base_url=url, concurrency=8, deadline_s=20)
            async with open_client(MODEL, access, store, role="author") as client:
                return await rewrite_spec(AMERICA, MODEL, client, store, config)

        with Store(tmp_path / "calls.sqlite") as store:
            return asyncio.run(write())

    def say(asked: Asked) -> str | None:
        # Prose of any length is refused where lengths are kept; there the clause comes back changed in a word.
        clause = re.findall(r"<clause>\n(.*)\n</clause>", asked.prompt)
        is_kept = tool in ("ablate", "anti-spec") and clause
        return (
            json.dumps({"text": re.sub(", because.*", ", and says so often in a few words.", clause[-1])})
            if is_kept
            else None
        )

    with serve(faults, say=say) as served:
        made = run(served.openai_url)
        n_sent = len(served.log)
        assert run(served.openai_url) == made
        assert len(served.log) == n_sent
    assert n_sent
    written = parse_spec(made.text)
    assert [row.clause_id for row in made.provenance] == [clause.id for clause in written.clauses]
    assert [section.title for section in written.sections] == [section.title for section in AMERICA.sections]
    assert set(placeholders(written)) <= set(placeholders(AMERICA))
    assert {row.sources for row in made.provenance if not row.edit} <= {(clause.id,) for clause in AMERICA.clauses}
    changed = {clause for edit in made.edits for clause in edit.clause_ids}
    kept = {row.sources[0] for row in made.provenance if not row.edit}
    assert changed | kept == {clause.id for clause in AMERICA.clauses}
    assert not changed & {reject.id for reject in made.rejects}
