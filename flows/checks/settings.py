"""Checks of the settings that a project with settings of its own needs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import DEFAULT_DB_ALIAS, router
from django.utils.module_loading import import_string

from flows.encryption.payload_keys import Keys
from flows.front.mount import is_mounted, own_middleware
from flows.models.durations import is_rate_period
from scripts.checks import ENGINE

BROKER = "flows.worker.broker.QueueBroker"

# The first app of each pair must stand before the second, or else this happens.
ORDER = (
    ("flows", "unfold", "the admin shows pages of unfold instead of the Configuration Manager"),
    ("flows", "django_q", "`qcluster` is the command of django-q2, which does not survive kills"),
    ("unfold", "django.contrib.admin", "the admin shows pages of Django instead of unfold"),
)

PUBLIC_ADDRESS = "flows.front.public_address.PublicAddressMiddleware"

# Those whose place does not matter where the pages of the engine have templates of their own.
UNORDERED = ("unfold", "django.contrib.admin")

# What happens without each.
MIDDLEWARE = {
    "flows.api.middleware.ProblemMiddleware": "errors of the API are HTML and not problem+json",
    PUBLIC_ADDRESS: "ASYNCENGINE_URL has no effect",
    "flows.api.middleware.TextMiddleware": "texts that no database can store cause errors 500",
    "flows.front.content_policy.ContentPolicyMiddleware": "pages have no Content-Security-Policy",
    "simple_history.middleware.HistoryRequestMiddleware": "histories do not name the user",
    "flows.admin.see_as.SeeAsMiddleware": "administrators cannot see pages as another user",
    "flows.admin.malformed.MalformedMiddleware": "malformed addresses of pages cause errors 500",
    "flows.admin.once.OnceMiddleware": "a double click in a dialog acts twice",
}

# A model of each kind that the engine reads and writes in the default database.
ROUTED = ("flows.Run", "flows.Flow", "scripts.Script", "django_q.OrmQ", "django_q.Task")
AUTHENTICATION = (
    "flows.api.authentication.TokenAuthentication",
    "flows.api.authentication.BasicAuthentication",
)
# Caches that processes do not share, or that store nothing.
CACHES_OF_ONE_PROCESS = (
    "django.core.cache.backends.dummy.DummyCache",
    "django.core.cache.backends.locmem.LocMemCache",
)


@register(ENGINE)
def apps_stand_in_their_order(**kwargs: Any) -> list[CheckMessage]:
    places = {config.name: place for place, config in enumerate(apps.get_app_configs())}
    return [
        Error(
            f"{second} stands before {first} in INSTALLED_APPS: {consequence}.",
            hint="Use the order of asyncengine.settings.INSTALLED_APPS.",
            id="flows.E005",
        )
        for first, second, consequence in ORDER
        if not (is_mounted() and second in UNORDERED)
        and first in places
        and second in places
        and places[first] > places[second]
    ]


@register(ENGINE)
def workers_ask_the_broker_of_flows(**kwargs: Any) -> list[CheckMessage]:
    if _is_a(getattr(settings, "Q_CLUSTER", {}).get("broker_class"), BROKER):
        return []
    return [
        Error(
            f"Q_CLUSTER has no broker_class {BROKER!r}: workers process no flow.",
            hint="Start from asyncengine.settings.Q_CLUSTER and change only what you need.",
            id="flows.E006",
        )
    ]


@register(ENGINE)
def no_other_broker_is_left_with_tasks(**kwargs: Any) -> list[CheckMessage]:
    if not (replaced := getattr(settings, "ASYNCENGINE_REPLACED_BROKER", "")):
        return []
    return [
        Warning(
            f"Q_CLUSTER names another broker of django-q2, {replaced}: tasks are now kept in the"
            " database 'default', and what waits in the other broker is run by no worker.",
            hint="Let the cluster of before empty it, without settings_for, while nothing adds"
            " tasks. Then remove it from Q_CLUSTER.",
            id="flows.W021",
        )
    ]


@register(ENGINE)
def variables_are_those_of_the_engine(**kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is no variable of the engine: it has no effect.",
            hint=f"Is {like} meant?" if like else "Remove it, or correct its name.",
            id="flows.W020",
        )
        for name, like in getattr(settings, "UNKNOWN_VARIABLES", {}).items()
    ]


@register(ENGINE)
def middleware_is_there(**kwargs: Any) -> list[CheckMessage]:
    return list(_missing_middleware())


def _missing_middleware() -> Iterator[CheckMessage]:
    for name, consequence in MIDDLEWARE.items():
        if is_mounted() and name == PUBLIC_ADDRESS:
            # The public address is the project's.
            continue
        if not _is_among(own_middleware(), name):
            yield Warning(
                f"MIDDLEWARE leaves out {name}: {consequence}.",
                hint="Add it at its position in asyncengine.settings.MIDDLEWARE.",
                id="flows.W011",
            )


@register(ENGINE)
def moments_have_a_time_zone(**kwargs: Any) -> list[CheckMessage]:
    if settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is False: leases, delays and tokens are times with a time zone, and workers"
            " fail at the first one.",
            hint="Set USE_TZ = True. TIME_ZONE may be any time zone.",
            id="flows.E007",
        )
    ]


@register(ENGINE)
def rows_are_in_the_default_database(**kwargs: Any) -> list[CheckMessage]:
    """Check DATABASE_ROUTERS, since the SQL statements of the engine ignore them."""
    elsewhere = [
        name
        for name in ROUTED
        for ask in (router.db_for_read, router.db_for_write)
        if ask(apps.get_model(name)) != DEFAULT_DB_ALIAS
    ]
    if not elsewhere:
        return []
    return [
        Error(
            f"DATABASE_ROUTERS send {', '.join(dict.fromkeys(elsewhere))} to another database than"
            " 'default', or read it from a replica: workers do not see new rows.",
            hint="Let your routers return 'default' for flows, scripts and django_q.",
            id="flows.E008",
        )
    ]


@register(ENGINE)
def tokens_are_what_the_api_says(**kwargs: Any) -> list[CheckMessage]:
    knox = getattr(settings, "REST_KNOX", {})
    is_right = {
        "AUTH_HEADER_PREFIX": knox.get("AUTH_HEADER_PREFIX") == "Bearer",
        "TOKEN_LIMIT_PER_USER": isinstance(knox.get("TOKEN_LIMIT_PER_USER"), int),
        "TOKEN_TTL": isinstance(knox.get("TOKEN_TTL", timedelta()), timedelta),
    }
    if is_mounted():
        # The other two are for the project's own tokens.
        is_right = {"TOKEN_TTL": is_right["TOKEN_TTL"]}
    if all(is_right.values()):
        return []
    missing = ", ".join(name for name, right in is_right.items() if not right)
    return [
        Error(
            f"REST_KNOX lacks what the API needs, {missing}: no token can be made or used.",
            hint="Start from asyncengine.settings.REST_KNOX and change only what you need.",
            id="flows.E009",
        )
    ]


@register(ENGINE)
def start_rate_is_a_number_in_seconds(**kwargs: Any) -> list[CheckMessage]:
    match settings.ASYNCENGINE_START_RATE:
        case None:
            return []
        case (int(count), int(seconds)):
            if count >= 1 and is_rate_period(timedelta(seconds=seconds)):
                return []
    return [
        Error(
            "ASYNCENGINE_START_RATE is no number of starts with the seconds that it counts in: each"
            " start by the API fails.",
            hint="Set such as (100, 1) or None; the variable of the environment is such as 100/s.",
            id="flows.E012",
        )
    ]


@register(ENGINE)
def payload_keys_are_keys(**kwargs: Any) -> list[CheckMessage]:
    try:
        Keys(settings.ASYNCENGINE_PAYLOAD_KEYS)
    except (TypeError, ValueError):
        # Without the key, which does not belong into a log.
        return [
            Error(
                "ASYNCENGINE_PAYLOAD_KEYS holds something that is no key.",
                hint="Set a list of Fernet keys, the newest one first, or 'plain' and then the"
                " keys of before.",
                id="flows.E014",
            )
        ]
    return []


@register(ENGINE)
def secrets_keys_are_keys(**kwargs: Any) -> list[CheckMessage]:
    keys = settings.ASYNCENGINE_SECRETS_KEYS
    try:
        MultiFernet([Fernet(key) for key in keys])
    except (TypeError, ValueError):
        # Without the key, as above.
        return [
            Error(
                "ASYNCENGINE_SECRETS_KEYS holds something that is no Fernet key, or nothing.",
                hint="Set a list of Fernet keys, the newest one first.",
                id="flows.E015",
            )
        ]
    return []


@register(ENGINE)
def callers_can_log_in(**kwargs: Any) -> list[CheckMessage]:
    name = "ASYNCENGINE_REST_FRAMEWORK" if is_mounted() else "REST_FRAMEWORK"
    classes = getattr(settings, name, {}).get("DEFAULT_AUTHENTICATION_CLASSES", ())
    return [
        Warning(
            f"REST_FRAMEWORK leaves out {name}: callers of the API cannot log in with it.",
            hint="Add it to DEFAULT_AUTHENTICATION_CLASSES.",
            id="flows.W012",
        )
        for name in AUTHENTICATION
        if not _is_among(classes, name)
    ]


@register(ENGINE)
def an_idle_cluster_wakes_up(**kwargs: Any) -> list[CheckMessage]:
    # The default of django-q2.
    seconds = getattr(settings, "Q_CLUSTER", {}).get("poll", 0.2)
    if not seconds:
        return []
    return [
        Warning(
            f"Q_CLUSTER has a poll of {seconds} s: a run that is started while a cluster is idle"
            " waits for up to that time.",
            hint='Set "poll": 0. Workers are woken when there is something to do.',
            id="flows.W013",
        )
    ]


@register(ENGINE)
def caches_are_shared(**kwargs: Any) -> list[CheckMessage]:
    """Check that sessions and results of tasks are in caches that processes share."""
    uses = {}
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache":
        uses["SESSION_CACHE_ALIAS"] = (settings.SESSION_CACHE_ALIAS, "logins on the pages")
    if name := getattr(settings, "Q_CLUSTER", {}).get("cache"):
        uses['Q_CLUSTER["cache"]'] = (name, "cached results and the states of clusters")
    return [
        Warning(
            f"{setting} names the cache {name!r}, which processes do not share: {what} are lost.",
            hint="Name a shared cache, or remove the setting to use the database.",
            id="flows.W014",
        )
        for setting, (name, what) in uses.items()
        if _is_of_one_process(name)
    ]


def _is_of_one_process(name: str) -> bool:
    backend = settings.CACHES.get(name, {}).get("BACKEND")
    return any(_is_a(backend, each) for each in CACHES_OF_ONE_PROCESS)


def _is_among(paths: Collection[Any], name: str) -> bool:
    """Return whether one of these is the class. Only without its own name are others imported."""
    return name in paths or any(_is_a(path, name) for path in paths)


def _is_a(path: Any, name: str) -> bool:
    """Return whether a dotted path names this class or a subclass of it."""
    if path == name:
        return True
    try:
        found, expected = import_string(path), import_string(name)
    except (ImportError, AttributeError, TypeError):
        # Its user reports a wrong path.
        return False
    # Middleware may be a function.
    is_class = isinstance(found, type) and isinstance(expected, type)
    return is_class and issubclass(found, expected)
