"""The modules that a Python script may import, and what stands in for those that it may not.

The list helps the author: it names early what will not work. The protection is the sandbox of the
process. A module is on the list if it does its work inside the sandbox: without files, network,
threads and other processes.
"""

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MODULES = (
    "__future__",
    "abc",
    "array",
    "ast",
    # The engine's own: the types of what a script gets and raises.
    "asyncengine_script",
    "base64",
    "binascii",
    "bisect",
    "bz2",
    "calendar",
    "cmath",
    "codecs",
    "collections",
    "collections.abc",
    "colorsys",
    "configparser",
    "contextlib",
    "contextvars",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "dateutil.easter",
    "dateutil.parser",
    "dateutil.relativedelta",
    "dateutil.rrule",
    "dateutil.tz",
    "decimal",
    "difflib",
    "email",
    "email.message",
    "email.parser",
    "email.policy",
    "email.utils",
    "enum",
    "fnmatch",
    "fractions",
    "functools",
    "graphlib",
    "gzip",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "html.entities",
    "html.parser",
    "io",
    "ipaddress",
    "itertools",
    "jinja2",
    "jinja2.sandbox",
    "json",
    "keyword",
    "lzma",
    "markupsafe",
    "math",
    "numbers",
    "operator",
    "pprint",
    "quopri",
    "random",
    "re",
    "reprlib",
    "secrets",
    "shlex",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "tomllib",
    "traceback",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "weakref",
    "xml.etree.ElementTree",
    "zipfile",
    "zlib",
    "zoneinfo",
)
# Modules that C code imports on behalf of the script that called it, as datetime.strptime does.
IMPORTED_FOR_SCRIPTS = ("_strptime", "copyreg")
# Modules that the allowed ones import at their first use rather than when they are imported.
IMPORTED_LATE = (
    "email.generator",
    "email.headerregistry",
    "email.iterators",
    "importlib.resources",
    "jinja2.constants",
    "jinja2.debug",
    "jinja2.ext",
    "jinja2.nativetypes",
    "locale",
    "stringprep",
)

_MAX_NAME_LENGTH = 100
_LIST = "manage.py script modules lists those that may"

_HTTP = "use context.http"
_LOG = "use context.log"
_NO_THREADS = "a script has one thread; several requests at once are made by context.http.all"
_NO_PROCESSES = "a script has one process and no commands"
_SIGNATURES = "use context.sign and context.verify"
_TOKENS = "use context.jwt and context.verify_jwt"
_NO_DATABASE = "a script has no database; use context.state, context.http or a callable"
_PARAMETERS = "use dataclasses, or the parameters of the script"
_INSTEAD = {
    "Crypto": _SIGNATURES,
    "OpenSSL": _SIGNATURES,
    "aiohttp": _HTTP,
    "asyncio": _NO_THREADS,
    "arrow": "use datetime and dateutil",
    "authlib": _TOKENS,
    "babel": "use format() and string methods",
    "boto3": _HTTP,
    "bs4": "use html.parser",
    "builtins": "built-in functions need no import",
    "concurrent": _NO_THREADS,
    "cryptography": _SIGNATURES,
    "ctypes": "a script has no libraries of C",
    "dateparser": "use dateutil.parser",
    "dateutil": "import dateutil.parser, dateutil.relativedelta, dateutil.rrule or dateutil.tz",
    "defusedxml": "use xml.etree.ElementTree",
    "django": _NO_DATABASE,
    "dotenv": "use context.secrets",
    "ecdsa": _SIGNATURES,
    "http": _HTTP,
    "httpx": _HTTP,
    "jose": _TOKENS,
    "jsonschema": _PARAMETERS,
    "jwt": _TOKENS,
    "locale": "use format() and string methods",
    "logging": _LOG,
    "lxml": "use xml.etree.ElementTree",
    "mako": "use jinja2.sandbox",
    "marshmallow": _PARAMETERS,
    "multiprocessing": _NO_PROCESSES,
    "numpy": "use statistics or array",
    "openpyxl": "use csv",
    "orjson": "use json",
    "os": "a script has no files and no environment; use context.secrets for confidential values",
    "pandas": "use csv",
    "pathlib": "a script has no files; paths are texts",
    "pickle": "use json",
    "pendulum": "use datetime and dateutil",
    "psycopg": _NO_DATABASE,
    "psycopg2": _NO_DATABASE,
    "pydantic": _PARAMETERS,
    "pytz": "use zoneinfo",
    "redis": "use context.state or context.cached",
    "requests": _HTTP,
    "rsa": _SIGNATURES,
    "shutil": "a script has no files",
    "simplejson": "use json",
    "smtplib": "a script sends no mail; use context.http",
    "socket": _HTTP,
    "sqlalchemy": _NO_DATABASE,
    "sqlite3": _NO_DATABASE,
    "ssl": _HTTP,
    "subprocess": _NO_PROCESSES,
    "sys": "print and errors go to the log of the attempt",
    "tempfile": "a script has no files; use io.BytesIO or io.StringIO",
    "threading": _NO_THREADS,
    "ujson": "use json",
    "urllib.request": _HTTP,
    "urllib3": _HTTP,
    "warnings": _LOG,
    "xml.dom": "use xml.etree.ElementTree",
    "xml.sax": "use xml.etree.ElementTree, or html.escape",
    "xmltodict": "use xml.etree.ElementTree",
    "yaml": "use json or tomllib",
    "zeep": "use xml.etree.ElementTree and context.http",
}


def may_import(name: str, members: Sequence[str]) -> bool:
    """Whether a script may import a module, or these members of it."""
    if name in MODULES or name in IMPORTED_FOR_SCRIPTS:
        return True
    # from urllib import parse
    return bool(members) and all(f"{name}.{member}" in MODULES for member in members)


def refusal(name: str, libraries: Iterable[str] = ()) -> str:
    """Return why a module is refused, what to use instead, and where the list of modules is."""
    shown = name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"
    hint = _instead(name, (*libraries, *MODULES))
    return f"module {shown!r} may not be imported ({'; '.join(filter(None, (hint, _LIST)))})"


def _instead(name: str, allowed: Sequence[str]) -> str:
    """Return what does the work of a module, or the allowed one with the nearest name."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        if hint := _INSTEAD.get(".".join(parts[:depth])):
            return hint
    if part := next((each for each in allowed if each.startswith(f"{name}.")), None):
        return f"import {part}"
    near = get_close_matches(name[:_MAX_NAME_LENGTH], allowed, 1, 0.75)
    if near:
        return f"do you mean {near[0]}?"
    is_of_python = parts[0] in sys.stdlib_module_names
    return "" if is_of_python or len(parts) > 1 else "a library has to be listed on the script"
