"""Django settings of an installation, around those of the engine."""

import os
import secrets
from contextlib import suppress
from urllib.parse import quote

# Only the user of this process may read its files: SQLite stores tokens, payloads and logs.
os.umask(os.umask(0o077) | 0o077)

from asyncengine.environment import *  # noqa: E402, F403
from asyncengine.environment import (  # noqa: E402
    BASE_DIR,
    VAR_DIR,
    close_to_others,
    database,
    direct_database,
    env_bool,
    env_list,
    env_text,
    env_word,
    kept_key,
)

close_to_others(VAR_DIR)
DEBUG = env_bool("ASYNCENGINE_DEBUG", False)
SECRET_KEY_IS_KEPT = not os.environ.get("ASYNCENGINE_SECRET_KEY")
SECRET_KEY = os.environ.get("ASYNCENGINE_SECRET_KEY") or kept_key(
    "secret_key", secrets.token_urlsafe(48), "ASYNCENGINE_SECRET_KEY", "all logins end"
)

# After the secret key: where no key can be kept, this one is named.
from asyncengine.engine import *  # noqa: E402, F403
from asyncengine.engine import ASYNCENGINE_URL, PUBLIC_URL  # noqa: E402

ALLOWED_HOSTS = env_list("ASYNCENGINE_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
if ASYNCENGINE_URL:
    ALLOWED_HOSTS.append(PUBLIC_URL.netloc.removesuffix(f":{PUBLIC_URL.port}"))
    CSRF_TRUSTED_ORIGINS = [f"{PUBLIC_URL.scheme}://{PUBLIC_URL.netloc}"]
    FORCE_SCRIPT_NAME = PUBLIC_URL.path or None
    SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = PUBLIC_URL.path or "/"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.scheme == "https"
SECURE_HSTS_SECONDS = 31_536_000 if PUBLIC_URL.scheme == "https" else 0
if PUBLIC_URL.scheme == "https":
    # The proxy that ends TLS redirects to it: probes of the machine speak HTTP. Whether other hosts
    # of the domain speak TLS alone is not known here.
    SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W005", "security.W021"]
DATABASES = {
    "default": database(
        env_text("DATABASE_URL", f"sqlite:///{quote(str(VAR_DIR / 'asyncengine.sqlite3'))}")
    )
}
# Used to listen for notifications, which a pooler does not pass on.
ASYNCENGINE_DIRECT_DATABASE = direct_database(
    env_text("DATABASE_DIRECT_URL", ""), DATABASES["default"]["ENGINE"]
)
CSRF_FAILURE_VIEW = "flows.admin.error_pages.csrf_failure"
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

# `json`: each event is one line of JSON, for collectors of logs.
LOG_FORMAT = env_word("ASYNCENGINE_LOG_FORMAT", ("text", "json"))
LOG_FORMATTERS = {
    "json": {"()": "asyncengine.logs.json_formatter"},
    "text": {"format": "%(asctime)s %(levelname)s %(process)d %(name)s%(of_message)s: %(message)s"},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # Every process makes those that are named here.
    "formatters": {LOG_FORMAT: LOG_FORMATTERS[LOG_FORMAT]},
    # Adds the message that a callable runs to its log lines.
    "filters": {"message": {"()": "scripts.callables.logs.MessageFilter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
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
