from django.urls import path

from flows.documentation import views

app_name = "documentation"
urlpatterns = [
    path("", views.page, name="first"),
    path("search/", views.search, name="search"),
    path("<path:name>/", views.page, name="page"),
]
