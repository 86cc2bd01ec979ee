"""Secrets are taken out of texts in whatever ordinary writing they appear."""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.pool.mask import Mask, mask_of

SECRET = "sword/fish+é ü?"
secrets = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=6, max_size=40)
around = st.binary(max_size=20)


def clean(text: str, *values: str) -> str:
    return mask_of(values or (SECRET,)).clean(text, 100_000)


@given(before=around, after=around, value=secrets)
def test_base64_hides_a_secret_wherever_it_begins(before, after, value):
    raw = before + value.encode() + after
    needle = b64encode(value.encode()).decode()[4:-4]

    for encode in (b64encode, urlsafe_b64encode):
        told = clean(encode(raw).decode(), value)

        assert "***" in told
        if len(needle) > 8:
            assert needle not in told


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda text: text.encode().hex(),
        lambda text: text.encode().hex().upper(),
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
        lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
        lambda text: urlencode({"key": text}).removeprefix("key="),
        lambda text: b64encode(text.encode()).decode(),
        lambda text: b64encode(f"user:{text}".encode()).decode(),
    ],
)
def test_what_is_encoded_is_masked(encode):
    told = clean(f"[{encode(SECRET)}]")

    assert "***" in told
    for trace in ("sword", "fish", "%C3", "c3a9", "%73"):
        assert trace not in told


@given(text=st.text(), value=secrets)
def test_a_text_without_the_secret_stays_what_it_is(text, value):
    mask = Mask([value])
    untouched = Mask().clean(text, 1000)

    if not any(form in text for form in mask._forms) and "…" not in text:
        assert mask.clean(text, 1000) == untouched


def test_of_two_secrets_the_longer_is_masked_whole():
    assert clean("a swordfish-2 b", "swordfish", "swordfish-2") == "a *** b"
