"""The project's own pages of its users; groups are not to be seen."""

import django.contrib.auth.admin  # noqa: F401  it registers groups
from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.models import User

admin.site.unregister(Group)


@admin.register(User)
class PeopleAdmin(admin.ModelAdmin):
    list_display = ("full_name", "email", "is_staff")
    search_fields = ("full_name", "email")
    ordering = ("email",)
    exclude = ("password",)
