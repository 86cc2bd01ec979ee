"""Verifies that a webhook comes from a partner: an HMAC of its time and its body, not too old."""

import hashlib
import hmac

LONGEST_AGE_SECONDS = 300


def run(message, context):
    hook = message["payload"]
    key = context.secrets["webhook.key"].encode()
    signed = f"{hook['timestamp']}.{hook['body']}".encode()
    expected = hmac.new(key, signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, hook["signature"]):
        raise Reject("the signature does not fit", code="signature")
    if hook["received"] - hook["timestamp"] > LONGEST_AGE_SECONDS:
        raise Reject("the call is too old", code="replay")
    message["payload"] = {"accepted": hook["body"]}
    return message
