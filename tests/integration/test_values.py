"""Every value comes out of a flow as it went in: start, scripts, branches, repair and result."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from flows import engine
from flows.configuration import import_configuration
from flows.models import DeadLetter, Flow, Run
from tests.builders import work_until_idle
from tests.documents import content, objects

pytestmark = pytest.mark.django_db

PYTHON = "def run(message, context):\n    return message\n"
JAVASCRIPT = "setData(context.Data);"
# Rejects what is not repaired, before the fan-out and behind the join.
STRICT = (
    "def run(message, context):\n"
    "    payload = message['payload']\n"
    "    if 'broken' in (payload if isinstance(payload, dict) else payload[0]):\n"
    "        raise Reject('broken')\n"
    "    return message\n"
)
FAN_OUT = (
    "const { payload, ...rest } = context.Data;"
    "setData([context.Data, { ...rest, payload: payload.document }]);"
)
BREAK = (
    "def run(message, context):\n"
    "    message['payload'][0] = {'broken': True, **message['payload'][0]}\n"
    "    return message\n"
)
STEPS = {
    "python": PYTHON,
    "javascript": JAVASCRIPT,
    "strict": STRICT,
    "fan-out": FAN_OUT,
    "branch-javascript": JAVASCRIPT,
    "branch-python": PYTHON,
    "join": PYTHON,
    "joined-javascript": JAVASCRIPT,
    "break": BREAK,
    "strict-again": STRICT,
    "last": JAVASCRIPT,
}
DOCUMENT = {
    "scripts": [
        {"name": name, "language": "javascript" if "setData" in code else "python", "code": code}
        for name, code in STEPS.items()
    ],
    "queues": [{"name": name} for name in STEPS],
    "flows": [
        {
            "name": "values",
            "steps": [
                {"name": name, "script": name, "queue": name, "join": name == "join"}
                for name in STEPS
            ],
        }
    ],
}
ODD = (
    '{"a":1.0,"b":[1e5,-0,-0.0,0.30000000000000004,1234567890123456.78,0.10,1E-7,1e-400],'
    '"c":123456789012345678901234567890,"d":12345678901234567890.12345678901234567890,'
    '"10":1,"9":{"2":2.50,"1":1,"x":"\\u2028\\ud83d\\ude00"},"":{"__proto__":{"b":[]}}}'
)


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def repair(admin: Client) -> int:
    """Repair every dead letter on its page, as a browser would send it; return how many."""
    letters = list(DeadLetter.objects.open())
    for letter in letters:
        page = reverse("admin:flows_deadletter_reprocess", args=[letter.pk])
        text = admin.get(page).context["form"].initial["payload"]
        lines = text.replace('"broken": true,', "", 1).replace("\n", "\r\n")
        assert admin.post(page, {"payload": lines}).status_code == 302, lines
    return len(letters)


# Not shrunk: an example is dozens of steps in real script hosts.
@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(objects(), min_size=12, max_size=12))
@example([ODD])
def test_value_comes_out_of_a_flow_as_it_went_in(admin: Client, documents: list[str]) -> None:
    import_configuration(DOCUMENT)
    flow = Flow.objects.get()
    payloads = [f'{{"broken":true,"document":{document}}}'.encode() for document in documents]

    ids = engine.start_many("values", payloads)
    for _ in range(2):
        work_until_idle(flow)
        assert repair(admin) == len(documents)
    work_until_idle(flow)

    for correlation_id, document in zip(ids, documents, strict=True):
        run = Run.objects.get(pk=correlation_id)
        assert (run.status, run.error) == (Run.Status.COMPLETED, "")
        assert content(run.result or "") == content(
            f'{{"correlationId":"{correlation_id}",'
            f'"payload":[{{"document":{document}}},{document}]}}'
        )
