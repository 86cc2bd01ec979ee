"""A project with the engine in it: its own users, apps, tasks, transactions and addresses."""

import os
from pathlib import Path

from asyncengine.settings import *  # noqa: F403
from asyncengine.settings import DATABASES, INSTALLED_APPS, Q_CLUSTER

BASE_DIR = Path(__file__).resolve().parent.parent

INSTALLED_APPS = [*INSTALLED_APPS, "accounts", "orders"]
# Where the project has pages of its own for its users, its app may stand on either side.
match os.environ.get("SHOP_BACKOFFICE"):
    case "first":
        INSTALLED_APPS.insert(0, "backoffice")
    case "last":
        INSTALLED_APPS.append("backoffice")
AUTH_USER_MODEL = "accounts.User"
DATABASES["default"]["ATOMIC_REQUESTS"] = True
ROOT_URLCONF = "shop.urls"
Q_CLUSTER = Q_CLUSTER | {"name": "shop", "save_limit": 50, "max_attempts": 2, "label": "Shop"}
ASYNCENGINE_CALLABLE_MODULES = ["orders.steps", "orders.tasks"]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "Europe/Berlin"
