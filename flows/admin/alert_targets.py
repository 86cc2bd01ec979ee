"""Targets of alerts: the list, the form, which never shows an address, and a test message."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSelect2MultipleWidget, UnfoldAdminSelectWidget

from flows.admin.display import page_of, shown_time
from flows.alerts.delivering import send_test
from flows.alerts.sending import SERVICES, NotSent, url_fault
from flows.models import AlertTarget
from flows.monitoring.health import RULES
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.secrets import WriteOnlyWidget
from scripts.admin.site import register
from scripts.grants import SECRETS
from scripts.models import Secret

URL_HELP = (
    "Where to send, as Apprise writes it: jsons://hooks.example.org/alerts for a webhook,"
    " mailtos://user:password@mail.example.org?to=ops@example.org for mail, and"
    f" many more: {SERVICES} has them. Stored encrypted and never shown again."
)
SEES_SECRETS = ("scripts.view_secret", "scripts.change_secret", SECRETS.permission)
UNCHANGED = "Stored encrypted and never shown. Left empty, it stays as it is."


class AlertTargetForm(forms.ModelForm):
    """The admin sets `user` on a subclass for each request."""

    user: Any = None

    url = forms.CharField(
        label="Address",
        required=False,
        max_length=2_000,
        widget=WriteOnlyWidget,
        help_text=URL_HELP,
    )
    address_secret = forms.ChoiceField(
        label="Secret with the address",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text=AlertTarget._meta.get_field("address_secret").help_text,
    )
    rules = forms.MultipleChoiceField(
        required=False,
        choices=[(name, name.replace("-", " ")) for name in RULES],
        widget=UnfoldAdminSelect2MultipleWidget,
        help_text=AlertTarget._meta.get_field("rules").help_text,
    )

    class Meta:
        model = AlertTarget
        fields = (
            *("name", "active", "address_secret", "least_level", "rules"),
            *("quiet_time", "repeat_after", "tells_end"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if level := self.fields.get("least_level"):
            level.help_text = "Which alarms are sent to it."
        stored = AlertTarget.objects.filter(pk=self.instance.pk).first()
        self.present_secret = stored.address_secret if stored else ""
        if stored:
            # One of the history has the stored address: the history has none.
            self.instance.scheme = stored.scheme
            self.instance.changed_at = stored.changed_at
        if "address_secret" not in self.fields:
            return
        if self.instance.encrypted:
            self.fields["url"].help_text = UNCHANGED
        names = {self.instance.address_secret, self.present_secret} - {""}
        if any(self.user.has_perm(permission) for permission in SEES_SECRETS):
            names.update(Secret.objects.values_list("name", flat=True))
        secret: Any = self.fields["address_secret"]
        secret.choices = [
            ("", "none: the address above"),
            *((each, each) for each in sorted(names)),
        ]

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"])
        if url and (fault := url_fault(url)):
            raise ValidationError(fault)
        return url

    def clean_address_secret(self) -> str:
        """A user who chooses a secret has messages sent to where it says."""
        name = str(self.cleaned_data["address_secret"])
        is_new = name and name != self.present_secret
        if is_new and not self.user.has_perm(SECRETS.permission):
            raise ValidationError(f"It needs the permission {SECRETS.permission!r}.")
        return name

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        url, secret = data.get("url"), data.get("address_secret")
        if url and secret and "address_secret" in self.changed_data:
            self.add_error("address_secret", "Enter an address or choose a secret, not both.")
        elif not (url or secret or self.instance.encrypted or self.errors):
            self.add_error("url", "Enter an address, or choose a secret that has it.")
        return data

    def save(self, commit: bool = True) -> AlertTarget:
        url, secret = self.cleaned_data.get("url"), self.cleaned_data.get("address_secret", "")
        if url:
            self.instance.set_url(url)
        elif secret and secret != self.present_secret:
            self.instance.set_secret(secret)
        return super().save(commit)


@register(AlertTarget)
class AlertTargetAdmin(DetailActions, ConfigurationAdmin):
    form = AlertTargetForm
    list_display = ("name", "kind", "least_level", "chosen_rules", "last_message", "state_label")
    list_filter = ("active",)
    list_select_related = ("state",)
    search_fields = ("name",)
    unshown_fields = ("url",)
    active_field = "active"
    found = ("kind", "last_message", "problem")
    readonly_fields = found
    fieldsets = (
        (None, {"fields": ("name", "active", "url", "address_secret", "kind")}),
        ("What", {"fields": ("least_level", "rules", "tells_end")}),
        ("How often", {"fields": ("quiet_time", "repeat_after", "last_message", "problem")}),
    )
    actions_detail = ("send_test",)

    @method_decorator(sensitive_post_parameters("url"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> Any:
        return super().changeform_view(*args, **kwargs)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    def unshown_state(self, obj: AlertTarget) -> str:
        return obj.encrypted

    def get_fieldsets(self, request: HttpRequest, obj: AlertTarget | None = None) -> Any:
        left_out = set() if obj else set(self.found)
        if obj and not self.has_change_permission(request, obj):
            left_out = {"url"}
        return tuple(
            (title, {"fields": [each for each in options["fields"] if each not in left_out]})
            for title, options in self.fieldsets
        )

    def offered(self, obj: AlertTarget) -> tuple[str, ...]:
        return ("send_test",)

    @asking(
        dialog(
            "Send a test to {obj}?",
            "It gets a message that says that this is a test.",
            "Send a test",
            "Send nothing",
        ),
        description="Send a test",
        icon="send",
        permissions=["change"],
        variant=ActionVariant.PRIMARY,
    )
    def send_test(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        target = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_change_permission(request, target):
            raise PermissionDenied
        try:
            send_test(target, request.user)
        except NotSent as error:
            self.message_user(request, f"It was not sent: {error}", messages.ERROR)
        else:
            self.message_user(request, "The test was sent.", messages.SUCCESS)
        return leave_dialog(page_of(target))

    @admin.display(description="kind", ordering="scheme")
    def kind(self, target: AlertTarget) -> str:
        if target.address_secret:
            return f"of the secret {target.address_secret}"
        return target.scheme or "no address"

    @admin.display(description="rules")
    def chosen_rules(self, target: AlertTarget) -> str:
        return ", ".join(target.rules) or "all"

    @admin.display(description="last message", ordering="state__sent_at")
    def last_message(self, target: AlertTarget) -> str:
        return shown_time(target.state.sent_at) if target.state.sent_at else "none"

    @admin.display(description="problem")
    def problem(self, target: AlertTarget) -> str:
        return target.state.error or "none"

    @display(
        description="state",
        label={"active": "success", "inactive": "info", "cannot be told": "danger"},
    )
    def state_label(self, target: AlertTarget) -> str:
        if not target.active:
            return "inactive"
        return "cannot be told" if target.state.error else "active"
