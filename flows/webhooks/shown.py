"""How the address of a webhook is shown to those who may watch its runs."""

from __future__ import annotations


def shown_url(url: str) -> str:
    """Return the address without its query, which often holds a secret of the receiver."""
    base, mark, _ = url.partition("?")
    return f"{base}?…" if mark else base
