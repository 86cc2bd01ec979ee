"""How start rates stand, as draft-ietf-httpapi-ratelimit-headers writes it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from django.http.response import HttpResponseBase

from flows.starts.rates import Standing, standings
from flows.store import StartRate

RATE, POLICY = "RateLimit", "RateLimit-Policy"


def rate_headers(standings: Iterable[Standing]) -> dict[str, str]:
    """Return the headers; where nothing is counted there are none.

    `q` starts in any window of `w` seconds; `r` more now, and in `t` seconds more than that.
    """
    found = list(standings)
    if not found:
        return {}
    left = (f'"{each.rate.name}";r={each.left};t={math.ceil(each.seconds)}' for each in found)
    rates = (f'"{each.rate.name}";q={each.rate.count};w={each.rate.seconds}' for each in found)
    return {RATE: ", ".join(left), POLICY: ", ".join(rates)}


def add_rate_headers(response: HttpResponseBase, rates: Collection[StartRate]) -> None:
    """Say in the answer to a start how the rates stand that it counts in."""
    for name, value in rate_headers(standings(rates).values()).items():
        response[name] = value
