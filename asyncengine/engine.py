"""The engine's own part of the settings. `settings.py` has it, and projects that mount the engine.

Nothing here is about the project: its database, users, pages, logs.
"""

import os
import re
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet
from django.templatetags.static import static
from django.urls import reverse_lazy

from asyncengine.cores import allowed_cores
from asyncengine.environment import (
    VAR_DIR,
    encryption_keys,
    env_bool,
    env_int,
    env_list,
    env_rate,
    env_text,
    env_traces,
    kept_key,
    origins,
    public_url,
    unknown_variables,
)

# The address that callers use. It decides on hosts, cookies, redirects and links in answers.
PUBLIC_URL = public_url("ASYNCENGINE_URL")
ASYNCENGINE_URL = PUBLIC_URL.geturl()
# The number of proxies before the web server. Their X-Forwarded-* headers are trusted.
ASYNCENGINE_PROXIES = env_int("ASYNCENGINE_PROXIES", 0)
# The first key encrypts secrets. Each key decrypts them.
ASYNCENGINE_SECRETS_KEYS = encryption_keys("ASYNCENGINE_SECRETS_KEYS")
SECRETS_KEY_IS_KEPT = not ASYNCENGINE_SECRETS_KEYS
if SECRETS_KEY_IS_KEPT:
    ASYNCENGINE_SECRETS_KEYS = [
        kept_key(
            "secrets_key",
            Fernet.generate_key().decode(),
            "ASYNCENGINE_SECRETS_KEYS",
            "the secrets have to be entered anew",
        )
    ]
# The first key encrypts payloads, "plain" in its place none; each key decrypts them. Empty: none.
ASYNCENGINE_PAYLOAD_KEYS = encryption_keys("ASYNCENGINE_PAYLOAD_KEYS", "plain")

