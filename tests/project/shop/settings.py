"""A project with the engine in it: its own users, apps, tasks, transactions and addresses."""

import os
from pathlib import Path

from asyncengine.settings import *  # noqa: F403
from asyncengine.settings import DATABASES, INSTALLED_APPS, Q_CLUSTER, REST_FRAMEWORK

BASE_DIR = Path(__file__).resolve().parent.parent

INSTALLED_APPS = [*INSTALLED_APPS, "accounts", "orders"]
# Where the project has pages of its own for its users, its app may stand on either side.
match os.environ.get("SHOP_BACKOFFICE"):
    case "first":
        INSTALLED_APPS.insert(0, "backoffice")
    case "last":
        INSTALLED_APPS.append("backoffice")
    case "site":
        own = {
            "unfold": "unfold.apps.BasicAppConfig",
            "django.contrib.admin": "shop.site.ShopAdminConfig",
        }
        INSTALLED_APPS = [own.get(app, app) for app in INSTALLED_APPS]
AUTH_USER_MODEL = "accounts.User"
DATABASES["default"]["ATOMIC_REQUESTS"] = True
ROOT_URLCONF = "shop.urls"
Q_CLUSTER = Q_CLUSTER | {"name": "shop", "save_limit": 50, "max_attempts": 2, "label": "Shop"}
ASYNCENGINE_CALLABLE_MODULES = ["orders.steps", "orders.tasks"]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "Europe/Berlin"
# All else is REST framework's own, as its views of the shop have it: anonymous callers are let in.
REST_FRAMEWORK = {
    name: REST_FRAMEWORK[name]
    for name in ("DEFAULT_AUTHENTICATION_CLASSES", "DEFAULT_SCHEMA_CLASS", "URL_FORMAT_OVERRIDE")
}
