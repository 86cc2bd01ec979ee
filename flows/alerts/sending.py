"""One message to one address, by Apprise: mail, webhooks (`json://`), chats, pagers."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flows.alerts.messages import Message
from flows.models.alert import LONGEST_ERROR

# Parts of addresses that have Apprise read files of this machine.
OF_FILES = frozenset({"template", "pgpkey", "keyfile", "subfile", "attach"})
LEAST_SECRET = 4
SERVICES = "https://appriseit.com/services/"
# What is commonly written, and how Apprise writes it.
MAIL = "mailtos://user:password@mail.example.org?to=ops@example.org"
INSTEAD = {
    "http": "json:// in place of http:// for a webhook that takes JSON",
    "https": "jsons:// in place of https:// for a webhook that takes JSON",
    "mailto": MAIL,
    "mailtos": MAIL,
    "smtp": MAIL,
    "smtps": MAIL,
}

# What Apprise logs about the address that is being used.
_told: ContextVar[list[str] | None] = ContextVar("told", default=None)


class NotSent(Exception):
    """The message was not sent; the text says why, without the address."""


class _OfAddresses(logging.Filter):
    """Keeps from the log what Apprise writes about an address, for it names the address."""

    def filter(self, record: logging.LogRecord) -> bool:
        told = _told.get()
        if told is None:
            return True
        if record.levelno >= logging.WARNING:
            told.append(record.getMessage())
        return False


logging.getLogger("apprise").addFilter(_OfAddresses())


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Give the lines that Apprise would log in this thread."""
    told: list[str] = []
    before = _told.set(told)
    try:
        yield told
    finally:
        _told.reset(before)


def url_fault(url: str) -> str:
    """Say why nothing can be sent to the address, "" where it can."""
    if any(each.isspace() or not each.isprintable() for each in url):
        return "An address has no spaces."
    try:
        parameters = parse_qs(urlsplit(url).query, True)
    except ValueError:
        # Its text may have the secret: it is not told.
        return "It is no address."
    if given := OF_FILES & {name.lower() for name in parameters}:
        return f"An address cannot name files of this machine: {', '.join(sorted(given))}."
    if _instance(url) is None:
        return _instead_of(url)
    return ""


def _instead_of(url: str) -> str:
    """Say how an address that Apprise does not take is to be written."""
    from apprise import Apprise

    scheme = url.partition(":")[0].lower()
    if scheme in INSTEAD:
        return f"Apprise does not know such an address: write {INSTEAD[scheme]}."
    for service in Apprise().details()["schemas"]:
        if scheme in (*(service["protocols"] or ()), *(service["secure_protocols"] or ())):
            return f"Parts of the address are missing or wrong; see {service['setup_url']}."
    return f"Apprise does not know such an address; {SERVICES} has what each service takes."


def send(url: str, message: Message) -> None:
    """Raises NotSent."""
    from apprise import NotifyFormat

    with _listening() as told:
        receiver = _instance(url)
        if receiver is None:
            raise NotSent("Apprise does not know the address any more.")
        try:
            is_sent = receiver.notify(
                title=message.title,
                body=message.body,
                notify_type=message.kind,
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:
            # Of a plug-in: none of them may end the task.
            raise NotSent(_masked(str(error) or type(error).__name__, url)) from None
        if not is_sent:
            raise NotSent(_masked("\n".join(told) or "The receiver gave no reason.", url))


def _instance(url: str) -> Any:
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="Async Engine", app_desc="Async Engine", async_mode=False)
    with _listening():
        return Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


def _masked(text: str, url: str) -> str:
    """Take out whatever of the address may be secret."""
    for part in sorted(_parts(url), key=len, reverse=True):
        text = text.replace(part, "••••••")
    return text[:LONGEST_ERROR]


def _parts(url: str) -> set[str]:
    rest = url.partition(":")[2]
    parts = {url, *re.split(r"[/?&=@:,;#]", rest)}
    # A message may have them as they are written in the address, or as they are used.
    parts |= {unquote(part) for part in parts}
    return {part for part in parts if len(part) >= LEAST_SECRET}
