"""Pickles that can hold plain data and nothing else.

django-q2 stores its tasks as pickles. A pickle can call any function while it is loaded, so a row
in the database would be a program. Here no class and no function is looked up but those of plain
data, and a pickle that names another one is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import django_q.signing
import picklefield.fields

# Types made in C, which have no code of their own to run and take no new attributes; and UUID,
# whose code looks at its number alone.
PLAIN = {
    "builtins": {"bytearray", "complex", "frozenset", "set"},
    "collections": {"OrderedDict"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "uuid": {"SafeUUID", "UUID"},
}


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in PLAIN.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is no plain data")
        return super().find_class(module, name)


def loads(data: bytes) -> Any:
    """Return the plain data of a pickle. Raises UnpicklingError where it is not plain."""
    try:
        return PlainUnpickler(io.BytesIO(data)).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:
        # Bytes that are no pickle raise whatever they lead to.
        raise pickle.UnpicklingError(f"not a pickle: {error}") from error


def shown(data: bytes) -> Any:
    """Return the plain data of a pickle, or a text that says why there is none."""
    try:
        return loads(data)
    except pickle.UnpicklingError as error:
        return f"Not loaded: {error}."


def install() -> None:
    """Have django-q2 load its packages and the fields of its rows in this way."""
    django_q.signing.PickleSerializer.loads = staticmethod(loads)
    picklefield.fields.loads = shown
