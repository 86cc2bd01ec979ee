from __future__ import annotations

from typing import Any

from django.db import connection
from django.http import HttpResponse
from rest_framework.request import Request

from flows.api.authentication import recognised
from flows.api.errors import DATABASE_RETRY_AFTER, Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import IS_LIVE, IS_READY
from flows.api.view import OpenView, json_response
from flows.monitoring.migrations import unapplied_migrations
from flows.store import store
from scripts.pool.sandbox_probe import missing_measures, scripts_may_run


class LiveView(OpenView):
    @extend_schema(**IS_LIVE)
    def get(self, request: Request) -> HttpResponse:
        return json_response({"status": "live"})


class ReadyView(OpenView):
    # Reading the migrations is slow, and a database that was migrated once stays so.
    is_migrated = False

    @extend_schema(**IS_READY)
    def get(self, request: Request) -> HttpResponse:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if reason := store().database.unwritable():
            retry = {"Retry-After": str(DATABASE_RETRY_AFTER)}
            raise Problem("database-unavailable", reason, headers=retry)
        if not ReadyView.is_migrated:
            _require_migrations()
            ReadyView.is_migrated = True
        answer: dict[str, Any] = {"status": "ready"}
        if not scripts_may_run():
            raise Problem(
                "scripts-not-sealed",
                "This machine lacks a measure of the scripts' sandbox, so no script runs."
                " `manage.py check` names it; ASYNCENGINE_UNSEALED_SCRIPTS=1 lets scripts run"
                " without the complete sandbox.",
            )
        if (missing := missing_measures()) and getattr(recognised(request), "is_staff", False):
            answer["missingMeasures"] = missing
        return json_response(answer)


def _require_migrations() -> None:
    if missing := unapplied_migrations():
        raise Problem("not-ready", f"{len(missing)} migrations are not applied.")
