"""Read the environment: README.md lists the variables. Nothing else reads it."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import dj_database_url
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from asyncengine.own_packages import require_own_packages

require_own_packages()

from flows.postgresql.session_settings import session_settings  # noqa: E402

# The root of a checkout; where the package is installed, the directory that the process runs in.
BASE_DIR = Path(__file__).resolve().parent.parent
if not (BASE_DIR / "manage.py").exists():
    BASE_DIR = Path.cwd()


def data_directory(base: Path, given: str | Path = "") -> Path:
    """Return where keys and files are kept; a relative path begins at the base."""
    return base / (given or os.environ.get("ASYNCENGINE_DATA_DIR", "").strip() or "var")


# `settings_for` replaces it by that of the project.
VAR_DIR = data_directory(BASE_DIR)

# Suffixes of the files of an SQLite database, with those that its writers add.
SQLITE_FILES = ("", "-journal", "-wal", "-shm", "-turn", "-clock")


# Variables of the engine: those that were read, those of `settings.py` and of clients.
VARIABLES = {
    *("ASYNCENGINE_DATA_DIR", "ASYNCENGINE_SECRET_KEY", "ASYNCENGINE_ADMIN_PASSWORD"),
    *("ASYNCENGINE_DEBUG", "ASYNCENGINE_ALLOWED_HOSTS", "ASYNCENGINE_LOG_FORMAT"),
    *("ASYNCENGINE_TOKEN", "ASYNCENGINE_USERNAME", "ASYNCENGINE_PASSWORD"),
}


def unknown_variables() -> dict[str, str]:
    """Return variables that look like the engine's, each with the one that may be meant, or ""."""
    return {
        name: next(iter(get_close_matches(name, VARIABLES, 1, 0.8)), "")
        for name in sorted(os.environ)
        if name.startswith("ASYNCENGINE_") and name not in VARIABLES
    }


def env_text(name: str, default: str) -> str:
    VARIABLES.add(name)
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, default: bool) -> bool:
    value = env_text(name, "1" if default else "0").lower()
    if value not in {"0", "1", "true", "false"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1, not {value!r}")
    return value in {"1", "true"}


def env_traces(name: str) -> bool:
    value = env_bool(name, False)
    if value and not find_spec("opentelemetry"):
        raise ImproperlyConfigured(f"{name}=1 needs OpenTelemetry: pip install 'asyncengine[otel]'")
    return value


def env_int(name: str, default: int, minimum: int = 0) -> int:
    value = env_text(name, str(default))
    if not value.isdigit() or int(value) < minimum:
        raise ImproperlyConfigured(
            f"{name} must be a whole number of at least {minimum}, not {value!r}"
        )
    return int(value)


def env_word(name: str, words: tuple[str, ...]) -> str:
    """Return one of the words; the first one is the default."""
    value = env_text(name, words[0]).lower()
    if value not in words:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(words)}, not {value!r}")
    return value


def env_list(name: str, default: str) -> list[str]:
    value = env_text(name, default)
    items = [item.strip() for item in value.split(",") if item.strip()]
    if value and not items:
        raise ImproperlyConfigured(f"{name} has commas alone; leave it out for none")
    return items


RATE_PERIODS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def env_rate(name: str) -> tuple[int, int] | None:
    """Return a number and in how many seconds, of a text such as 100/s; None where it is empty."""
    value = env_text(name, "")
    if not value:
        return None
    found = re.fullmatch(r"([0-9]{1,7})/([smhd])", value)
    if not found or not int(found[1]):
        raise ImproperlyConfigured(
            f"{name} must be such as 100/s, 600/m, 9000/h or 50000/d: in a second, minute, hour or"
            f" day, not {value!r}"
        )
    return int(found[1]), RATE_PERIODS[found[2]]


def close_to_others(path: Path) -> None:
    """Remove the rights of other users to a file, which earlier versions have left."""
    with suppress(OSError):
        if (mode := path.stat().st_mode) & 0o077:
            path.chmod(mode & 0o700)


def require_writable(path: Path) -> None:
    """Raise ImproperlyConfigured where a file of SQLite is there and is not this user's."""
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        raise ImproperlyConfigured(
            f"{path}, a file of the SQLite database, cannot be read and written. Give it to the"
            " user that runs this."
        )


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


