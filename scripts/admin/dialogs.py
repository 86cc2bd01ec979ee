"""Actions of one object's page, and the dialogs before them: htmx shows a dialog and posts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.forms import CharField
from django.http import HttpRequest, HttpResponse
from unfold.dataclasses import ActionDialog
from unfold.decorators import action
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

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
    """`dismiss` is the text of the button that changes nothing; `is_danger`: no way leads back."""

    dismiss: str
    is_danger: bool


class ReasonForm(BaseDialogForm):
    reason = CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Optional; it stays in the audit log.",
    )


def dialog(
    title: str,
    description: str,
    submit: str,
    dismiss: str = "Leave it as it is",
    *,
    asks_reason: bool = False,
    is_danger: bool = False,
) -> Dialog:
    return Dialog(
        dismiss=dismiss,
        is_danger=is_danger,
        title=title,
        description=description,
        form_class=ReasonForm if asks_reason else None,
        form_submit_text=submit,
    )


def asking(
    dialog: ActionDialog, describe: Callable[[Any], str] | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Make an action of one object that asks by a dialog. The options are those of unfold's action.

    The dialog's title may have `{obj}` for the object, as it calls itself, and `{kind}`. `describe`
    says more of the object, behind the dialog's description.
    """

    def decorate(method: Callable[..., Any]) -> Any:
        plain = action(dialog=dialog, **options)(method)

        @wraps(plain)
        def named(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            obj = self.get_object(request, str(kwargs.get("object_id")))
            if obj is not None:
                # The template of the dialog prefers this title to the action's own.
                title = dialog["title"].format(obj=obj, kind=self.opts.verbose_name)
                request.dialog_title = title  # type: ignore[attr-defined]
                if describe and request.method == "GET":
                    request.dialog_details = describe(obj)  # type: ignore[attr-defined]
            return plain(self, request, *args, **kwargs)

        return named

    return decorate


def leave_dialog(url: str) -> HttpResponse:
    """Have htmx load the whole page, instead of a part of it."""
    return HttpResponse(headers={"HX-Redirect": url})
