"""`context.sign` and its like: signatures that a script's worker makes with keys from secrets."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from scripts.host.service_client import TOO_LARGE, is_too_large
from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import OutputInvalid
from scripts.protocol.numerals import Numerals

Send = Callable[[dict[str, Any]], dict[str, Any]]
Data = str | bytes | bytearray | memoryview


class SignatureError(Exception):
    """A signature that was not made or a token that is not valid; `kind` says why in a word."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Signatures:
    """The requests for signatures of a call."""

    def __init__(self, send: Send, numerals: Numerals) -> None:
        """`numerals`: how the numbers of the message are written, which claims keep."""
        self._send = send
        self._numerals = numerals

    def sign(self, algorithm: str, secret: str, data: Data, der: bool) -> bytes:
        reply = self._ask(
            "sign", algorithm=algorithm, secret=secret, der=bool(der), **_written("data", data)
        )
        return b64decode(reply["signature"])

    def verify(
        self,
        algorithm: str,
        secret: str | None,
        data: Data,
        signature: Data,
        public_key: str | Mapping[str, Any] | None,
    ) -> bool:
        if isinstance(signature, str):
            written: dict[str, Any] = {"signatureBase64": signature}
        else:
            written = _written("signature", signature)
        reply = self._ask(
            "verify", algorithm=algorithm, **_key(secret, public_key), **_written("data", data),
            **written,
        )  # fmt: skip
        return bool(reply["valid"])

    def jwt(
        self,
        claims: Mapping[str, Any],
        secret: str,
        algorithm: str,
        headers: Mapping[str, Any] | None,
        expires: float | timedelta | None,
    ) -> str:
        plain = {
            name: int(value.timestamp()) if isinstance(value, datetime) else value
            for name, value in claims.items()
        }
        if isinstance(expires, timedelta):
            expires = expires.total_seconds()
        given = None if headers is None else dict(headers)
        if is_too_large(plain):
            raise SignatureError(TOO_LARGE["error"], TOO_LARGE["kind"])
        try:
            text = encode(plain, self._numerals).decode()
        except OutputInvalid as error:
            raise TypeError(f"The claims: {error}") from None
        reply = self._ask(
            "jwt", claims=text, secret=secret, algorithm=algorithm, headers=given, expires=expires
        )
        token: str = reply["token"]
        return token

    def verify_jwt(
        self,
        token: str,
        secret: str | None,
        public_key: str | Mapping[str, Any] | None,
        algorithms: Sequence[str] | None,
        **options: Any,
    ) -> dict[str, Any]:
        names = [algorithms] if isinstance(algorithms, str) else algorithms
        reply = self._ask(
            "verifyJwt",
            token=token,
            algorithms=None if names is None else list(names),
            **_key(secret, public_key),
            **options,
        )
        claims: dict[str, Any] = decode(reply["text"].encode(), self._numerals)
        return claims

    def _ask(self, what: str, **request: Any) -> dict[str, Any]:
        reply = self._send({"what": what, **request})
        if "error" in reply:
            raise SignatureError(reply["error"], reply["kind"])
        return reply


def _key(secret: str | None, public_key: str | Mapping[str, Any] | None) -> dict[str, Any]:
    public = dict(public_key) if isinstance(public_key, Mapping) else public_key
    return {"secret": secret, "publicKey": public}


def _written(name: str, data: Data) -> dict[str, Any]:
    if isinstance(data, str):
        return {name: data}
    return {f"{name}Base64": b64encode(data).decode("ascii")}
