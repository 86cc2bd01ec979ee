from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser

from flows.access.rights import flows_allowed, may, rights_on
from flows.models import Flow, Right
from tests.integration.api.helpers import grant, make_loan_flow


def test_superuser_may_everything_until_deactivated(admin, flow):
    assert may(admin, Right.OPERATE, flow.pk)

    admin.is_active = False

    assert not may(admin, Right.OPERATE, flow.pk)
    assert not flows_allowed(admin, Right.values).exists()


def test_anonymous_may_nothing(flow):
    assert not may(AnonymousUser(), Right.START, flow.pk)
    assert not flows_allowed(AnonymousUser(), Right.values).exists()


def test_right_is_to_its_flow_alone(user, flow):
    other = make_loan_flow("other")
    grant(user, Right.WATCH, flow)

    assert may(user, Right.WATCH, flow.pk)
    assert not may(user, Right.START, flow.pk)
    assert not may(user, Right.WATCH, other.pk)
    assert not may(user, Right.WATCH, None)


def test_right_to_every_flow_is_one_to_deleted_flows_too(user, flow):
    grant(user, Right.WATCH, None)

    assert may(user, Right.WATCH, flow.pk)
    assert may(user, Right.WATCH, None)
    assert rights_on(user, None) == {Right.WATCH}


@pytest.mark.parametrize("everywhere", [False, True])
def test_allowed_flows_are_listed_once(user, flow, everywhere):
    grant(user, Right.START, flow)
    grant(user, Right.WATCH, None if everywhere else flow)

    assert list(flows_allowed(user, [Right.START, Right.WATCH])) == [Flow.objects.get()]


@pytest.mark.parametrize("everywhere", [False, True])
def test_configuring_a_flow_includes_watching_it_and_no_more(user, flow, everywhere):
    grant(user, Right.CONFIGURE, None if everywhere else flow)

    assert rights_on(user, flow.pk) == {Right.CONFIGURE, Right.WATCH}
    assert list(flows_allowed(user, [Right.WATCH])) == [flow]
    assert not flows_allowed(user, [Right.START, Right.OPERATE]).exists()


def test_right_costs_one_query(user, flow, django_assert_num_queries):
    grant(user, Right.START, flow)

    with django_assert_num_queries(1):
        assert may(user, Right.START, flow.pk)
