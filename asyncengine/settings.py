"""Django settings. The only place that reads the environment; README.md lists the variables."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import dj_database_url
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy

from asyncengine.cores import allowed_cores
from asyncengine.own_packages import require_own_packages

require_own_packages()

from flows.postgresql.session_settings import session_settings  # noqa: E402

# The root of a checkout; where the package is installed, the directory that the process runs in.
BASE_DIR = Path(__file__).resolve().parent.parent
if not (BASE_DIR / "manage.py").exists():
    BASE_DIR = Path.cwd()
VAR_DIR = BASE_DIR / (os.environ.get("ASYNCENGINE_DATA_DIR", "").strip() or "var")

# Only the user of this process may read its files: SQLite stores tokens, payloads and logs.
os.umask(os.umask(0o077) | 0o077)
# Suffixes of the files of an SQLite database, with those that its writers add.
SQLITE_FILES = ("", "-journal", "-wal", "-shm", "-turn", "-clock")


def env_text(name: str, default: str) -> str:
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, default: bool) -> bool:
    value = env_text(name, "1" if default else "0").lower()
    if value not in {"0", "1", "true", "false"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1, not {value!r}")
    return value in {"1", "true"}


def env_int(name: str, default: int, minimum: int = 0) -> int:
    value = env_text(name, str(default))
    if not value.isdigit() or int(value) < minimum:
        raise ImproperlyConfigured(
            f"{name} must be a whole number of at least {minimum}, not {value!r}"
        )
    return int(value)


def env_list(name: str, default: str) -> list[str]:
    return [item.strip() for item in env_text(name, default).split(",") if item.strip()]


def close_to_others(path: Path) -> None:
    """Remove the rights of other users to a file, which earlier versions have left."""
    with suppress(OSError):
        if (mode := path.stat().st_mode) & 0o077:
            path.chmod(mode & 0o700)


@contextmanager
def writing_to(directory: Path, what: str) -> Iterator[None]:
    """Make the directory if it does not exist. Raises ImproperlyConfigured if that is not allowed,
    or if the block cannot write there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield
    except OSError as error:
        raise ImproperlyConfigured(f"{directory} cannot hold {what}: {error.strerror}") from error


def kept_key(name: str, new_key: str) -> str:
    """Return the key in `var/`, or store the new one there if it has none. Only its owner reads it.

    The complete file is linked to its name, so processes that start together agree on one key.
    """
    path = VAR_DIR / name
    if path.exists():
        return path.read_text()
    with writing_to(VAR_DIR, f"the {name.replace('_', ' ')}, which is kept there"):
        draft = VAR_DIR / f"{name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text()


def public_url(name: str) -> SplitResult:
    """Return the address as browsers write it, without a slash at the end, or an empty one."""
    value = env_text(name, "")
    return web_address(name, value) if value else urlsplit("")


def web_address(name: str, value: str) -> SplitResult:
    """Return an address as browsers write it, without a slash at the end."""
    try:
        url = urlsplit(value)
        host, port = url.hostname or "", url.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is no address: {error}") from error
    if url.scheme not in {"http", "https"} or not host:
        raise ImproperlyConfigured(f"{name} must begin with https:// or http:// and a host")
    is_plain = re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", url.path) is not None
    if "@" in url.netloc or url.query or url.fragment or not is_plain:
        raise ImproperlyConfigured(f"{name} must have nothing but a scheme, a host and a path")
    is_default = port in {None, {"http": 80, "https": 443}.get(url.scheme)}
    netloc = host if is_default else f"{host}:{port}"
    return url._replace(netloc=netloc, path=url.path.rstrip("/"))


def origins(name: str) -> list[str]:
    """Return origins as browsers send them, or `*` alone, which stands for all."""
    values = env_list(name, "")
    if values == ["*"]:
        return values
    found = [web_address(name, value) for value in values]
    if any(url.path or "*" in url.netloc for url in found):
        raise ImproperlyConfigured(
            f"{name} must have * alone, or origins: a scheme and a host, no path and no *"
        )
    return [f"{url.scheme}://{url.netloc}" for url in found]