# Workers of one cluster: for flows, and for django-q2's own tasks.
ASYNCENGINE_WORKERS = env_int("ASYNCENGINE_WORKERS", allowed_cores())
# 0: as many as it has to begin with, also where Q_CLUSTER gives that number.
ASYNCENGINE_MAX_WORKERS = env_int("ASYNCENGINE_MAX_WORKERS", 0)
ASYNCENGINE_TASK_WORKERS = env_int("ASYNCENGINE_TASK_WORKERS", max(ASYNCENGINE_WORKERS - 1, 1))
ASYNCENGINE_ADMIN_PASSWORD = os.environ.get("ASYNCENGINE_ADMIN_PASSWORD", "")
# Fields of the superuser that `up` makes. The variables are those of createsuperuser --noinput.
ASYNCENGINE_ADMIN_FIELDS = {
    name.removeprefix("DJANGO_SUPERUSER_").lower(): value
    for name, value in os.environ.items()
    if name.startswith("DJANGO_SUPERUSER_")
}
# Where this machine has the files of reference tables, made of what the database has.
ASYNCENGINE_TABLES_DIRECTORY = env_text("ASYNCENGINE_TABLES_DIRECTORY", str(VAR_DIR / "tables"))
# Modules and packages of the project with functions that may run as scripts; empty: none.
ASYNCENGINE_CALLABLE_MODULES = env_list("ASYNCENGINE_CALLABLE_MODULES", "")
# Run scripts even where the machine lacks a measure of the sandbox.
ASYNCENGINE_UNSEALED_SCRIPTS = env_bool("ASYNCENGINE_UNSEALED_SCRIPTS", False)
ASYNCENGINE_MAX_PAYLOAD_BYTES = env_int("ASYNCENGINE_MAX_PAYLOAD_BYTES", 1024 * 1024, minimum=1)
# The largest result of a run, and the largest input of a join.
ASYNCENGINE_MAX_RESULT_BYTES = env_int("ASYNCENGINE_MAX_RESULT_BYTES", 8 * 1024**2, minimum=1)
# Of the input of a step that is kept with the run; of a longer one the beginning is kept.
ASYNCENGINE_MAX_KEPT_BYTES = env_int("ASYNCENGINE_MAX_KEPT_BYTES", 1024**2, minimum=1)
# A delayed start may lie this far in the future.
ASYNCENGINE_MAX_DELAY_DAYS = env_int("ASYNCENGINE_MAX_DELAY_DAYS", 400)
ASYNCENGINE_MAX_TOKEN_DAYS = env_int("ASYNCENGINE_MAX_TOKEN_DAYS", 365)
# Callers of one user that wait for runs in one web process, and streams of events that it has open.
ASYNCENGINE_MAX_WAITERS = env_int("ASYNCENGINE_MAX_WAITERS", 500)
# The most runs that a user starts by the API: a number and in how many seconds; None: no limit.
ASYNCENGINE_START_RATE = env_rate("ASYNCENGINE_START_RATE")
# The OpenID Connect issuer whose tokens the API takes and where users of the pages log in.
ASYNCENGINE_OIDC_ISSUER = env_text("ASYNCENGINE_OIDC_ISSUER", "")
ASYNCENGINE_OIDC_AUDIENCE = env_text("ASYNCENGINE_OIDC_AUDIENCE", "")
# Where tokens name roles. A path with dots leads into objects.
ASYNCENGINE_OIDC_ROLE_CLAIM = env_text("ASYNCENGINE_OIDC_ROLE_CLAIM", "")
# Those whose users may enter the Configuration Manager.
ASYNCENGINE_OIDC_STAFF_ROLES = env_list("ASYNCENGINE_OIDC_STAFF_ROLES", "")
ASYNCENGINE_OIDC_CLIENT_ID = env_text("ASYNCENGINE_OIDC_CLIENT_ID", "")
ASYNCENGINE_OIDC_CLIENT_SECRET = env_text("ASYNCENGINE_OIDC_CLIENT_SECRET", "")
# What the login page calls the issuer; empty: by its host.
ASYNCENGINE_OIDC_NAME = env_text("ASYNCENGINE_OIDC_NAME", "")
# Send a trace of each run to the collector that the variables of OpenTelemetry name.
ASYNCENGINE_TRACES = env_traces("ASYNCENGINE_TRACES")
# How long the audit log is kept. 0: for ever.
ASYNCENGINE_AUDIT_DAYS = env_int("ASYNCENGINE_AUDIT_DAYS", 400)
# Runs of flows with an archive are written there before they are purged; all clusters share it.
ASYNCENGINE_ARCHIVE_DIR = env_text("ASYNCENGINE_ARCHIVE_DIR", "")
# Set by `manage.py up`: the processes of its web server end when `up` has ended.
ASYNCENGINE_UP_PID = env_int("ASYNCENGINE_UP_PID", 0)
# A consumer without a heartbeat for this long has lost its lease.
ASYNCENGINE_LEASE_SECONDS = 10.0
# A consumer session ends after this time, so that workers serve all queues in turn.
ASYNCENGINE_SLICE_SECONDS = 1.0
# A stopping cluster waits this long for running scripts, then releases their messages.
ASYNCENGINE_GRACE_SECONDS: float = env_int("ASYNCENGINE_GRACE_SECONDS", 10)

INSTALLED_APPS = [
    # flows stands before unfold to override its templates, and before django_q to replace its
    # `qcluster` command by one that survives kills.
    "flows",
    "scripts",
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "knox",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "simple_history",
    # Only the Ace editor that it contains is used.
    "django_ace",
]

MIDDLEWARE = [
    "flows.api.middleware.ProblemMiddleware",
    "flows.front.public_address.PublicAddressMiddleware",
    "flows.api.middleware.TextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "flows.admin.see_as.SeeAsMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "flows.front.content_policy.ContentPolicyMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "flows.admin.malformed.MalformedMiddleware",
    "flows.admin.once.OnceMiddleware",
]

# Pages of these origins may call the API in a browser.
CORS_ORIGINS = origins("ASYNCENGINE_CORS_ORIGINS")
if CORS_ORIGINS:
    INSTALLED_APPS.append("corsheaders")
    # Behind the first one alone: refusals that Django itself makes have its headers, too.
    MIDDLEWARE.insert(1, "corsheaders.middleware.CorsMiddleware")
