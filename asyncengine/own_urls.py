"""The addresses of the engine, from the root of an installation or of what a project includes."""

from django.urls import include, path
from django.views.generic import RedirectView

from flows.admin import issuer_login
from flows.admin.login import login_page
from scripts.admin.site import site

urlpatterns = [
    # The target of "View site" and "Return to site", and of the bare address.
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/login/", login_page),
    path("admin/login/oidc/", include(issuer_login.urls)),
    path("admin/", site.urls),
    path("async/docs/", include("flows.documentation.urls")),
    path("async/", include("flows.api.urls")),
]

handler403 = "flows.admin.error_pages.forbidden"
handler404 = "flows.admin.error_pages.not_found"
handler500 = "flows.api.unavailable.server_error"