def encryption_keys(name: str) -> list[str]:
    keys = env_list(name, "")
    for key in keys:
        try:
            Fernet(key)
        except ValueError as error:
            # Leave the key out, so that it does not get into a log.
            raise ImproperlyConfigured(f"{name} holds something that is no Fernet key") from error
    return keys


# SQLite cuts its write-ahead log to this size. Between two checkpoints it needs 4 MB.
SQLITE_LOG_BYTES = 16 * 1024 * 1024


def database(url: str, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """Return Django's settings for a URL. A relative SQLite path starts in BASE_DIR."""
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url))
    except (ValueError, dj_database_url.UnknownSchemeError) as error:
        raise ImproperlyConfigured(f"{variable} is not understood: {error}") from error
    # A worker keeps its connection from one consumer session to the next.
    config["CONN_MAX_AGE"] = 600
    config["CONN_HEALTH_CHECKS"] = True
    if config["ENGINE"] == "django.db.backends.sqlite3":
        if config["NAME"] in {"", ":memory:"}:
            raise ImproperlyConfigured(
                f"{variable} names a database in memory: web server and workers share theirs"
            )
        config["NAME"] = str(BASE_DIR / config["NAME"])
        with writing_to(Path(config["NAME"]).parent, "the SQLite database"):
            for suffix in SQLITE_FILES:
                close_to_others(Path(config["NAME"] + suffix))
        # FULL: an accepted start survives a power cut. IMMEDIATE: a writer waits for the lock
        # instead of failing in the middle of a transaction. The write-ahead log grows during a
        # long read and shrinks after it.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                f"PRAGMA journal_size_limit={SQLITE_LOG_BYTES};"
            ),
        }
    elif config["ENGINE"] == "django.db.backends.postgresql":
        # Django's backend, which also detects a server that does not answer.
        config["ENGINE"] = "flows.postgresql"
        options: dict[str, Any] = config.get("OPTIONS", {})
        config["OPTIONS"] = {
            "connect_timeout": 5,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "session_settings": session_settings(options.pop("options", "")),
        } | options
    else:
        raise ImproperlyConfigured(f"{variable} must name a SQLite or a PostgreSQL database")
    return config


def direct_database(url: str, engine: str) -> dict[str, Any] | None:
    """Return Django's settings for the database without its pooler; None if there is no pooler."""
    if not url:
        return None
    config = database(url, "DATABASE_DIRECT_URL")
    if not config["ENGINE"] == engine == "flows.postgresql":
        raise ImproperlyConfigured(
            "DATABASE_DIRECT_URL is for a pooler: both it and DATABASE_URL must name PostgreSQL"
        )
    return config


