"""The caller of a batch, who is looked at again while it comes: that may take hours."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from rest_framework.request import Request

from flows.api.authentication import login_of, users_logged_in
from flows.api.errors import Problem
from flows.api.start import runnable_plan
from flows.models.users import all_users
from flows.starts.rates import rates_of

LOOK_SECONDS = 1.0


class BatchCaller:
    """A user who may start a flow, with the flow's plan and the rates that its starts count in."""

    def __init__(self, request: Request, flow_name: str | None) -> None:
        self._flow_name = flow_name
        # Tokens of an issuer last for minutes: one may expire while the batch comes.
        self._login = replace(login_of(request), until=None)
        self._take(request.user)

    def look_again(self) -> None:
        """Read all of it, at most once a second.

        Raises as `runnable_plan` does, and Problem where the user was deactivated, or the login has
        ended.
        """
        if time.monotonic() < self._looked_at + LOOK_SECONDS:
            return
        user = all_users().filter(pk=self.user.pk, is_active=True).first()
        if user is None:
            raise Problem("no-role", "The user was deactivated meanwhile.")
        if not users_logged_in([self._login]):
            raise Problem("not-authenticated", "The login has ended meanwhile.")
        self._take(user)

    def _take(self, user: Any) -> None:
        self.user = user
        self.plan = runnable_plan(user, self._flow_name)
        self.rates = rates_of(self.plan, user)
        self._looked_at = time.monotonic()
