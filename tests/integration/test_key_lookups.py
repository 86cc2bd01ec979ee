"""PostgreSQL finds runs and messages by their keys, whatever it takes their number for."""

import pytest
from django.db import connection
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows.models import FlowVersion, Message, Run
from tests.builders import make_flow
from tests.databases import is_postgresql

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not is_postgresql(), reason="SQLite goes by no statistics"),
]

# The indexes of a table that have its key, behind another column and without a condition.
USABLE_FOR_A_KEY = """
    SELECT other.indexrelid::regclass::text FROM pg_index other
    JOIN pg_index own ON own.indrelid = other.indrelid AND own.indisprimary
    WHERE other.indrelid = %s::regclass AND other.indexrelid <> own.indexrelid
        AND own.indkey[0] = ANY(other.indkey::int2[]) AND other.indpred IS NULL
"""


@pytest.mark.parametrize("model", [Run, Message])
def test_no_other_index_is_ever_read_for_a_key_alone(model):
    with connection.cursor() as cursor:
        cursor.execute(USABLE_FOR_A_KEY, [model._meta.db_table])

        assert cursor.fetchall() == []


def test_runs_of_flows_are_found_by_their_index():
    versions = [make_flow(f"flow {number}", []).make_version() for number in range(50)]
    Run.objects.bulk_create(
        Run(correlation_id=uuid7(), flow_version=version, created_at=timezone.now())
        for version in versions * 20
    )
    one, other = versions[0], versions[1]
    of_a_flow = FlowVersion.objects.filter(flow_name=one.flow_name)
    asked = {
        "one": Run.objects.filter(flow_version=one),
        "some": Run.objects.filter(flow_version__in=[one, other]),
        "those of a flow": Run.objects.filter(flow_version__in=of_a_flow),
        "those after a run": Run.objects.filter(flow_version=one, pk__lt="f" * 32),
        "by a join": Run.objects.filter(flow_version__flow_name=one.flow_name),
    }
    with connection.cursor() as cursor:
        # The choice would hang on what other tests have left to the statistics.
        cursor.execute("ANALYZE flows_run, flows_flowversion")
        cursor.execute("SET LOCAL enable_seqscan = off")
        plans = {name: runs.order_by("-pk")[:50].explain() for name, runs in asked.items()}

    assert [name for name, plan in plans.items() if "run_by_flow" not in plan] == [], plans
