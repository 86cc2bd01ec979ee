"""The request as Django sees it."""

from __future__ import annotations

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.utils.http import parse_header_parameters


class Utf8Request(WSGIRequest):
    """A request whose texts are UTF-8, and whose Content-Type may be any bytes.

    Django decodes the query, too, by the charset that the Content-Type names for the body, and
    fails, before any middleware, where that is a codec of something else, such as rot13.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            parsed = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
            self.content_type, self.content_params = parsed
        except (LookupError, ValueError):
            # A parameter as in RFC 2231, x*=rot13''y, names such a codec as well.
            self.content_type, self.content_params = "not-understood", {}
