"""Masks what is personal before a message goes on: IBANs, card numbers and mail addresses."""

import re

IBAN = re.compile(r"\b([A-Z]{2}\d{2})(?: ?[0-9A-Z]{4}){2,7} ?([0-9A-Z]{1,4})\b")
CARD = re.compile(r"\b(?:\d{4}[ -]?){3}(\d{4})\b")
MAIL = re.compile(r"\b[\w.+-]+@([\w-]+\.[\w.]+)")


def masked(value):
    if isinstance(value, str):
        value = IBAN.sub(lambda found: f"{found[1]}…", value)
        value = CARD.sub(r"… \1", value)
        return MAIL.sub(r"…@\1", value)
    if isinstance(value, dict):
        return {name: masked(member) for name, member in value.items()}
    return [masked(member) for member in value] if isinstance(value, list) else value


def run(message, context):
    message["payload"] = masked(message["payload"])
    return message
