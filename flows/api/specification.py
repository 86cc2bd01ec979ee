"""The OpenAPI document, made for each request from what is configured, and its page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer2
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from flows.api.flow_operations import add_flows
from flows.api.schemas import COMPONENTS
from flows.api.view import checked_query

START_PATH = "/async/api/start"


class GivenForm(DefaultContentNegotiation):
    """The path says which form is meant, whatever the Accept header."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class PublicView(APIView):
    """What the views of the document have in common: no login, one form."""

    authentication_classes = []
    permission_classes = []
    content_negotiation_class = GivenForm

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        checked_query(request.query_params, frozenset())


class JsonView(PublicView, SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2]


class YamlView(PublicView, SpectacularAPIView):
    renderer_classes = [OpenApiYamlRenderer2]


class SwaggerView(PublicView, SpectacularSwaggerView):
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "api:openapi-json"


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "flows.api.authentication.TokenAuthentication"
    name = "bearerAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token of createToken."}


class BasicScheme(OpenApiAuthenticationExtension):
    target_class = "flows.api.authentication.BasicAuthentication"
    name = "basicAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "basic"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "flows.api.authentication.SessionAuthentication"
    name = "sessionAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The login of the admin; with the CSRF token where something changes.",
        }


def complete(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Add the shapes and the flows (drf-spectacular's POSTPROCESSING_HOOKS)."""
    result["components"].setdefault("schemas", {}).update(COMPONENTS)
    start = result["paths"][START_PATH]["post"]
    start["requestBody"]["required"] = True
    add_flows(result, start)
    return result
