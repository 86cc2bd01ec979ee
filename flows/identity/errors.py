from __future__ import annotations


class TokenRefused(Exception):
    """The token is not valid here. Its text says why, and may be shown to the caller."""


class UserRefused(Exception):
    """The token is valid, and its user may not come in. The text says why."""


class IssuerUnavailable(Exception):
    """The identity provider cannot be asked now."""


class LoginFailed(Exception):
    """The login at the identity provider did not succeed. The text says why."""
