from django.contrib import admin
from django.urls import include, path

from flows.admin.login import login_page

urlpatterns = [
    path("admin/login/", login_page),
    path("admin/", admin.site.urls),
    path("async/", include("flows.api.urls")),
]

handler500 = "flows.unavailable.server_error"
