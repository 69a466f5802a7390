"""Numbers of health pages as they are read."""

from __future__ import annotations

from midspec.records import Share

__all__ = ["count", "percent", "sentence", "share", "usd"]


def count(n: float) -> str:
    """A count with its thousands set apart; of a million and more in millions."""
    return f"{n / 1e6:,.1f}M" if n >= 1e6 else f"{n:,.0f}"


def percent(part: float) -> str:
    """A share in percent; what is not nothing is never shown as 0, nor what is not all as 100."""
    if 0 < part < 0.005:
        return "under 1%"
    return "over 99%" if 0.995 < part < 1 else f"{part:.0%}"


def share(share: Share) -> str:
    """A share as counts, percent and interval."""
    if not share.of or share.low is None or share.high is None:
        return "none asked"
    return f"{share.n} of {share.of} ({share.n / share.of:.0%}; 95% interval {share.low:.0%} to {share.high:.0%})"


def sentence(text: str) -> str:
    """`text` with a capital at its beginning and a full stop at its end."""
    whole = text.strip()
    return whole[:1].upper() + whole[1:] + ("" if whole.endswith((".", "!", "?")) else ".")


def usd(value: float | None) -> str:
    """Dollars; what is not known is never 0."""
    return "not known, or nothing was asked" if value is None else f"${value:,.2f}"
