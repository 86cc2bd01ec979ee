"""Callers by their tokens, with their rights, in one query."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from flows.access import users_by_key
from flows.access.rights import rights_by_flow
from flows.access.tokens import make_token
from flows.access.users_by_key import starters_of
from flows.models import ConfigurationRevision, Right, RoleMapping
from tests.builders import make_flow

pytestmark = pytest.mark.django_db


def test_starters_have_the_rights_and_the_revision_that_single_queries_find() -> None:
    one, other = make_flow("one"), make_flow("other")
    every, some = Group.objects.create(name="every"), Group.objects.create(name="some")
    RoleMapping.objects.create(role=every, right=Right.CONFIGURE)
    RoleMapping.objects.create(role=some, flow=one, right=Right.START)
    RoleMapping.objects.create(role=some, flow=other, right=Right.OPERATE)
    users = {
        "root": User.objects.create(username="root", is_superuser=True),
        "none": User.objects.create(username="none"),
        "some": User.objects.create(username="some"),
        "both": User.objects.create(username="both"),
        "gone": User.objects.create(username="gone"),
    }
    users["some"].groups.set([some])
    users["both"].groups.set([every, some])
    tokens = {name: make_token(user).row.pk for name, user in users.items()}
    User.objects.filter(username="gone").update(is_active=False)

    # The second time the rows are remembered.
    for _ in range(2):
        found = starters_of(set(tokens.values()), set())

        assert set(found) == set(tokens.values()) - {tokens["gone"]}
        for name in ("root", "none", "some", "both"):
            starter = found[tokens[name]]
            assert starter.user == users[name]
            assert {k: v for k, v in starter.rights.items() if v} == rights_by_flow(users[name])
            assert starter.revision == ConfigurationRevision.current()
        users["none"].groups.add(some)

    # By groups of any size, each row is remembered once.
    statements = [users_by_key._select_users(users_by_key.BY_TOKEN, n, True) for n in (1, 5)]
    assert statements[0]._converted is statements[1]._converted
    assert found[tokens["none"]].may(Right.START, one.pk)
    assert not found[tokens["none"]].may(Right.START, other.pk)
