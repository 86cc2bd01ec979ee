"""The pages of the OpenAPI document, and the ways to log in that it names."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from django.utils.decorators import method_decorator
from django.views.decorators.gzip import gzip_page
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularSwaggerView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request

from flows.api.authentication import recognised
from flows.api.framework import EngineView, specified
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.document import Document, as_json, as_yaml, document_for
from flows.api.view import checked_query
from flows.identity.options import discovery_url, options


class GivenForm(DefaultContentNegotiation):
    """The path decides the format, not the Accept header."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> Any:
        return renderers[0], renderers[0].media_type


class PublicView(EngineView):
    """What the views of the document have in common: no login is needed, one form."""

    authentication_classes = []
    permission_classes = []
    content_negotiation_class = GivenForm
    # The answer to OPTIONS would need a format that these views do not have.
    metadata_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        checked_query(request.query_params, frozenset())


@method_decorator(gzip_page, name="dispatch")
class DocumentView(PublicView):
    """Returns the document in one format. Invalid credentials count as none."""

    content_type = ""
    file_name = ""

    @staticmethod
    def render(document: Document) -> bytes:
        raise NotImplementedError

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        document = document_for(recognised(request), self.render)
        response = HttpResponse(document.body, content_type=self.content_type)
        response["Content-Disposition"] = f'inline; filename="{self.file_name}"'
        response["ETag"] = document.etag
        # A browser may keep it, but has to ask each time whether it has changed.
        response["Cache-Control"] = "private, no-cache"
        patch_vary_headers(response, ["Authorization", "Cookie"])
        answer = get_conditional_response(request._request, document.etag, response=response)
        return answer or response


class JsonView(DocumentView):
    content_type = "application/json"
    file_name = "openapi.json"
    render = staticmethod(as_json)


class YamlView(DocumentView):
    content_type = "application/yaml"
    file_name = "openapi.yaml"
    render = staticmethod(as_yaml)


class SwaggerView(PublicView, SpectacularSwaggerView):
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "api:openapi-json"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        with specified():
            return super().get(request, *args, **kwargs)


class BearerScheme(OpenApiAuthenticationExtension):
    target_class = "flows.api.authentication.TokenAuthentication"
    name = "bearerAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token of createToken."}


class IssuerScheme(OpenApiAuthenticationExtension):
    target_class = "flows.api.authentication.IssuerAuthentication"
    name = "openIdConnect"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "openIdConnect",
            "openIdConnectUrl": discovery_url(options().issuer),
            "description": "A token of the identity provider. While its keys cannot be fetched,"
            " calls with one are answered 503 `issuer-unavailable`.",
        }


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
