"""How start rates stand, as draft-ietf-httpapi-ratelimit-headers writes it."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping

from django.db import DatabaseError, InterfaceError

from flows.starts.rates import Standing, standings
from flows.store import StartRate

logger = logging.getLogger(__name__)

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


def standings_after(rates: Collection[StartRate]) -> Mapping[StartRate, Standing]:
    """Return how rates stand after a start; nothing where the database does not tell.

    The run is stored by then, and an error of the database would say that nothing was.
    """
    try:
        return standings(rates)
    except (DatabaseError, InterfaceError):
        logger.warning("A start is answered without its start rates", exc_info=True)
        return {}


def headers_after(rates: Collection[StartRate]) -> dict[str, str]:
    """Return what the answer to a start says of the rates that it counts in."""
    return rate_headers(standings_after(rates).values())
