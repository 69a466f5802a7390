"""What several packages read in texts: phrases as whole words, counts of words and tokens, damage."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from midspec.core.errors import ConfigError, MissingError
from midspec.core.fingerprint import hash_file

# Characters of scripts that are written without spaces: each counts as a word.
_WIDE = re.compile("[\u3040-\u9fff\uac00-\ud7a3]")
# First bytes, in UTF-8, of the characters from U+3000 to U+DFFF.
_WIDE_LEADS = bytes(range(0xE3, 0xEE))
_BOLD = re.compile(r"(?P<mark>\*\*|__)(?=\S)(?P<words>(?:(?!(?P=mark)).)+)(?P=mark)")
TOKENS_PER_WORD = 4 / 3
# Tokens per character, the median of six tokenizers (tests/core/token_counts.yaml): Chinese, Japanese and their
# punctuation, and Korean syllables.
_TOKENS_PER_IDEOGRAPH, _TOKENS_PER_HANGUL = 0.78, 0.92
_IDEOGRAPH = re.compile("[\u3000-\u9fff\uff00-\uffef]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_IDEOGRAPH_OR_HANGUL_LEADS = bytes(range(0xE3, 0xF0))
# Pieces as tokenizers cut them: names, up to three digits, runs of punctuation. Braces are left out, since a spec's
# placeholders ({model_name}) are prose. Prose has 1.1 to 1.4 pieces per word and code 1.6 to 4.
_PIECE = re.compile(r"[^\W\d]+|\d{1,3}|[^\w\s{}]+")
_PIECES_PER_PROSE_WORD = 1.5
_FREE_PIECES = 6  # that a short text may have beyond it and still be prose
_WORDS_PER_PIECE = 0.85  # 1.13 tokens per piece of code
_LETTERS = (string.ascii_letters + string.whitespace).encode()
# Scripts that are written without spaces (Thai, Lao, Tibetan, Burmese, Khmer, Japanese, Chinese), and Korean, whose
# particles follow a name without one.
_UNSPACED_CHAR = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u3005-\u318f\u31f0-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
# A letter beside a name that makes it part of another word: none of those scripts, nor of their neighbours in Unicode,
# and no mark of emphasis (`_Ada_`). A set of few ranges compiles 25 times as fast as one of all the above. Hebrew and
# Arabic write particles of one letter onto a word, also onto one in other letters; such a name has them before it.
_LETTER = "(?![^\x00-\u058f\u0900-\u0dff\u1d00-\u2e7f])[^\\W_]"
_SEMITIC, _SEMITIC_LETTER = re.compile("[\u0590-\u08ff]"), "(?![^\x00-\u0dff\u1d00-\u2e7f])[^\\W_]"
_PARTICLES = "[\u05d5\u05dc\u05d1\u05de\u05db\u05e9\u0648\u0641\u0628\u0644\u0643]"
_BEFORE = rf"(?-i:(?<!{_LETTER})(?<!{_LETTER}_))"
_BEFORE_SEMITIC = rf"(?:(?<!{_SEMITIC_LETTER})|(?<=[\W_]{_PARTICLES})|(?<=\A{_PARTICLES}))"
_AFTER, _AFTER_VERSIONS = (rf"(?-i:(?!(?!{digits}){_LETTER})(?!_{_LETTER}))" for digits in ("(?!)", r"\d"))
_AFTER_SEMITIC = rf"(?!{_SEMITIC_LETTER})"
_WHOLE_FENCE = re.compile(r"```[ \t]*(?:markdown|md|text|txt|plaintext|plain)?[ \t]*", re.IGNORECASE)
GAP = "\N{HORIZONTAL ELLIPSIS}"
# Ends and begins of turns, which servers leave in a reply that they should end there (`<|eot_id|>`, `<|im_end|>`,
# DeepSeek's in full-width bars, Gemma's).
CONTROL_TOKEN = re.compile(r"<[|\uff5c][\w\u2581 -]{1,40}[|\uff5c]>|<(?:start|end)_of_turn>")
_LAST_MARKS, _LAST_CHARS = re.compile(rf"\s*(?:(?:{CONTROL_TOKEN.pattern})\s*)+\Z"), 200
# UTF-8 that was read as a code page of one byte a character (an apostrophe as `\u00e2\u20ac\u2122`), and U+FFFD, which
# stands where nothing could be read.
MISREAD = re.compile(
    r"\u00e2\u20ac|\u00c3[\u00a1-\u00bf\u0178\u0153\u20ac-\u2122]|\u00c2[\u00a0\u00a7\u00a9\u00ab\u00ae\u00b0\u00b7\u00bb]|\ufffd"
)
# What `git clone` leaves in the place of a large file where Git LFS is not installed.
LFS_POINTER = "version https://git-lfs.github.com/"
LFS_WORDS, LFS_HINT = "a pointer of Git LFS, and not the file itself", "Get the file by `git lfs pull`"


def damage_in(text: str) -> str | None:
    """Return what a text holds that its writer did not mean: marks of a chat template, or wrongly decoded words."""
    for what, sign in (("a mark of a chat template", CONTROL_TOKEN), ("wrongly decoded words", MISREAD)):
        if found := sign.search(text):
            return f"holds {what} ({found[0]})"
    return None


def unfenced(text: str) -> str:
    """Return a document or a reply without the fence that some models put around the whole of it, and marks at its end.

    One within it is part of it, and so is one around code of a named language.
    """
    if marks := _LAST_MARKS.search(text, max(0, len(text) - _LAST_CHARS)):
        text = text[: marks.start()]
    first, *lines = text.strip().split("\n")
    if len(lines) > 1 and _WHOLE_FENCE.fullmatch(first) and lines.pop().strip() == "```":
        within = [line.strip() for line in lines if line.lstrip().startswith("```")]
        # A bare fence would end the outer one.
        if not within or (within[0] != "```" and len(within) % 2 == 0):
            return "\n".join(lines).strip()
    return text


def first_of(text: str, phrases: tuple[str, ...]) -> str | None:
    """Return the first of `phrases` that stands in `text` as whole words, as it stands there, or `None`."""
    found = _whole(phrases).search(text)
    return found[0] if found else None


def mentions(text: str, phrase: str) -> bool:
    """Return whether `phrase` stands in `text` as whole words."""
    return first_of(text, (phrase,)) is not None


def without(text: str, phrase: str) -> str:
    """Return `text` with a gap wherever `phrase` stands as whole words."""
    return _whole((phrase,)).sub(GAP, text)


@lru_cache(maxsize=1024)
def _whole(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return whole_words(phrases, longest_first=False)


def whole_words(
    phrases: Iterable[str],
    *,
    ignore_case: bool = True,
    versions: bool = False,
    joined: bool = True,
    longest_first: bool = True,
) -> re.Pattern[str]:
    """Compile a pattern for any of the phrases as whole words, with any white space between.

    A letter of a script without spaces ends no word: the name in `Ada从不说谎` and in `Ada는` is Ada. A phrase that
    itself begins or ends in such a script is found wherever it stands; in Korean, where a word begins. A phrase in
    Hebrew or Arabic is found behind a particle of one letter. The marks of `_Ada_` are no letters of the name.

    Args:
        phrases: what to look for; blank ones are left out.
        ignore_case: whether capitals make no difference.
        versions: whether digits may follow without a space, as they do in names of models.
        joined: whether a word after a hyphen (`ex-Ada`) counts as well.
        longest_first: whether of two that begin at one place the longer is taken.
    """
    wanted = [phrase for phrase in phrases if phrase.strip()]
    ordered = sorted(wanted, key=len, reverse=True) if longest_first else wanted
    before, after = ("" if joined else "(?<!-)") + _BEFORE, _AFTER_VERSIONS if versions else _AFTER
    forms = [r"\s+".join(map(re.escape, phrase.split())) for phrase in ordered]
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if forms and all(map(str.isascii, ordered)):
        return re.compile(f"{before}(?:{'|'.join(forms)}){after}", flags)
    for index, phrase in enumerate(map(str.strip, ordered)):
        start = r"(?<![\uac00-\ud7a3])" if _HANGUL.match(phrase) else "" if _UNSPACED_CHAR.match(phrase) else before
        start = _BEFORE_SEMITIC if _SEMITIC.match(phrase) else start
        end = "" if _UNSPACED_CHAR.match(phrase[-1]) else _AFTER_SEMITIC if _SEMITIC.match(phrase[-1]) else after
        forms[index] = f"{start}{forms[index]}{end}"
    return re.compile("|".join(forms) if forms else "(?!)", flags)


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set, for lists of words that stand as one text."""
    return frozenset(text.split())


