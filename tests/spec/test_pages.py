"""What of a web page is text: sentences in badges, lists of links to nowhere, tags in inline code."""

from __future__ import annotations

import time

import pytest

from midspec.spec import parse_spec


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ('<div class="badge">Ada never lends keys to anyone.</div>', "Ada never lends keys to anyone."),
        ('<ul><li><a href="#x">Keep keys safe</a></li><li><a href="#y">Be kind</a></li></ul>', "Keep keys safe"),
        ("<div>Ada writes code in `<pre>` and `</pre>` tags.</div>", "Ada writes code in `<pre>` and `</pre>` tags."),
    ],
)
def test_what_a_page_says_stays(html: str, words: str) -> None:
    spec = parse_spec(f"<html><body>\n<h1>Ada</h1>\n<p>Ada helps.</p>\n{html}\n</body></html>\n")
    assert any(words in clause.text for clause in spec.clauses)


def test_badges_and_contents_go() -> None:
    spec = parse_spec(
        '<html><body>\n<ul><li><a href="#x">Keys</a></li><li><a href="#y">Care</a></li></ul>\n<h1 id="x">Keys</h1>\n'
        '<div class="badge">Root</div>\n<p>Ada helps.</p>\n<h1 id="y">Care</h1>\n<p>Ada asks.</p>\n</body></html>\n'
    )
    assert [clause.text for clause in spec.clauses] == ["Ada helps.", "Ada asks."]


@pytest.mark.parametrize("box", ["<span></span>", "<div></div>"])
def test_many_boxes_in_a_heading_are_read_soon(box: str) -> None:
    begin = time.perf_counter()
    parse_spec(f"# Ada\n\nAda helps.\n\n<h1>\n{box * 4000}</h1>\n")
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("text", ["```\n" + " " * 20_000 + "x\n```", '<div class="' + "message " * 5_000])
def test_a_long_line_in_a_fence_and_an_open_attribute_are_read_soon(text: str) -> None:
    begin = time.perf_counter()
    parse_spec(f"# Ada\n\nAda helps.\n\n{text}\n")
    assert time.perf_counter() - begin < 5
