"""TLS for servers of an own authority, and for servers that ask who calls, from secrets."""

from __future__ import annotations

import hashlib
import os
import ssl

from scripts.protocol.services import RequestFailed


def tls_context(ca: str, certificate: str) -> ssl.SSLContext:
    """Return TLS that trusts this authority alone, "": those of the system, and shows this
    certificate, which comes with its key. Both are PEM texts. Raises RequestFailed.
    """
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        raise RequestFailed("The secret of ca has no certificate in PEM.", "tls") from None
    if certificate:
        _show(context, certificate)
    return context


def digest(*texts: str) -> str:
    """Return a short key for these texts, which do not stay in memory by it."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest() if any(texts) else ""


def _show(context: ssl.SSLContext, certificate: str) -> None:
    # OpenSSL reads a key from a file only. This one is in memory, and its end is that of the block.
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, certificate.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError):
        reason = "The secret of cert needs a certificate and its key, without a password, in PEM."
        raise RequestFailed(reason, "tls") from None
    finally:
        os.close(descriptor)
