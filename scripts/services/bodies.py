"""Decodes a server's answer: text in its charset, or bytes. Exact, or an error with the reason."""

from __future__ import annotations

import codecs
import json
import re
from base64 import b64encode
from typing import Any
from urllib.parse import quote

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The charsets that are meant where a body does not fit the named one.
_WIDER = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
# Names of charsets on the web that Python does not know.
_NAMES = {
    "x-sjis": "shift_jis",
    "windows-31j": "cp932",
    "x-gbk": "gbk",
    "x-euc-jp": "euc_jp",
    "ks_c_5601-1987": "cp949",
    "windows-949": "cp949",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "utf-16": "utf-16-le",
    "utf-32": "utf-32-le",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "unicode-1-1-utf-8": "utf-8",
}
_TEXT = re.compile(r"text/|application/(.*[+])?(json|xml|javascript|x-www-form-urlencoded|graphql)")


def described(content: bytes, content_type: str) -> dict[str, Any]:
    """Return the members of a reply for a body.

    `body` is the text, without a byte order mark; where the body is no text, `noText` is the
    reason. `base64` has the bytes where they differ from the text in UTF-8, or the type is no text.
    """
    try:
        text = _text(content, content_type)
    except ValueError as error:
        return {"body": None, "noText": str(error), "base64": _base64(content)}
    is_text = not content_type or _TEXT.match(content_type.strip().lower())
    if is_text and text.encode("utf-8", "surrogatepass") == content:
        return {"body": text}
    return {"body": text, "base64": _base64(content)}


def header_text(value: bytes) -> str:
    """Read the value of a header: UTF-8, or the older ISO-8859-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def location_text(value: bytes) -> str:
    """Read the target of a redirect: bytes beyond ASCII stand for themselves, as in browsers."""
    return "".join(chr(byte) if byte < 0x80 else quote(bytes([byte])) for byte in value)


def _text(content: bytes, content_type: str) -> str:
    """Raises ValueError with the reason where the bytes are no text."""
    for mark, charset in _MARKS:
        # The byte order mark counts more than the header, as in browsers.
        if content.startswith(mark) and _may_begin(mark, content_type):
            return _decoded(content[len(mark) :], charset)
    if named := _CHARSET.search(content_type):
        return _of_charset(content, named[1])
    is_json = re.match(r"application/(.*[+])?json", content_type.strip().lower())
    return _decoded(content, json.detect_encoding(content) if is_json else "utf-8")


def _may_begin(mark: bytes, content_type: str) -> bool:
    """Whether bytes are a mark: in a charset of single bytes they are ordinary characters."""
    named = _CHARSET.search(content_type)
    if named is None:
        # Two bytes prove little in a body that may be binary.
        return mark == codecs.BOM_UTF8 or bool(_TEXT.match(content_type.strip().lower()))
    return named[1].lower().replace("_", "-").startswith(("utf", "unicode"))


def _of_charset(content: bytes, name: str) -> str:
    try:
        charset = _python_name(name)
    except ValueError:
        # In all that is in use it is the same.
        if content.isascii():
            return content.decode("ascii")
        raise
    try:
        return _decoded(content, charset)
    except ValueError:
        if charset not in _WIDER:
            raise
    return _decoded(content, _WIDER[charset])


def _python_name(name: str) -> str:
    name = name.strip().lower()
    name = _NAMES.get(name.replace("_", "-"), _NAMES.get(name, name))
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError(f"its charset {name[:100]!r} is not known") from None
    # Some codecs of Python turn bytes into bytes, or are for names of hosts.
    if not found._is_text_encoding or found.name.replace("_", "-") in _NO_CHARSETS:
        raise ValueError(f"its charset {name[:100]!r} is not known")
    return found.name


def _decoded(content: bytes, charset: str) -> str:
    try:
        text = content.decode(charset)
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is not {charset}"
        raise ValueError(f"{place}, of {len(content)} bytes") from None
    if charset == "utf-8" or text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"in {charset} it has lone surrogates") from None
    return text


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")