close_to_others(VAR_DIR)
DEBUG = env_bool("ASYNCENGINE_DEBUG", False)
SECRET_KEY_IS_KEPT = not os.environ.get("ASYNCENGINE_SECRET_KEY")
SECRET_KEY = os.environ.get("ASYNCENGINE_SECRET_KEY") or kept_key(
    "secret_key", secrets.token_urlsafe(48)
)
ALLOWED_HOSTS = env_list("ASYNCENGINE_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
# The address that callers use. It decides on hosts, cookies, redirects and links in answers.
PUBLIC_URL = public_url("ASYNCENGINE_URL")
ASYNCENGINE_URL = PUBLIC_URL.geturl()
# The number of proxies before the web server. Their X-Forwarded-* headers are trusted.
ASYNCENGINE_PROXIES = env_int("ASYNCENGINE_PROXIES", 0)
if ASYNCENGINE_URL:
    ALLOWED_HOSTS.append(PUBLIC_URL.netloc.removesuffix(f":{PUBLIC_URL.port}"))
    CSRF_TRUSTED_ORIGINS = [f"{PUBLIC_URL.scheme}://{PUBLIC_URL.netloc}"]
    FORCE_SCRIPT_NAME = PUBLIC_URL.path or None
    SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = PUBLIC_URL.path or "/"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.scheme == "https"
SECURE_HSTS_SECONDS = 31_536_000 if PUBLIC_URL.scheme == "https" else 0
DATABASES = {
    "default": database(
        env_text("DATABASE_URL", f"sqlite:///{quote(str(VAR_DIR / 'asyncengine.sqlite3'))}")
    )
}
# Used to listen for notifications, which a pooler does not pass on.
ASYNCENGINE_DIRECT_DATABASE = direct_database(
    env_text("DATABASE_DIRECT_URL", ""), DATABASES["default"]["ENGINE"]
)

# The first key encrypts secrets. Each key decrypts them.
ASYNCENGINE_SECRETS_KEYS = encryption_keys("ASYNCENGINE_SECRETS_KEYS")
SECRETS_KEY_IS_KEPT = not ASYNCENGINE_SECRETS_KEYS
if SECRETS_KEY_IS_KEPT:
    ASYNCENGINE_SECRETS_KEYS = [kept_key("secrets_key", Fernet.generate_key().decode())]

# Workers of one cluster: for flows, and for django-q2's own tasks.
ASYNCENGINE_WORKERS = env_int("ASYNCENGINE_WORKERS", allowed_cores())
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
# How long the audit log is kept. 0: for ever.
ASYNCENGINE_AUDIT_DAYS = env_int("ASYNCENGINE_AUDIT_DAYS", 400)
# Set by `manage.py up`: the processes of its web server end when `up` has ended.
ASYNCENGINE_UP_PID = env_int("ASYNCENGINE_UP_PID", 0)
# A consumer without a heartbeat for this long has lost its lease.
ASYNCENGINE_LEASE_SECONDS = 10.0
# A consumer session ends after this time, so that workers serve all queues in turn.
ASYNCENGINE_SLICE_SECONDS = 1.0
# A stopping cluster waits this long for running scripts, then releases their messages.
ASYNCENGINE_GRACE_SECONDS = 10.0

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

CSRF_FAILURE_VIEW = "flows.admin.error_pages.csrf_failure"
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
CORS_ALLOW_METHODS = ["DELETE", "GET", "POST"]
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

ROOT_URLCONF = "asyncengine.urls"
WSGI_APPLICATION = "asyncengine.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Templates of this installation override those of the packages.
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "asyncengine.formats"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = f"{PUBLIC_URL.path}/static/"
STATIC_ROOT = VAR_DIR / "static"
# Static files are served from the packages, so `up` works without collectstatic. Django warns if
# the directory is missing, but on a read-only file system it cannot be made.
with suppress(OSError):
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
WHITENOISE_USE_FINDERS = True

SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024

Q_CLUSTER = {
    "name": "asyncengine",
    "broker_class": "flows.worker.broker.QueueBroker",
    "orm": "default",
    "workers": ASYNCENGINE_WORKERS,
    "task_workers": ASYNCENGINE_TASK_WORKERS,
    # Settings of clusters with another name, by name.
    "ALT_CLUSTERS": {},
    # The broker itself waits until there is work.
    "poll": 0,
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
        lambda request: static("flows/times.js"),
        lambda request: static("flows/accessible.js"),
    ],
    "DASHBOARD_CALLBACK": "flows.admin.dashboard.dashboard",
    "SIDEBAR": {"navigation": "flows.admin.navigation.sidebar"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "%(asctime)s %(levelname)s %(process)d %(name)s%(of_message)s: %(message)s"
        },
    },
    # Adds the message that a callable runs to its log lines.
    "filters": {"message": {"()": "scripts.callables.logs.MessageFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["message"],
        }
    },
    "root": {"handlers": ["stderr"], "level": "INFO" if DEBUG else "WARNING"},
    "loggers": {
        "flows": {"level": "INFO"},
        # Mistakes of callers are answered, not logged.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "scripts": {"level": "INFO"},
        "django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}
