"""The headers of Standard Webhooks: id, time and signatures of a message."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable


def signed_headers(id: str, seconds: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """Return the headers of a message that is sent at this time, in seconds of the epoch.

    There is a signature for each key: while a secret is replaced, that of the new one comes first.
    """
    content = b"%s.%d.%s" % (id.encode(), seconds, body)
    signatures = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{b64encode(each).decode()}" for each in signatures),
    }
