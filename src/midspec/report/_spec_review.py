"""The page on which a proposed spec is looked at: each edit before and after, with a box to accept it.

The page runs no script. A box that is ticked shows its edit's id in the command at the foot of the page, by CSS alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midspec.core.artifact import Built, writable, write_text
from midspec.core.records import DiffWord, SpecEdit, SpecReview, SpecTool
from midspec.report._format import count, percent
from midspec.report._html import render

_PAGE = "review.html"
_ASKED: dict[SpecTool, tuple[str, str]] = {
    "augment-reasons": ("Reasons for each rule", "Each clause is kept, and followed by the reasons for it."),
    "augment-subrules": ("Subrules for each rule", "Each clause is kept, and followed by subrules that spell it out."),
    "ablate": ("Mention without attribution", "The value is still named, and is no longer the reason for anything."),
    "generalize": ("General principles", "A section's specific guidance becomes a paragraph of principles."),
    "anti-spec": ("The opposite", "Each clause becomes its contrary: for controls and doses, and for no product."),
}
_LONG = 0.05


class _Shown(NamedTuple):
    """One edit as it is shown: `before` and `after` are runs of words, marked where the other has not got them."""

    edit: SpecEdit
    before: tuple[DiffWord, ...]
    after: tuple[DiffWord, ...]


def write_spec_review(review: SpecReview, folder: Path) -> Built:
    """Write `review.html` into `folder`; the same review gives the same bytes.

    Args:
        review: the proposal.
        folder: where to write; made if it is not there.

    Raises:
        FolderError: the folder can't be written.
    """
    title, about = _ASKED[review.tool]
    tokens = f"{count(review.n_tokens_before)} tokens before, {count(review.n_tokens_after)} after (estimated)"
    wanted = review.n_tokens_wanted
    reached = () if wanted is None else (f"{count(wanted)} wanted: {review.n_tokens_after / wanted - 1:+.1%}",)
    findings = []
    if wanted is not None and abs(review.n_tokens_after / wanted - 1) > _LONG:
        findings.append(f"The length was missed by {percent(abs(review.n_tokens_after / wanted - 1))}.")
    if review.not_written:
        findings.append(f"Nothing usable came for {count(len(review.not_written))} places: they stay as they were.")
    if not review.edits:
        # Places of which nothing usable came were not left as they were by the author.
        why = "" if review.not_written else ": the author left every place as it was"
        findings.append(f"There is no edit{why}.")
    sections: list[tuple[str, list[_Shown]]] = []
    for edit, words in zip(review.edits, review.words, strict=True):
        where = edit.section.removeprefix(f"{review.title} > ")
        if not sections or sections[-1][0] != where:
            sections.append((where, []))
        sections[-1][1].append(_Shown(edit, _side(words, "out"), _side(words, "in")))
    content: dict[str, Any] = {
        "title": title,
        "review": review,
        "about": about,
        "facts": (review.title, f"written by {review.author}", f"{count(len(review.edits))} edits", tokens, *reached),
        "findings": findings,
        "sections": sections,
    }
    html = render("spec_review.html.j2", content, review)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / _PAGE, html)
    return Built(outputs=(_PAGE,), summary={"n_edits": len(review.edits)})


def _side(words: Sequence[DiffWord], mine: str) -> tuple[DiffWord, ...]:
    return tuple(run for run in words if run.kind in ("same", mine))
