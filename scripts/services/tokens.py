"""The claims of JSON Web Tokens, whose numbers keep their digits."""

from __future__ import annotations

from typing import Any

import jwt

from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import OutputInvalid
from scripts.protocol.numerals import Numerals


class ExactTokens(jwt.PyJWT):
    """Tokens whose claims are read and written with the digits of `numerals`."""

    def __init__(self) -> None:
        super().__init__()
        self.numerals: Numerals = {}

    def claims_of(self, text: str) -> dict[str, Any]:
        """Read claims. Raises ValueError where the text is no JSON object."""
        claims = decode(text.encode(), self.numerals)
        if not isinstance(claims, dict):
            raise ValueError("The claims are no object.")
        return claims

    def text_of(self, claims: dict[str, Any]) -> str:
        return encode(claims, self.numerals).decode()

    def _encode_payload(self, payload: dict[str, Any], *_: Any, **__: Any) -> bytes:
        try:
            return encode(payload, self.numerals)
        except OutputInvalid as error:
            raise ValueError(str(error)) from None

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.claims_of(decoded["payload"].decode())
        except (ValueError, RecursionError) as error:
            raise jwt.DecodeError(f"The claims are no JSON object: {error}") from None
