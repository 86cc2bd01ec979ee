"""What a user may do with the steps of a flow on its page."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db.models import Model
from django.http import HttpRequest

from flows.access.rights import SEES_EVERY_RUN
from flows.admin.by_role import configures, has_right, may_view
from flows.models import Flow, Queue, Step
from scripts.admin.site import site
from scripts.models import Script


class StepRights:
    """The rights of a request's user to the steps of one flow, their queues and their scripts."""

    def __init__(self, request: HttpRequest, flow: Flow) -> None:
        self.request = request
        self.flow = flow

    @cached_property
    def may_see_figures(self) -> bool:
        """Whether the user sees queues and failures of the flow."""
        return has_right(self.request, SEES_EVERY_RUN, self.flow.pk)

    @cached_property
    def may_see_queues(self) -> bool:
        return self.may_see_figures and may_view(self.request, Queue)

    @cached_property
    def may_add(self) -> bool:
        return self._may("add")

    @cached_property
    def may_change(self) -> bool:
        return self._may("change")

    @cached_property
    def may_remove(self) -> bool:
        return self._may("delete")

    @cached_property
    def may_add_scripts(self) -> bool:
        return self._configures or _admin_of(Script).has_add_permission(self.request)

    @cached_property
    def may_add_queues(self) -> bool:
        return self._configures or _admin_of(Queue).has_add_permission(self.request)

    def may_see_script(self, script: Script) -> bool:
        return may_view(self.request, Script, script)

    def may_change_script(self, script: Script) -> bool:
        return _admin_of(Script).has_change_permission(self.request, script)

    def may_change_queue(self, queue: Queue) -> bool:
        return _admin_of(Queue).has_change_permission(self.request, queue)

    def may_delete_queue(self, queue: Queue) -> bool:
        return _admin_of(Queue).has_delete_permission(self.request, queue)

    @cached_property
    def _configures(self) -> bool:
        return configures(self.request, self.flow.pk)

    def _may(self, verb: str) -> bool:
        """Say whether the user may change the flow, and its steps in this way."""
        user: Any = self.request.user
        allowed = self._configures or user.has_perm(f"{Step._meta.app_label}.{verb}_step")
        return allowed and _admin_of(Flow).has_change_permission(self.request, self.flow)


def _admin_of(model: type[Model]) -> Any:
    return site.get_model_admin(model)