CORS_ALLOW_ALL_ORIGINS = CORS_ORIGINS == ["*"]
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else CORS_ORIGINS
# The API alone, whether the proxy passes the sub-path on or takes it away.
CORS_URLS_REGEX = rf"(?:{re.escape(PUBLIC_URL.path)})?/async/"
CORS_ALLOW_METHODS = ["DELETE", "GET", "POST", "PUT"]
CORS_ALLOW_HEADERS = [
    "accept",
    "authorization",
    "baggage",
    "cache-control",
    "content-type",
    "idempotency-key",
    "if-none-match",
    "last-event-id",
    "traceparent",
    "tracestate",
    "x-correlation-id",
    "x-request-id",
]
CORS_EXPOSE_HEADERS = [
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Correlation-Id",
]

Q_CLUSTER = {
    "name": "asyncengine",
    "broker_class": "flows.worker.broker.QueueBroker",
    "orm": "default",
    "workers": ASYNCENGINE_WORKERS,
    "max_workers": ASYNCENGINE_MAX_WORKERS,
    "task_workers": ASYNCENGINE_TASK_WORKERS,
    # Whether it takes the messages of those queues alone that are bound to its name.
    "bound_queues_only": env_bool("ASYNCENGINE_BOUND_QUEUES_ONLY", False),
    # Settings of clusters with another name, by name.
    "ALT_CLUSTERS": {},
    # The broker itself waits until there is work.
    "poll": 0,
    # The sentinel wakes at once when a process of its cluster has died.
    "guard_cycle": 2,
    "recycle": 10_000,
    # Limits of django-q2's own tasks. Consumer sessions have leases instead.
    "timeout": 1_800,
    "retry": 3_600,
    "max_attempts": 5,
    "save_limit": 1_000,
    "label": "Task engine",
    "log_level": "WARNING",
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "flows.api.authentication.TokenAuthentication",
        "flows.api.authentication.BasicAuthentication",
        "flows.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "flows.api.errors.handle",
    # Finds the caller's address: failed logins are counted by address.
    "NUM_PROXIES": ASYNCENGINE_PROXIES,
    # `?format=` is refused like every unknown query parameter.
    "URL_FORMAT_OVERRIDE": None,
}
REST_KNOX = {
    "TOKEN_TTL": timedelta(hours=10),
    "AUTH_HEADER_PREFIX": "Bearer",
    # One more revokes the oldest one without a name, see flows/access/tokens.py.
    "TOKEN_LIMIT_PER_USER": 50,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Async Engine",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Without `validatorUrl: null` the page calls a service on the internet.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
    "SERVE_INCLUDE_SCHEMA": False,
    # The base of all paths. Without it, the base is the server that delivers the document.
    "SERVERS": [{"url": ASYNCENGINE_URL}] if ASYNCENGINE_URL else [],
    # A test checks the document instead.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "POSTPROCESSING_HOOKS": ["flows.api.openapi.document.complete"],
}

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Async Engine",
    "SITE_HEADER": "Async Engine",
    "SITE_SUBHEADER": "Configuration Manager",
    "SITE_URL": reverse_lazy("admin:index"),
    "SITE_SYMBOL": "account_tree",
    # Browsers request an icon on the first visit, and report an error if there is none.
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("flows/favicon.svg"),
        }
    ],
    "STYLES": [
        lambda request: static("flows/admin.css"),
        lambda request: static("flows/lists.css"),
    ],
    "SCRIPTS": [
        lambda request: static("flows/live.js"),
        lambda request: static("flows/failures.js"),
        lambda request: static("flows/times.js"),
        lambda request: static("flows/accessible.js"),
        lambda request: static("flows/once.js"),
        lambda request: static("flows/drafts.js"),
    ],
    "DASHBOARD_CALLBACK": "flows.admin.dashboard.dashboard",
    "SIDEBAR": {"navigation": "flows.admin.navigation.sidebar"},
}

# After all that read one.
UNKNOWN_VARIABLES = unknown_variables()
