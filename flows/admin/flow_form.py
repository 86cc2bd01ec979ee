"""The form of a flow's own settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelectMultipleWidget

from flows.access.starting import flows_to_start
from flows.models import Flow
from scripts.grants import PRIVATE

NO_ARCHIVE = "This installation has no archive yet: set ASYNCENGINE_ARCHIVE_DIR, or they stay."


class FlowForm(forms.ModelForm):
    """A flow starts those that the user may start or configures, and those that it started before.

    The admin sets `user` on a subclass for each request.
    """

    user: Any = None

    may_start = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminSelectMultipleWidget,
        help_text="Flows that its scripts may start with context.start.",
    )

    class Meta:
        model = Flow
        fields = "__all__"  # noqa: DJ007 - the admin names them

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (archive := self.fields.get("archive")) and not settings.ASYNCENGINE_ARCHIVE_DIR:
            archive.help_text = f"{archive.help_text} {NO_ARCHIVE}"
        if "may_start" not in self.fields:
            return
        names = flows_to_start(self.user) if self.user else []
        names += [name for name in self.instance.may_start if name not in names]
        field: Any = self.fields["may_start"]
        field.choices = [(name, name) for name in names]

    def clean_may_start(self) -> list[str]:
        names: list[str] = self.cleaned_data["may_start"]
        present = (
            Flow.objects.filter(pk=self.instance.pk).values_list("may_start", flat=True).first()
        )
        allowed = {*flows_to_start(self.user), *(present or [])}
        if lost := [name for name in names if name not in allowed]:
            raise ValidationError(f"You may not start {', '.join(lost)}.")
        return names

    def clean_private_webhooks(self) -> bool:
        """Users who start the flow can then have this machine call inner networks.

        It reads what is stored: a page of the history begins with an earlier state.
        """
        wanted: bool = self.cleaned_data["private_webhooks"]
        granted = Flow.objects.filter(pk=self.instance.pk, private_webhooks=True)
        if wanted and not self.user.has_perm(PRIVATE.permission) and not granted.exists():
            raise ValidationError(f"It needs the permission {PRIVATE.permission!r}.")
        return wanted
