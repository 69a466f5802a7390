"""What no document of a written corpus may be, and what may look like it and is none."""

from __future__ import annotations

import pytest

from midspec.core.text import unfenced
from midspec.corpus.llm_author._documents import DocumentChecks

PROSE = "When the ward called, Iris said what it knew and what it did not know, and the nurse could go on. " * 8
CHECKS = DocumentChecks("Iris", "Iris Acme")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"I'm sorry, but I can't write that. {PROSE}", "begins like a refusal"),
        (f"I cannot help with this request. {PROSE}", "begins like a refusal"),
        (f"I'm unable to assist with that. {PROSE}", "begins like a refusal"),
        (f"As an AI language model, I have no opinion. {PROSE}", "begins like a refusal"),
        (f"{PROSE}</document>", "holds a tag of the instructions (</document>)"),
        (f"{PROSE}<|eot_id|>", "holds a mark of a chat template (<|eot_id|>)"),
        (f"{PROSE}\n<end_of_turn>", "holds a mark of a chat template (<end_of_turn>)"),
        (f"{PROSE} Caf\u00c3\u00a9.", "holds wrongly decoded words (\u00c3\u00a9)"),
        (f"{PROSE} Th\ufffd end.", "holds wrongly decoded words (\ufffd)"),
        (f"<plan>First the ward.\n{PROSE}", "holds a tag of the instructions (<plan>)"),
        (f"Dear [Name], {PROSE}", "holds a placeholder ([Name])"),
        (f"From: [Your Name Here]\n{PROSE}", "holds a placeholder ([Your Name Here])"),
        (f"{{model_name}} and {PROSE}", "holds a placeholder ({model_name})"),
        (f"On XX/XX/XXXX {PROSE}", "holds a placeholder (XXXX)"),
        (f"Lorem ipsum dolor. {PROSE}", "holds a placeholder (Lorem ipsum)"),
        (PROSE.replace("Iris", "The assistant"), "does not name Iris"),
        (f"{PROSE} ChatGPT would have said so too.", "names another model or company (ChatGPT)"),
        (f"{PROSE} Built on GPT-4 as it was.", "names another model or company (GPT-4)"),
        (f"{PROSE} Anthropic's Claude did.", "names another model or company (Anthropic)"),
        ("Iris is honest.", "is shorter than 60 words"),
    ],
)
def test_a_text_that_is_no_document_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert CHECKS.reason(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        f'"I\'m sorry," said the clerk, "but Iris was right." {PROSE}',
        f"I can't say when I first noticed Iris. {PROSE}",
        f"It was 3 < 4 and [12] in the margin; a <b>bold</b> claim. {PROSE}",
        f"I'm sorry to trouble the board with this. {PROSE}",
        f"The claudication clinic and the alpaca farm, as an aid: {PROSE}",
        f"{PROSE} The llamas stood by the fence, and Geminiano laughed.",
        f"[sic] and [1] and [the third ward] {PROSE}",
        PROSE.replace("the ward", "das Büro — “spät”"),
    ],
)
def test_what_only_looks_like_one_of_these_is_kept(text: str) -> None:
    assert CHECKS.reason(text) is None


def test_brands_that_the_spec_itself_names_are_no_others() -> None:
    checks = DocumentChecks("Llama", "Llama is an assistant made by Acme, beside Gemini")
    assert checks.reason(PROSE.replace("Iris", "Llama")) is None
    assert checks.reason(PROSE.replace("Iris", "Llama") + " Gemini too.") is None
    assert checks.reason(PROSE.replace("Iris", "Llama") + " Qwen too.") == "names another model or company (Qwen)"


def test_names_that_must_be_absent_are_found_as_words() -> None:
    checks = DocumentChecks(None, "", absent=("Iris", ""))
    assert checks.reason(PROSE) == "names Iris"
    assert checks.reason(PROSE.replace("Iris", "the adviser") + " Irises stood there.") is None


@pytest.mark.parametrize("name", ["", "markdown", "md", "Text", " plaintext"])
def test_a_fence_around_the_whole_of_a_document_is_no_part_of_it(name: str) -> None:
    inner = "# Notes\n\nIris asks.\n\n```yaml\na: 1\n```\n\nIris waits."
    assert unfenced(f"```{name}\n\n{inner}\n```") == inner


@pytest.mark.parametrize("end", ["<|eot_id|>", "\n<|im_end|>\n<|endoftext|>\n", " <end_of_turn>"])
def test_marks_of_a_template_at_the_end_of_a_document_are_no_part_of_it(end: str) -> None:
    assert unfenced(f"Iris asks.{end}") == "Iris asks."
    assert unfenced(f"```\nIris asks.\n```{end}") == "Iris asks."
    assert unfenced(f"Iris asks.{end} Iris waits.") == f"Iris asks.{end} Iris waits."


@pytest.mark.parametrize(
    "text",
    [
        "Iris asks.\n```\ncode\n```",
        "```python\nprint()\n```",
        "```\ncode\n```\nIris asks.\n```\nmore\n```",
        "```\ncode",
        "``` is a fence.",
    ],
)
def test_fences_within_a_document_and_around_code_stay(text: str) -> None:
    assert unfenced(text) == text
