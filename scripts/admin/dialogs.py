"""Actions of one object's page, and the dialogs before them: htmx shows a dialog and posts it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from unfold.dataclasses import ActionDialog

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object


class DetailActions(Base):
    """A page that shows the actions that would change its object, and no others."""

    def offered(self, obj: Any) -> Iterable[str]:
        """Return those of `actions_detail` that would change the object now."""
        raise NotImplementedError

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        obj = self.get_object(request, str(object_id))
        if obj is None:
            return []
        model = f"{self.opts.app_label}_{self.opts.model_name}"
        names = {f"{model}_{name}" for name in self.offered(obj)}
        actions = super().get_actions_detail(request, object_id)
        return [each for each in actions if each.action_name in names]


class Dialog(ActionDialog):
    """`dismiss` is the text of the button that changes nothing."""

    dismiss: str


def dialog(title: str, description: str, submit: str, dismiss: str = "Leave it as it is") -> Dialog:
    return Dialog(
        dismiss=dismiss,
        title=title,
        description=description,
        form_class=None,
        form_submit_text=submit,
    )


def leave_dialog(url: str) -> HttpResponse:
    """Have htmx load the whole page, instead of a part of it."""
    return HttpResponse(headers={"HX-Redirect": url})