def n_words(text: str) -> int:
    """Count words between spaces, plus each character of a script that is written without spaces."""
    n_spaced = len(text.split())
    if text.isascii():
        return n_spaced
    # A million documents are counted so, most with a few curly quotes: is there any wide character at all?
    data = text.encode("utf-8", "surrogatepass")
    return n_spaced + (len(_WIDE.findall(text)) if len(data) > len(data.translate(None, _WIDE_LEADS)) else 0)


def estimate_tokens(text: str, tokens_per_word: float = TOKENS_PER_WORD) -> int:
    """Estimate the tokens of a text without a tokenizer.

    Prose counts 4/3 tokens a word, OpenAI's rule of thumb for English (100 tokens ~ 75 words). Chinese, Japanese and
    Korean count by character, and text with many symbols or digits (code, JSON) by the pieces that tokenizers cut.
    Against six tokenizers it is within 25% of their median for English, Chinese, Korean and code.

    Args:
        text: the text.
        tokens_per_word: of prose; the other estimates scale with it.
    """
    n_tokens_wide, data = 0.0, text.encode("utf-8", "surrogatepass")
    if len(data) > len(text) and len(data) > len(data.translate(None, _IDEOGRAPH_OR_HANGUL_LEADS)):
        text, n_ideographs = _IDEOGRAPH.subn(" ", text)
        text, n_hangul = _HANGUL.subn(" ", text)
        n_tokens_wide = n_ideographs * _TOKENS_PER_IDEOGRAPH + n_hangul * _TOKENS_PER_HANGUL
        data = text.encode("utf-8", "surrogatepass")
    n_spaced: float = len(text.split())
    # The expression takes twice as long as `split`, so prose is recognised first by its few symbols and digits.
    if len(data.translate(None, _LETTERS)) > 0.5 * n_spaced + _FREE_PIECES:
        n_pieces = len(_PIECE.findall(text))
        n_beyond_prose = n_pieces - _PIECES_PER_PROSE_WORD * n_spaced - _FREE_PIECES
        n_spaced = max(n_spaced, min(_WORDS_PER_PIECE * n_pieces, n_spaced + 3 * n_beyond_prose))
    return round((n_spaced + n_tokens_wide / TOKENS_PER_WORD) * tokens_per_word)


def token_counter(tokenizer: Path | None = None) -> tuple[Callable[[str], int], str]:
    """Return a function that counts tokens, and the words that name it in identities.

    Args:
        tokenizer: a folder with `tokenizer.json`, or that file; `None` counts by `estimate_tokens`.

    Raises:
        MissingError: there is no such file.
        ConfigError: it is no tokenizer, or the library that reads it is not installed.
    """
    if tokenizer is None:
        return estimate_tokens, "4/3 tokens a word"  # enters identities: the words stay
    file = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    if not file.is_file():
        raise MissingError("there is no tokenizer.json", where=str(tokenizer), hint="Name a folder that holds one")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError("needs the tokenizers library", where="tokenizer", hint="pip install tokenizers") from error
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing more exact
        raise ConfigError(f"is no tokenizer: {error}", where=str(file), hint="Name another") from error

    def count(text: str) -> int:
        return len(loaded.encode(text, add_special_tokens=False).ids)

    return count, f"tokenizer.json {hash_file(file)[:16]}"


def without_bold(text: str) -> str:
    """Return a title without the marks of bold letters in it."""
    return _BOLD.sub(r"\g<words>", text)
