"""Actions of one object's page, and the dialogs before them.

htmx shows a dialog and posts it. By its address it is a page, for a new tab or without JavaScript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.forms import CharField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import mark_safe
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
            if obj is None:
                return plain(self, request, *args, **kwargs)
            # The template of the dialog prefers this title to the action's own.
            request.dialog_title = dialog["title"].format(  # type: ignore[attr-defined]
                obj=obj, kind=self.opts.verbose_name
            )
            if describe and request.method == "GET":
                request.dialog_details = describe(obj)  # type: ignore[attr-defined]
            if is_part(request):
                return plain(self, request, *args, **kwargs)
            place = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            request.dialog_back = reverse(place, args=[quote(obj.pk)])  # type: ignore[attr-defined]
            return _as_page(self, request, obj, plain(self, request, *args, **kwargs))

        return named

    return decorate


def is_part(request: HttpRequest) -> bool:
    """Say whether htmx asks for a part of the page."""
    return "HX-Request" in request.headers


def _as_page(
    model_admin: Any, request: HttpRequest, obj: Any, response: HttpResponse
) -> HttpResponse:
    """Return what a browser shows that opened the dialog by itself: in a new tab, or without
    JavaScript. `dialog_back` is where the button leads that changes nothing.
    """
    if location := response.headers.get("HX-Redirect"):
        return HttpResponseRedirect(location)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": request.dialog_title,  # type: ignore[attr-defined]
        "opts": model_admin.opts,
        "original": obj,
        "dialog": mark_safe(response.content.decode()),  # noqa: S308  rendered by a template
    }
    return TemplateResponse(request, "admin/dialog_page.html", context)


def leave_dialog(url: str) -> HttpResponse:
    """Have htmx load the whole page, instead of a part of it."""
    return HttpResponse(headers={"HX-Redirect": url})
