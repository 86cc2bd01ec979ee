"""What a script requests of its worker in the middle of a call, and that the reply is its own."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptKilled, ScriptRaised, ScriptTimedOut
from scripts.protocol.services import RequestFailed
from tests.hosts.pools import SITE, calls, collect_all, payload
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

REQUESTING = """
def request(context, service, **request):
    context.send_request(service, request)
    return context.read_reply()[1]
"""
# The host from inside, as a script gets at it by tricks.
HOST = """
def host_of(context):
    return context._services._host
"""


class Services:
    """What the scripts of these tests may ask for."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.gate = threading.Event()
        self.by_name: dict[str, Any] = {
            "echo": self.echo,
            "gate": self.wait_at_gate,
            "open": self.open_gate,
            "fail": self.fail,
            "break": self.break_down,
            "large": lambda program, request, deadline: {"text": "x" * request["size"]},
            "left": lambda program, request, deadline: {"left": deadline - time.monotonic()},
        }

    def echo(self, program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        self.requests.append(request)
        time.sleep(request.get("seconds", 0))
        return {"name": program.name, **request}

    def wait_at_gate(
        self, program: Program, request: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        self.requests.append(request)
        self.gate.wait(PATIENCE)
        return request

    def open_gate(
        self, program: Program, request: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        self.gate.set()
        return request

    def fail(self, program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        raise RequestFailed("no luck", "luck")

    def break_down(
        self, program: Program, request: dict[str, Any], deadline: float
    ) -> dict[str, Any]:
        raise ZeroDivisionError("a detail")


class Starts:
    """The service `start` of these tests, which notes the request alone."""

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, Any],
        request: dict[str, Any],
        deadline: float,
    ) -> dict[str, Any]:
        starts[request["ordinal"]] = request
        return {"id": "child"}


@pytest.fixture
def services() -> Iterator[Services]:
    services = Services()
    yield services
    services.gate.set()


@pytest.fixture
def pool(services: Services, zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=lambda: services.by_name)
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def program(code: str, timeout_seconds: float = PATIENCE) -> Program:
    return Program(1, "pricing", "python", code, timeout_seconds, 256)


def run_all(
    pool: HostPool, code: str, payloads: list[Any], hosts: int = 1, **limits: Any
) -> dict[Any, Outcome]:
    pool.submit(program(REQUESTING + HOST + code, **limits), SITE, calls(payloads), hosts)
    return collect_all(pool)


def run(pool: HostPool, body: str, **limits: Any) -> Any:
    """Return the payload that the body of run() makes of a message."""
    code = "def run(message, context):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    return payload(run_all(pool, code + "    return message", [{}], **limits)[0])


def test_the_reply_to_a_request_comes_back(pool: HostPool) -> None:
    given = run(pool, "message['payload'] = request(context, 'echo', n=7, text='ä')")

    assert given == {"name": "pricing", "n": 7, "text": "ä"}


def test_each_call_of_a_large_group_gets_its_own_reply(pool: HostPool) -> None:
    code = """
import json
pid = json.codecs.sys.modules['os'].getpid()
def run(message, context):
    n = message['payload']
    if n % 7 == 0:
        n = request(context, 'echo', n=n)['n']
    message['payload'] = [n, pid]
    return message
"""
    run_all(pool, code, list(range(1, 7)))  # so that the pool knows it as fast

    outcomes = run_all(pool, code, list(range(3000)), hosts=2)

    given = [payload(outcomes[n]) for n in range(3000)]
    assert [n for n, _ in given] == list(range(3000))
    assert len({pid for _, pid in given}) <= 2, "hosts were lost"


def test_worker_can_tell_that_a_call_has_sent_the_answers_before_it(pool: HostPool) -> None:
    # It may be reading them in the page at this moment, where the next ones then appear.
    code = """
def run(message, context):
    host, n = host_of(context), message['payload']
    if n % 5 == 0:
        unsent, began = host._unsent, host._times[0]
        request(context, 'echo')
        message['payload'] = [bool(unsent), host._times[0] - began, began]
    return message
"""
    run_all(pool, code, list(range(1, 5)))  # so that the pool knows it as fast

    outcomes = run_all(pool, code, list(range(500)))

    given = [payload(outcomes[n]) for n in range(0, 500, 5)]
    assert any(had_unsent for had_unsent, _, _ in given)
    for had_unsent, later, began in given:
        assert began > 0
        assert 0 < later < 1e-6 if had_unsent else later == 0


def test_requests_are_served_side_by_side_and_replied_to_as_they_are_ready(pool: HostPool) -> None:
    body = """
gates = [context.send_request('gate', {}) for _ in range(3)]
quick = context.send_request('echo', {})
first = context.read_reply()[0]
opened = context.send_request('open', {})
others = [context.read_reply()[0] for _ in range(4)]
message['payload'] = [first == quick, sorted(others) == [*gates, opened]]
"""
    assert run(pool, body) == [True, True]


def test_more_requests_than_may_be_open_wait(pool: HostPool, services: Services) -> None:
    body = """
numbers = [context.send_request('gate', {'n': n}) for n in range(50)]
message['payload'] = sorted(context.read_reply()[1]['n'] for _ in numbers)
"""
    code = "def run(message, context):" + body.replace("\n", "\n    ") + "\n    return message"
    pool.submit(program(code), SITE, calls([{}]), 1)
    wait_for(lambda: pool.collect(0.01) or len(services.requests) == wire.MAX_REQUESTS_IN_FLIGHT)
    pool.collect(0.3)
    open_at_once = len(services.requests)

    services.gate.set()

    assert open_at_once == wire.MAX_REQUESTS_IN_FLIGHT
    assert payload(collect_all(pool)[0]) == list(range(50))


def test_a_failure_is_in_the_reply(pool: HostPool, caplog: pytest.LogCaptureFixture) -> None:
    body = """
message['payload'] = [request(context, name) for name in ('fail', 'break', 'nothing')]
"""
    failed, broken, unknown = run(pool, body)

    assert failed == {"error": "no luck", "kind": "luck"}
    assert broken["kind"] == "internal"
    assert "a detail" not in broken["error"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert unknown["kind"] == "unknown"


def test_a_request_may_not_be_too_large_and_a_reply_neither(pool: HostPool) -> None:
    body = f"""
small = request(context, 'echo', text='x' * {wire.MAX_SENT_REQUEST_BYTES - 100})
message['payload'] = [
    len(small['text']),
    request(context, 'echo', text='x' * {wire.MAX_SENT_REQUEST_BYTES}).get('kind'),
    len(request(context, 'large', size=8_000_000)['text']),
    request(context, 'large', size={wire.MAX_REPLY_BYTES}).get('kind'),
]
"""
    assert run(pool, body) == [wire.MAX_SENT_REQUEST_BYTES - 100, "too-large", 8_000_000, "size"]


def test_a_call_may_send_a_thousand_requests(pool: HostPool) -> None:
    body = """
kinds = [request(context, 'echo', n=n).get('kind') for n in range(1005)]
message['payload'] = [kinds.count(None), kinds.count('too-many')]
"""
    assert run(pool, body) == [1000, 5]
    assert run(pool, body) == [1000, 5]


def test_waiting_for_nothing_is_an_error(pool: HostPool) -> None:
    outcome = run_all(pool, "def run(message, context): context.read_reply()", [{}])[0]

    assert isinstance(outcome.error, ScriptRaised)
    assert "no reply to wait for" in str(outcome.error)


def test_what_is_no_json_cannot_be_requested(pool: HostPool) -> None:
    code = "def run(message, context): context.send_request('echo', {'n': float('nan')})"

    outcome = run_all(pool, code, [{}])[0]

    assert isinstance(outcome.error, ScriptRaised)


def test_a_reply_that_no_call_waited_for_reaches_no_later_call(pool: HostPool) -> None:
    code = """
import time
def run(message, context):
    n = message['payload']
    if n % 3 == 0:
        for _ in range(5):
            context.send_request('echo', {'n': n, 'seconds': 0.002})
        time.sleep(0.003 if n % 2 else 0)
    elif n % 3 == 1:
        message['payload'] = request(context, 'echo', n=n)['n']
    return message
"""
    outcomes = run_all(pool, code, list(range(300)))

    assert [payload(outcomes[n]) for n in range(300)] == list(range(300))


def test_a_context_is_of_no_use_after_its_call(pool: HostPool) -> None:
    code = """
import json
def run(message, context):
    shared = vars(json)
    if 'kept' in shared:
        shared['kept'].send_request('echo', {})
    shared['kept'] = context
    return message
"""
    outcomes = run_all(pool, code, [1, 2])

    assert outcomes[0].error is None
    assert "has ended" in str(outcomes[1].error)


def test_groups_that_arrive_before_a_reply_are_run_after_it(
    pool: HostPool, services: Services
) -> None:
    code = """
def run(message, context):
    if message['payload'] == 'slow':
        request(context, 'gate')
    return message
"""
    prepared = program(REQUESTING + code)
    pool.submit(prepared, SITE, calls([1] * 50), 1)
    collect_all(pool)  # so that the pool knows it as fast and sends group after group
    pool.submit(prepared, SITE, calls(["slow", *[1] * 20]), 1)
    pool.submit(prepared, SITE, [Call(n, "c", 1, "d", b'{"payload":2}') for n in range(50, 90)], 1)
    threading.Timer(0.2, services.gate.set).start()

    outcomes = collect_all(pool)

    assert len(outcomes) == 61
    assert all(outcome.error is None for outcome in outcomes.values())


def test_a_call_that_runs_again_starts_what_it_asks_for_then(
    pool: HostPool, services: Services
) -> None:
    code = """
def run(message, context):
    if request(context, 'first')['isFirst']:
        context.start('child')
        request(context, 'gate')
    return message
"""
    turns = iter([True, False])
    services.by_name |= {"first": lambda *_: {"isFirst": next(turns)}, "start": Starts()}
    pool.submit(program(REQUESTING + code), SITE, calls([{}]), 1)
    wait_for(lambda: pool.collect(0.01) or services.requests)
    [host] = pool._hosts
    [(_, call)] = host.unanswered()
    had_started = len(call.starts)
    assert pool._hosts.zygote is not None

    os.kill(pool._hosts.zygote._process.pid, signal.SIGKILL)
    outcome = collect_all(pool)[0]

    assert had_started == 1
    assert payload(outcome) == {}
    assert outcome.call.starts == {}


def test_a_request_is_to_be_served_in_the_rest_of_the_time_limit(pool: HostPool) -> None:
    body = """
import time
time.sleep(0.5)
message['payload'] = request(context, 'left')['left']
"""
    left = run(pool, body, timeout_seconds=60)

    assert 0 < left < 59.51


@pytest.mark.parametrize("written", ["nan", "inf", "1e300"])
def test_a_request_ends_with_its_script_whatever_that_says_of_its_beginning(
    pool: HostPool, written: str
) -> None:
    code = f"""
def run(message, context):
    host_of(context)._times[0] = float('{written}')
    message['payload'] = request(context, 'left')['left']
    return message
"""
    left = payload(run_all(pool, code, [{}], timeout_seconds=60)[0])

    assert 0 <= left <= 60


def test_the_time_limit_holds_while_a_script_waits(pool: HostPool) -> None:
    code = "def run(message, context): request(context, 'gate')"
    begun_at = time.monotonic()

    outcome = run_all(pool, code, [{}], timeout_seconds=0.5)[0]

    assert isinstance(outcome.error, ScriptTimedOut)
    assert time.monotonic() - begun_at >= 0.5


def test_the_time_limit_counts_from_the_begin_of_the_call_not_from_its_last_request(
    pool: HostPool,
) -> None:
    code = """
def run(message, context):
    while True:
        request(context, 'echo', seconds=0.05)
"""
    outcomes = run_all(pool, code, [{}, {}], hosts=2, timeout_seconds=0.6)

    assert all(isinstance(outcome.error, ScriptTimedOut) for outcome in outcomes.values())


def test_cancel_ends_a_script_that_waits_for_a_reply(pool: HostPool, services: Services) -> None:
    code = "def run(message, context): request(context, 'gate')"
    pool.submit(program(REQUESTING + code), SITE, calls([1, 2]), 1)
    wait_for(lambda: pool.collect(0.01) or services.requests)

    withdrawn = pool.cancel({0, 1})
    outcomes = collect_all(pool)

    assert [call.key for call in withdrawn] == [1]
    assert isinstance(outcomes[0].error, ScriptKilled)


def test_the_reply_to_a_host_that_is_gone_is_dropped(pool: HostPool, services: Services) -> None:
    code = """
def run(message, context):
    if message['payload'] == 'slow':
        request(context, 'gate', of='gone')
    return message
"""
    prepared = program(REQUESTING + code)
    pool.submit(prepared, SITE, calls(["slow"]), 1)
    wait_for(lambda: pool.collect(0.01) or services.requests)
    pool.cancel({0})
    collect_all(pool)

    services.gate.set()
    pool.submit(prepared, SITE, calls([1] * 20), 1)
    outcomes = collect_all(pool)

    assert [payload(outcomes[n]) for n in range(20)] == [1] * 20


def test_a_host_that_is_killed_while_it_waits_gives_the_error_to_the_call_that_waits(
    pool: HostPool, services: Services
) -> None:
    code = """
import json
pid = json.codecs.sys.modules['os'].getpid()
def run(message, context):
    if message['payload'] == 'requests' and context.attempt == 1:
        request(context, 'gate', pid=pid)
    return message
"""
    prepared = program(REQUESTING + code)
    outcomes: dict[Any, Outcome] = {}

    def has_asked() -> bool:
        outcomes.update({outcome.call.key: outcome for outcome in pool.collect(0.01)})
        return bool(services.requests)

    pool.submit(prepared, SITE, calls([1, "requests", 2]), 1)
    wait_for(has_asked)

    os.kill(services.requests[0]["pid"], signal.SIGKILL)
    outcomes |= collect_all(pool)
    services.gate.set()

    error = outcomes[1].error
    assert isinstance(error, ScriptKilled)
    assert error.signal == signal.SIGKILL
    assert [payload(outcomes[0]), payload(outcomes[2])] == [1, 2]
    pool.submit(prepared, SITE, calls([3, 4]), 1)
    assert [payload(outcome) for _, outcome in sorted(collect_all(pool).items())] == [3, 4]


def test_a_pool_that_is_closed_while_scripts_wait_can_be_used_again(
    pool: HostPool, services: Services
) -> None:
    code = "def run(message, context): request(context, 'gate')"
    pool.submit(program(REQUESTING + code), SITE, calls([1]), 1)
    wait_for(lambda: pool.collect(0.01) or services.requests)

    pool.close()
    services.gate.set()

    assert run(pool, "message['payload'] = request(context, 'echo', n=7)['n']") == 7


@pytest.mark.parametrize(
    "trick",
    [
        "host.send_request(b'no number', b'{}')",
        "host.send_request(b'99999999999999999999 echo', b'{}')",
        "host.send_request(b'1 echo', b'x' * 3_000_000)",
        "[host.send_request(b'1 fail', b'{}') or host.read_reply() for _ in range(1001)]",
        "[host.send_request(b'1 gate', b'{}') for _ in range(9)]",
        "host._number += 1; host.send_request(b'1 echo', b'{}')",
    ],
)
def test_a_host_that_sends_a_wrong_request_is_killed(pool: HostPool, trick: str) -> None:
    code = f"""
import time
def run(message, context):
    host = host_of(context)
    {trick}
    time.sleep(5)
"""
    outcome = run_all(pool, code, [{}])[0]

    assert isinstance(outcome.error, ScriptKilled)
    assert "no sense" in str(outcome.error)


def test_a_request_that_is_no_object_gets_an_error(pool: HostPool) -> None:
    body = """
host = host_of(context)
replies = []
for request in (b'[]', b'{', b'null', b'\\xff'):
    host.send_request(b'1 echo', request)
    replies.append(json.loads(host.read_reply()[1])['kind'])
message['payload'] = replies
"""
    assert run(pool, "import json" + body) == ["invalid"] * 4


def test_what_a_host_does_not_read_is_bounded(pool: HostPool) -> None:
    code = f"""{HOST}
import json, time
def run(message, context):
    host = host_of(context)
    sent = 0
    # As many as may be in flight, and more when the worker has replied to these.
    for until in ({wire.MAX_REQUESTS_IN_FLIGHT}, 10):
        while sent < until:
            host.send_request(b'%d large' % sent, b'{{"size": 15000000}}')
            sent += 1
        while host._numbers[{wire.RECALLED}] < sent:
            time.sleep(0.01)
    kinds = [json.loads(host.read_reply()[1]).get('kind') for n in range(sent)]
    message['payload'] = [kinds.count(None), kinds.count('busy')]
    return message
"""
    pool.submit(program(code), SITE, calls([{}]), 1)
    for sent in (wire.MAX_REQUESTS_IN_FLIGHT, 10):
        wait_for(partial(has_replied, pool, sent))
        (host,) = pool._hosts
        # The only number that the host sees at once, and no call waits that it would take back.
        host.page.recall(sent)

    served, refused = payload(collect_all(pool)[0])

    assert served + refused == 10
    assert refused >= 4


def has_replied(pool: HostPool, sent: int) -> bool:
    """Whether its only host has sent this many requests, and has a reply to each on the way."""
    assert pool.collect(0.01) == []
    pending = pool._requests._pending.values() if pool._requests else ()
    return [(each.sent, each.unanswered) for each in pending] == [(sent, [])]


def test_memory_that_runs_out_while_a_reply_is_read_is_the_error_of_the_call(
    pool: HostPool,
) -> None:
    code = """
def run(message, context):
    if message['payload'] == 'greedy':
        try:
            replies = [request(context, 'large', size=8_000_000) for _ in range(100)]
        except MemoryError:
            pass
    return message
"""
    outcomes = run_all(pool, code, [1, "greedy", *range(100)])

    assert [n for n, outcome in outcomes.items() if outcome.error is not None] in ([], [1])
    assert sum(outcome.error is None for outcome in outcomes.values()) >= 101


@pytest.mark.long
def test_a_script_with_slow_calls_keeps_no_other_waiting(services: Services) -> None:
    services.by_name["secret"] = lambda program, request, deadline: {"value": "swordfish"}
    pool = HostPool(services=lambda: services.by_name)
    slow = f"""{REQUESTING}
def run(message, context):
    for _ in range(8):
        context.send_request("gate", {{}})
    context.read_reply()
    return message
"""
    other = f"""{REQUESTING}
def run(message, context):
    message["payload"] = [request(context, "secret"), request(context, "echo")["name"]]
    return message
"""
    body = b'{"correlationId":"c","payload":1}'
    calls = [Call(("slow", n), "c", 1, "d", body) for n in range(10)]
    pool.submit(Program(1, "slow", "python", slow, 60, 64), SITE, calls, hosts=10)
    wait_for(lambda: pool.collect(0.05) or len(services.requests) >= 64)

    pool.submit(
        Program(2, "other", "python", other, 60, 64), SITE, [Call("o", "c", 1, "d", body)], hosts=1
    )

    outcomes = wait_for(lambda: pool.collect(0.1))
    assert [outcome.call.key for outcome in outcomes] == ["o"]
    assert json.loads(outcomes[0].output or b"")["payload"] == [{"value": "swordfish"}, "other"]
    services.gate.set()
    pool.close()


@pytest.mark.long
def test_a_script_reads_its_values_though_its_slow_calls_have_all_threads(
    services: Services,
) -> None:
    services.by_name["config"] = lambda program, request, deadline: {"values": {"a": "1"}}
    pool = HostPool(services=lambda: services.by_name)
    code = f"""{REQUESTING}
def run(message, context):
    if message["payload"]:
        message["payload"] = context.config["a"]
        return message
    for _ in range(8):
        context.send_request("gate", {{}})
    context.read_reply()
    return message
"""
    slow = Program(1, "slow", "python", code, 60, 64)
    pool.submit(slow, SITE, calls([0] * 10), hosts=11)
    wait_for(lambda: pool.collect(0.05) or len(services.requests) >= 64)

    quick = b'{"correlationId":"c","payload":1}'
    pool.submit(slow, SITE, [Call("quick", "c", 1, "d", quick)], hosts=11)

    outcomes = wait_for(lambda: pool.collect(0.1))
    assert [outcome.call.key for outcome in outcomes] == ["quick"]
    assert payload(outcomes[0]) == "1"
    services.gate.set()
    pool.close()
