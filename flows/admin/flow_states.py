"""The list of what scripts have left for later messages of their flow, by context.state."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.text import Truncator
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from flows.access import audit
from flows.access.rights import flows_with
from flows.admin.by_role import ByRole, configures, has_right_somewhere, rights_of
from flows.admin.display import shown_time
from flows.admin.malformed import is_list
from flows.encryption.payload_keys import recorded
from flows.models import FlowState, Right
from flows.models.payload_text import beginning
from flows.monitoring.impact import Impact
from flows.store import store
from flows.store.flow_state import change_by_hand
from scripts.admin.base import OwnTransactions
from scripts.admin.confirmation import ConfirmationAdmin
from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.site import register
from scripts.protocol.flow_state import StateInvalid, checked_value

LONGEST = 100
READ_AGAIN = "Messages whose script has read it and that are not stored yet are run again."


class FlowStateForm(forms.ModelForm):
    class Meta:
        model = FlowState
        fields = ("value",)
        widgets = {"value": UnfoldAdminTextareaWidget(attrs={"rows": 6, "spellcheck": "false"})}
        help_texts = {"value": "JSON. It stays until a script changes it: it does not expire."}

    def clean_value(self) -> str:
        try:
            return checked_value(self.cleaned_data["value"])
        except StateInvalid as error:
            raise ValidationError(str(error)) from error


@register(FlowState)
class FlowStateAdmin(
    ByRole, DeletionAdmin, OwnTransactions, ConfirmationAdmin, ConflictAdmin, ModelAdmin
):
    """Values are what scripts work with, so those see and change them who configure the flow."""

    opened_by = frozenset({Right.CONFIGURE.value})
    form = FlowStateForm
    actions: Any = None
    list_per_page = 50
    list_display = ("key", "flow", "beginning", "expires", "changed")
    list_filter = (("flow", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("flow",)
    search_fields = ("key", "flow__name")
    fields = ("flow", "key", "value", "expires", "changed")
    readonly_fields = ("flow", "key", "expires", "changed")

    def seen(self, request: HttpRequest) -> Q | None:
        if configures(request, None) or request.user.is_superuser:
            return None
        return Q(flow__in=flows_with(rights_of(request), self.opened_by))

    def get_queryset(self, request: HttpRequest) -> QuerySet[FlowState]:
        states = super().get_queryset(request)
        if not is_list(request):
            return states
        # One that no key decrypts says so, and hides no others.
        return states.defer("value").annotate(shown=beginning("value", LONGEST + 1))

    def flow_of(self, obj: Any) -> int | None:
        return int(obj.flow_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is None:
            return has_right_somewhere(request, self.opened_by) or request.user.is_superuser
        return self.sees(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # The audit log has the changes by hand.
        context["show_history"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except StateInvalid as error:
            return self._refused(request, error)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().delete_view(request, *args, **kwargs)
        except StateInvalid as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: StateInvalid) -> HttpResponse:
        self.message_user(request, f"Not changed. {error}", messages.ERROR)
        return redirect(request.path)

    def impact_of(self, request: HttpRequest, obj: Any, changed: set[str], new: Any) -> Any:
        notes = [READ_AGAIN]
        if obj.expires_at:
            notes.append("The new value does not expire.")
        return Impact(flows=[], notes=notes)

    def deletion_of(self, request: HttpRequest, obj: Any) -> Deletion:
        return Deletion(["Scripts of the flow find no value then.", READ_AGAIN])

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        self._change(obj, obj.value)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._change(obj, None)

    def _change(self, obj: FlowState, value: str | None) -> None:
        with store().database.transaction():
            now = store().database.now()
            before, after = change_by_hand(obj.flow_id, obj.key, value, now, seen=obj.version)
            audit.record(
                "change the state",
                obj.flow,
                before={obj.key: recorded(before)},
                after={obj.key: recorded(after)},
            )

    @admin.display(description="value", ordering="value")
    def beginning(self, state: Any) -> str:
        return Truncator(state.shown).chars(LONGEST)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, state: FlowState) -> str:
        return shown_time(state.expires_at) if state.expires_at else "never"

    @admin.display(description="changed", ordering="changed_at")
    def changed(self, state: FlowState) -> str:
        return shown_time(state.changed_at)