def kept_key(name: str, new_key: str, variable: str, consequence: str) -> str:
    """Return the key in `var/`, or store the new one there if it has none. Only its owner reads it.

    The complete file is linked to its name, so processes that start together agree on one key.
    Raises ImproperlyConfigured where the file is not readable, empty or damaged. The consequence is
    that of a new one.
    """
    path, what = VAR_DIR / name, name.replace("_", " ")
    key = _read_key(path, what)
    if key is None:
        with writing_to(VAR_DIR, f"the {what}, which is kept there"):
            _link_new(path, new_key)
        key = _read_key(path, what) or ""
    is_whole = is_fernet_key if is_fernet_key(new_key) else is_text
    if not key.strip() or not is_whole(key):
        raise ImproperlyConfigured(
            f"{path} is {'damaged' if key.strip() else 'empty'}: it should hold the {what}. Restore"
            f" that of a backup, or set {variable} to its text. Where there is no other copy,"
            f" remove the file: a new key is made, and {consequence}."
        )
    return key


def _read_key(path: Path, what: str) -> str | None:
    """Return the text of the file, None where there is none."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        # Said where it cannot be made, either.
        return None
    except OSError as error:
        raise ImproperlyConfigured(
            f"{path}, which has the {what}, cannot be read: {error.strerror}. Give it to the user"
            " that runs this."
        ) from error


def _link_new(path: Path, key: str) -> None:
    """Make the file, unless another process is first."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
            file.flush()
            # A power cut would leave a name without its text.
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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


def encryption_keys(name: str, *words: str) -> list[str]:
    """Return the keys in a variable. The first one may be one of the words instead."""
    keys = env_list(name, "")
    for place, key in enumerate(keys, 1):
        if key in words and place > 1:
            raise ImproperlyConfigured(
                f"{name}: {key!r} stands first or not at all, and here it is entry {place} of"
                f" {len(keys)}"
            )
        if key not in words and not is_fernet_key(key):
            # Leave the key out, so that it does not get into a log.
            raise ImproperlyConfigured(
                f"{name} holds something that is no Fernet key: entry {place} of {len(keys)}"
            )
    return keys


def is_text(text: str) -> bool:
    """Say whether it is a line of text. What a power cut leaves has zeros."""
    return text.strip().isprintable() and "\ufffd" not in text


def is_fernet_key(text: str) -> bool:
    try:
        Fernet(text)
    except ValueError:
        return False
    return True


# SQLite cuts its write-ahead log to this size. Between two checkpoints it needs 4 MB.
SQLITE_LOG_BYTES = 16 * 1024 * 1024


def database(url: str, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """Return Django's settings for a URL. A relative SQLite path starts in BASE_DIR."""
    try:
        require_encoded(url)
        url, places = first_host(url)
        config: dict[str, Any] = dict(dj_database_url.parse(url)) | places
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
                path = Path(config["NAME"] + suffix)
                close_to_others(path)
                require_writable(path)
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
        if places:
            # A host that does not answer is tried before the others by each new connection.
            options = {"target_session_attrs": "read-write", "connect_timeout": 3} | options
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


def require_encoded(url: str) -> None:
    """Raise ValueError where a password, or another part, has characters that end it elsewhere.

    Such a URL is understood, and names a piece of the password as host; so nothing of it is quoted.
    """
    scheme, _, rest = url.partition("://")
    if scheme.startswith("sqlite"):
        return
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    path, _, query = behind.partition("?")
    has_no_host = "@" in path or (not path and "@" in query)
    if has_no_host or "#" in behind or re.search(r"[\[\]]", authority.rpartition("@")[0]):
        raise ValueError(
            "a character of its user, password or name is not encoded. Write / as %2F, ? as %3F,"
            " # as %23, @ as %40, [ as %5B, ] as %5D and % as %25; or leave the password out and"
            " set PGPASSWORD to it as it is"
        )


def first_host(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL with the first of its hosts alone, and HOST and PORT of all where it has more.

    `h1:5432,h2:5433` is `h1,h2` and `5432,5433` for libpq, which takes 5432 where there is none.
    """
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," not in hosts or not parts.scheme.startswith(("postgres", "pgsql")):
        return url, {}
    first, *_ = each = hosts.split(",")
    found = [re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]+))(?::(\d+))?", h) for h in each]
    if None in found:
        raise ValueError(f"{hosts!r} must be such as host1:5432,host2:5433")
    places = {
        "HOST": ",".join(unquote(host[1] or host[2]) for host in found if host),
        "PORT": ",".join(host[3] or "5432" for host in found if host),
    }
    return urlunsplit(parts._replace(netloc=f"{user}{at}{first}")), places


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
