"""API tokens. The page that makes a token shows it once: the database holds its hash alone."""

from __future__ import annotations

from typing import Any

import knox.admin  # noqa: F401  it registers its own class, which is replaced here
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import CharField, ModelForm
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString
from knox.models import AuthToken, get_digest_token, get_token_model
from knox.settings import CONSTANTS, knox_settings
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from flows.access import audit
from flows.access.tokens import (
    NewToken,
    call_token,
    has_room,
    most_tokens,
    token_name,
    with_names_and_uses,
)
from flows.admin import own_tokens
from flows.admin.display import list_of, shown_time
from flows.admin.registering import unregister_stock
from flows.admin.token_made import lead_to
from flows.identity.users import is_external
from flows.models import TokenName
from flows.models.users import all_users, user_name_field
from scripts.admin.bulk import bulk_action
from scripts.admin.site import register

Token: Any = get_token_model()
# Its tokens would go on where the provider has ended the login.
OF_ISSUER = "You log in at an identity provider: call the API with its tokens."

unregister_stock(Token)


class TokenForm(ModelForm):
    """The admin sets `maker` on a subclass for each request."""

    maker: Any = None

    name = CharField(
        max_length=TokenName._meta.get_field("name").max_length,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="What will use it, as in billing-service. Lists and the audit log show the name.",
    )

    class Meta:
        model = Token
        fields = ("name", "user", "expiry")
        help_texts = {
            "user": "Calls with the token have this user's rights.",
            "expiry": "In UTC. If empty, the token never expires.",
        }

    def clean_user(self) -> Any:
        user = self.cleaned_data["user"]
        if user == self.maker and is_external(user):
            raise ValidationError(OF_ISSUER)
        if not has_room(user):
            raise ValidationError(
                f"The user has {most_tokens()} tokens, the most that a user may have: revoke some."
            )
        return user


@register(Token)
class TokenAdmin(ModelAdmin):
    form = TokenForm
    list_display = ("shown_name", "begins_with", "user", "made", "last_used", "expires", "state")
    list_select_related = ("user",)
    search_fields = ("token_key", f"user__{user_name_field()}", "name")
    ordering = ("-created",)
    fields = ("name", "user", "expiry")
    readonly_fields = ("shown_name", "begins_with", "made", "last_used", "expires")
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: AuthToken | None = None) -> Any:
        if obj is None:
            return self.fields
        return ("shown_name", "begins_with", "user", "expires", "made", "last_used")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_names_and_uses(super().get_queryset(request))

    def get_urls(self) -> list[URLPattern]:
        return [*own_tokens.urls(self), *super().get_urls()]

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        # Django 6.1 passes the location of the page, earlier ones do not.
        location = () if action_location is None else (action_location,)
        actions: dict[str, Any] = super().get_actions(request, *location)
        actions.pop("delete_selected", None)
        return actions

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        return type(form.__name__, (form,), {"maker": request.user})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        ttl = knox_settings.TOKEN_TTL
        return {"user": request.user.pk, "expiry": ttl and timezone.now() + ttl}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # A token acts as its user: only a superuser makes one for another user.
        if db_field.name == "user" and not request.user.is_superuser:
            kwargs["queryset"] = all_users().filter(pk=request.user.pk)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: AuthToken, form: Any, change: bool) -> None:
        obj.digest, form.token = get_digest_token()
        obj.token_key = form.token[: CONSTANTS.TOKEN_KEY_LENGTH]
        request.made_token = form.token  # type: ignore[attr-defined]
        name: str = form.cleaned_data["name"].strip()
        obj.name = name
        obj.extra_changes = {"name": ("", name)}
        super().save_model(request, obj, form, change)
        call_token(obj, name)

    def response_add(
        self, request: HttpRequest, obj: AuthToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        made = NewToken(request.made_token, obj)  # type: ignore[attr-defined]
        return lead_to(request, made, list_of(Token))

    @display(description="name", ordering="name")
    def shown_name(self, token: Any) -> str:
        return token.name or "without a name"

    @display(description="token")
    def begins_with(self, token: AuthToken) -> str:
        return f"{token.token_key}…"

    @display(description="created", ordering="created")
    def made(self, token: AuthToken) -> SafeString:
        return shown_time(token.created)

    @display(description="last used", ordering="used_at")
    def last_used(self, token: Any) -> SafeString | str:
        return shown_time(token.used_at) if token.used_at else "-"

    @display(description="expires", ordering="expiry")
    def expires(self, token: AuthToken) -> SafeString | str:
        return shown_time(token.expiry) if token.expiry else "never"

    @display(description="state", label={"valid": "success", "expired": "danger"})
    def state(self, token: AuthToken) -> str:
        return "expired" if token.expiry and token.expiry < timezone.now() else "valid"

    def bulk_name(self, token: AuthToken) -> str:
        return token_name(token)

    @bulk_action(
        "Revoke",
        "Calls with them are refused at once.",
        lambda model_admin, request, tokens: (tokens, []),
        permissions=["delete"],
        asks_reason=True,
        is_danger=True,
    )
    def revoke(self, request: HttpRequest, tokens: list[AuthToken], reason: str) -> None:
        with audit.acting(reason=reason):
            chosen = Token.objects.filter(pk__in=[token.pk for token in tokens])
            count, _ = chosen.delete()
        self.message_user(request, f"Tokens revoked: {count}.", messages.SUCCESS)
