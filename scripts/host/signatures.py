"""`context.sign` and its like: signatures that a script's worker makes with keys from secrets."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from scripts.host.service_client import TOO_LARGE, is_too_large
from scripts.protocol.envelope import decode, encode
from scripts.protocol.errors import OutputInvalid, WrongArgument
from scripts.protocol.numerals import Numerals

Send = Callable[[dict[str, Any]], dict[str, Any]]
Data = str | bytes | bytearray | memoryview
# Stands for a check that is not wanted: one that was given without a value is an error.
NOT_GIVEN: Any = type("NotGiven", (), {"__repr__": lambda _: "..."})()


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
        if not isinstance(der, bool):
            raise WrongArgument("der must be True or False")
        reply = self._ask(
            "sign", algorithm=algorithm, secret=secret, der=der, **_written("data", data)
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
        expires: float | timedelta,
    ) -> str:
        given = _given("jwt", algorithm=algorithm, expires=expires)
        if not isinstance(claims, Mapping):
            raise WrongArgument(f"The claims must be a dict, not {type(claims).__name__}.")
        plain = {
            name: int(value.timestamp()) if isinstance(value, datetime) else value
            for name, value in claims.items()
        }
        if isinstance(expires, timedelta):
            given["expires"] = expires.total_seconds()
        if is_too_large(plain):
            raise SignatureError(TOO_LARGE["error"], TOO_LARGE["kind"])
        try:
            text = encode(plain, self._numerals).decode()
        except OutputInvalid as error:
            raise WrongArgument(f"The claims: {error}") from None
        own_headers = None if headers is None else dict(headers)
        reply = self._ask("jwt", claims=text, secret=secret, headers=own_headers, **given)
        token: str = reply["token"]
        return token

    def verify_jwt(
        self,
        token: str,
        secret: str | None,
        public_key: str | Mapping[str, Any] | None,
        leeway: float,
        **checks: Any,
    ) -> dict[str, Any]:
        given = _given("verify_jwt", **checks)
        if isinstance(given.get("algorithms"), str):
            given["algorithms"] = [given["algorithms"]]
        for name, value in given.items():
            given[name] = value if isinstance(value, str) else list(value)
        key = _key(secret, public_key)
        reply = self._ask("verifyJwt", token=token, leeway=leeway, **key, **given)
        claims: dict[str, Any] = decode(reply["text"].encode(), self._numerals)
        return claims

    def _ask(self, what: str, **request: Any) -> dict[str, Any]:
        reply = self._send({"what": what, **request})
        if "error" in reply:
            raise SignatureError(reply["error"], reply["kind"])
        return reply


def _given(call: str, **options: Any) -> dict[str, Any]:
    """Return the options that were given. Raises TypeError for one without a value: the script
    means more than it says."""
    given = {name: value for name, value in options.items() if value is not NOT_GIVEN}
    for name, value in given.items():
        if value is None:
            raise WrongArgument(f"context.{call}() was given {name} without a value")
    return given


def _key(secret: str | None, public_key: str | Mapping[str, Any] | None) -> dict[str, Any]:
    public = dict(public_key) if isinstance(public_key, Mapping) else public_key
    return {"secret": secret, "publicKey": public}


def _written(name: str, data: Data) -> dict[str, Any]:
    if isinstance(data, str):
        return {name: data}
    if not isinstance(data, bytes | bytearray | memoryview):
        raise WrongArgument(f"{name} must be a text or bytes, not {type(data).__name__}")
    return {f"{name}Base64": b64encode(data).decode("ascii")}
