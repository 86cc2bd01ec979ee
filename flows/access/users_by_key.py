"""The users of tokens and of logins elsewhere, found by their keys: one query for each kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Expression, F, Func, Model, OuterRef, Q, Subquery, TextField, Value
from django.db.models.functions import Cast, Coalesce, Concat, Now
from django.db.models.sql.compiler import SQLCompiler

from flows.access.rights import Rights, rights_of
from flows.models import ConfigurationRevision, RoleMapping
from flows.models.users import all_users, members
from flows.store import Seen, store

# Stands for a key in a statement that is kept.
PLACE = "its key"
# The queries that lead from users to what they are found by.
BY_TOKEN, BY_IDENTITY = "auth_token_set", "external_identities"
# The rows that statements of one kind remember.
MOST_ROWS = 4096


def users_of_tokens(keys: Collection[str]) -> dict[str, Any]:
    """Return the active users of valid tokens, by the keys of the tokens.

    Each has the configuration's revision, as text, in `revision`.
    """
    return _users_of(BY_TOKEN, keys)


def users_of_identities(keys: Collection[str]) -> dict[str, Any]:
    """Return the active users by their keys at issuers, with `revision` as well."""
    return _users_of(BY_IDENTITY, keys)


@dataclass(frozen=True, slots=True)
class Starter:
    """An active user with the rights by flow, see `rights_by_flow`, and the revision as text."""

    user: Any
    rights: Rights
    revision: str
    # What was read for this starter; None where several were read together.
    seen: Seen | None = None

    def may(self, right: str, flow_id: int) -> bool:
        return any(right in self.rights.get(each, ()) for each in (None, flow_id))


def starters_of(tokens: Collection[str], identities: Collection[str]) -> dict[str, Starter]:
    """Return the active users of both, by the keys, with one query for each kind."""
    found = _starters_of(BY_TOKEN, tokens) if tokens else {}
    return {**found, **_starters_of(BY_IDENTITY, identities)} if identities else found


def starter_seen(key: str) -> Starter | None:
    """Return the starter that was found last for a key, with `seen`; it may have changed since."""
    return _seen.get(key)


_seen: dict[str, Starter] = {}


def _starters_of(relation: str, keys: Collection[str]) -> dict[str, Starter]:
    select = _select_users(relation, len(keys), with_rights=True)
    rows, seen = store().database.see(select.statement, select.values(keys))
    starters = {
        user.found_by: Starter(
            user, rights_of(user, mappings_in(user.mappings)), user.revision, seen
        )
        for user in select.users(rows)
        if user.is_active
    }
    if seen and len(keys) == 1:
        if len(_seen) >= MOST_ROWS:
            _seen.clear()
        _seen.update(starters)
    return starters


@lru_cache(maxsize=1024)
def mappings_in(text: str) -> Sequence[tuple[int | None, str]]:
    """Read the flows and rights that `mappings_text` has written."""
    pairs = (each.split(" ") for each in text.split(",") if each)
    return [(int(flow_id) if flow_id else None, right) for flow_id, right in pairs]


def _users_of(relation: str, keys: Collection[str]) -> dict[str, Any]:
    select = _select_users(relation, len(keys), with_rights=False)
    # Not by `raw`, with which the database plans the statement each time.
    rows = store().database.look_up(select.statement, select.values(keys))
    return {user.found_by: user for user in select.users(rows) if user.is_active}


@dataclass(frozen=True)
class SelectUsers:
    """A statement that selects users, with `PLACE` in the places of the keys."""

    statement: str
    params: Sequence[Any]
    compiler: SQLCompiler
    # What the last rows were converted to, by the key in them: for any number of keys the same.
    _converted: dict[Any, tuple[Any, Any]]

    def values(self, keys: Collection[str]) -> list[Any]:
        left = iter(keys)
        return [next(left) if value == PLACE else value for value in self.params]

    def users(self, rows: list[Any]) -> Iterator[Any]:
        """Make the users of these rows as a QuerySet does."""
        compiler = self.compiler
        columns = compiler.klass_info["select_fields"]
        names = [compiler.select[column][0].target.attname for column in columns]
        model: type[Model] = get_user_model()
        for row in map(self._as_python, rows):
            user = model.from_db(compiler.using, names, [row[column] for column in columns])
            for name, column in compiler.annotation_col_map.items():
                setattr(user, name, row[column])
            yield user

    def _as_python(self, row: Any) -> Any:
        """Convert a row. It is mostly as it was last time, and Django takes long to convert it."""
        key = row[self.compiler.annotation_col_map["found_by"]]
        last, converted = self._converted.get(key, (None, None))
        if last != row:
            [converted] = self.compiler.results_iter([[row]])
            if len(self._converted) >= MOST_ROWS:
                self._converted.clear()
            self._converted[key] = row, converted
        return converted


class Joined(Func):
    """The texts of all rows, with commas between; where there are no rows, NULL."""

    function = "STRING_AGG"
    template = "%(function)s(%(expressions)s, ',')"

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **more: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, "GROUP_CONCAT", **more)


def mappings_text() -> Expression:
    """Return what writes the flow and the right of each of a user's mappings as one text."""
    mappings = RoleMapping.objects.filter(**{f"role__{members()}": OuterRef("pk")}).order_by()
    flow = Coalesce(Cast("flow_id", TextField()), Value("", TextField()))
    pairs = Concat(flow, Value(" ", TextField()), Cast("right", TextField()))
    joined = Joined(pairs, output_field=TextField())
    return Coalesce(Subquery(mappings.values(text=joined)), Value("", TextField()))


@lru_cache(maxsize=512)
def _select_users(relation: str, count: int, with_rights: bool) -> SelectUsers:
    """It is kept: Django takes ten times as long to write it as to execute it."""
    # The marks differ, for Django drops what is in a list twice.
    places = [f"{PLACE} {number}" for number in range(count)]
    holds = Q(**{f"{relation}__pk__in": places})
    if relation == BY_TOKEN:
        holds &= Q(auth_token_set__expiry=None) | Q(auth_token_set__expiry__gt=Now())
    # One filter is one join.
    users = all_users().filter(holds)
    revision = Subquery(ConfigurationRevision.objects.values(text=Cast("token", TextField())))
    users = users.annotate(found_by=F(f"{relation}__pk"), revision=revision)
    if with_rights:
        users = users.annotate(mappings=mappings_text())
    compiler = users.query.get_compiler(DEFAULT_DB_ALIAS)
    statement, params = compiler.as_sql()
    marked = [PLACE if value in places else value for value in params]
    return SelectUsers(statement, marked, compiler, _rows_of(relation, with_rights))


@cache
def _rows_of(relation: str, with_rights: bool) -> dict[Any, tuple[Any, Any]]:
    """Return what statements of one kind remember, whatever number of keys they have."""
    return {}
