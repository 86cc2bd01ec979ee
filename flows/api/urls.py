from django.urls import path

from flows.api.flows import FlowsView, FlowView
from flows.api.health import LiveView, ReadyView
from flows.api.runs import RunView
from flows.api.specification import JsonView, SwaggerView, YamlView
from flows.api.start import FlowStartView, StartView
from flows.api.tokens import TokenView

app_name = "api"
urlpatterns = [
    path("api/auth/token", TokenView.as_view(), name="token"),
    path("api/start", StartView.as_view(), name="start"),
    path("api/flows", FlowsView.as_view(), name="flows"),
    # A name may have a slash in it.
    path("api/flows/<path:name>/start", FlowStartView.as_view(), name="flow-start"),
    path("api/flows/<path:name>", FlowView.as_view(), name="flow"),
    path("api/runs/<str:id>", RunView.as_view(), name="run"),
    path("health/live", LiveView.as_view(), name="live"),
    path("health/ready", ReadyView.as_view(), name="ready"),
    path("specifications/openapi.json", JsonView.as_view(), name="openapi-json"),
    path("specifications/openapi.yaml", YamlView.as_view(), name="openapi-yaml"),
    path("specifications/swagger-ui/index.html", SwaggerView.as_view(), name="swagger-ui"),
]
