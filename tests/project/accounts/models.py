from __future__ import annotations

from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models

from accounts.keys import key_field


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, full_name: str, password: str | None = None) -> User:
        return self._create(email, full_name, password)

    def create_superuser(self, email: str, full_name: str, password: str | None = None) -> User:
        return self._create(email, full_name, password, is_staff=True, is_superuser=True)

    def _create(self, email: str, full_name: str, password: str | None, **flags: Any) -> User:
        user = self.model(email=self.normalize_email(email), full_name=full_name, **flags)
        user.set_password(password)
        user.save()
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """Known by the e-mail address; there is no user name."""

    id = key_field()
    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=200)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    joined_at = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["full_name"]

    objects = UserManager()

    def __str__(self) -> str:
        return self.full_name

    def get_full_name(self) -> str:
        return self.full_name


class Staff(User):
    """The same users, by another name."""

    class Meta:
        proxy = True
