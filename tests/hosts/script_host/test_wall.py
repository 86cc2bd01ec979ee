"""The wall."""

import json
import os

import pytest

from scripts.host.sandbox import OWN_USER, SCRIPT_UIDS
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, LibraryCode, Outcome, Program
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptInvalid,
    ScriptKilled,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
)
from tests.hosts.pools import payload
from tests.hosts.script_host.helpers import AROUND_IMPORTS, CORRELATION_ID, Run, error, returning
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    "attempt",
    [
        "modules['io'].open('/etc/passwd')",
        "os.open('/dev/null', os.O_RDONLY)",
        "os.listdir('/')",
        "os.pipe()",
        "modules['_socket'].socket()",
        "os.dup(3)",
        "os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.memfd_create('x')",
        "modules['_thread'].start_new_thread(print, ())",
        "modules['resource'].setrlimit(modules['resource'].RLIMIT_NOFILE, (99, 99))",
    ],
)
def test_ways_out_are_closed_to_tricks(run: Run, attempt: str) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(message, context):\n    return {attempt}"

    raised = run(code).error

    assert isinstance(raised, ScriptRaised | ScriptInvalid)
    assert str(raised).split(":")[0] in {
        "OSError",
        "BlockingIOError",
        "PermissionError",
        "RuntimeError",
        "ValueError",
        "error",
    }


def test_environment_is_empty(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")

    outcome = run(returning("[dict(os.environ), sys.path, len(sys.argv)]", AROUND_IMPORTS))

    assert payload(outcome)[:2] == [{}, []]


def test_nothing_of_django_is_in_the_host(run: Run) -> None:
    assert payload(run(returning("'django' in modules", AROUND_IMPORTS))) is False


def test_host_has_one_descriptor(run: Run) -> None:
    before = f"""{AROUND_IMPORTS}
def channel():
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_channel"):
        frame = frame.f_back
    return frame.f_locals["self"]._channel._descriptor
def was_open(n):
    try:
        os.close(n)
    except OSError:
        return False
    return True
"""
    outcome = run(returning("[n for n in range(1024) if n != channel() and was_open(n)]", before))

    assert payload(outcome) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_becomes_another_user_without_groups(run: Run) -> None:
    facts = "[os.getresuid(), os.getresgid(), os.getgroups(), os.getpid()]"

    user, group, groups, pid = payload(run(returning(facts, AROUND_IMPORTS)))

    assert user == group == [SCRIPT_UIDS[0] + pid] * 3
    assert groups == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_hosts_share_a_user_where_there_is_none_for_each() -> None:
    pool = HostPool(uids=(2**32, SCRIPT_UIDS[1]))

    outcome = run_once(pool, returning("os.getresuid()", AROUND_IMPORTS))

    assert payload(outcome) == [SCRIPT_UIDS[1]] * 3
    assert pool.missing_measures == {OWN_USER}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_script_cannot_become_root_again(run: Run) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(message, context): os.setuid(0)"

    assert str(error(run(code), ScriptInvalid)).startswith("PermissionError")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_host_that_cannot_drop_its_user_runs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    # What the kernel takes for "leave it as it is".
    outcome = run_once(HostPool(uids=(2**32, 2**32 - 1)), "def run(m, c): return m")

    assert error(outcome, ScriptKilled).exit_code == 77
    assert "no script will run" in capfd.readouterr().err


def run_once(pool: HostPool, code: str) -> Outcome:
    body = b'{"correlationId":"c","payload":1}'
    call = Call(1, "c", 1, "d", body)
    pool.submit(Program(1, "p", "python", code, 5, 64), CallSite("f", "s", "q", False), [call], 1)
    (outcome,) = pool.collect(PATIENCE)
    pool.close()
    return outcome


def test_the_sandbox_is_complete_here(pool: HostPool, run: Run) -> None:
    run("def run(message, context): return message")

    assert pool.missing_measures == set()


def test_the_members_of_a_group_of_exceptions_are_named(run: Run) -> None:
    code = "def run(m, c):\n    raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"

    raised = error(run(code), ScriptRaised)

    assert str(raised) == "ExceptionGroup: two (2 sub-exceptions)"
    assert raised.traceback.endswith(f"{raised}\n  - ValueError: a\n  - KeyError: 'b'")


def test_memory_limit_ends_in_a_memory_error_and_the_host_is_replaced(run: Run) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    if message["payload"]:
        x = bytearray(300_000_000)
    message["payload"] = os.getpid()
    return message
"""
    first = run(code, memory_mb=100)
    full = error(run(code, 1, memory_mb=100), ScriptOutOfMemory)
    second = run(code, memory_mb=100)

    assert str(full).startswith("The script ran out of memory after it had taken ")
    assert str(full).endswith(" MB that it may have (memoryMb).")
    assert "line 8, in run" in full.traceback
    assert full.traceback.endswith("MemoryError")
    assert payload(first) != payload(second)


def test_many_small_objects_meet_the_memory_limit_too(run: Run) -> None:
    code = "def run(m, c):\n    x = []\n    while True: x.append([len(x)])"

    full = error(run(code, memory_mb=50), ScriptOutOfMemory)

    assert 20 * 2**20 < full.peak_bytes < 55 * 2**20


@pytest.mark.parametrize(
    "output",
    [
        "'x' * 60_000_000",
        "['x' * 1000 + str(n) for n in range(55_000)]",
        "{str(n): n for n in range(1_000_000)}",
        "'ä\\0' * 20_000_000",
        "[n / 7 for n in range(4_000_000)]",
    ],
)
def test_output_too_big_to_be_written_is_a_matter_of_memory(run: Run, output: str) -> None:
    outcome = run(returning(output), memory_mb=64 if "55_000" in output else 256)

    # What writes JSON is killed by the lack of memory or copes with it, as it happens.
    assert isinstance(outcome.error, ScriptKilled | ScriptOutOfMemory | OutputInvalid)
    assert isinstance(outcome.error, OutputInvalid) or "out of memory" in str(outcome.error)


def test_death_of_an_output_far_from_the_memory_limit_says_how_large_one_may_be(run: Run) -> None:
    # As JSON it has six times as many characters.
    killed = error(run(returning("chr(1) * 8_000_000"), memory_mb=64), ScriptKilled)

    assert killed.memory
    assert str(killed) == (
        "The script ran out of memory when its output was written; "
        "an output may have 8388608 bytes."
    )


@pytest.mark.parametrize(
    "output",
    ["'x' * 60_000_000", "[['x' * 10_000] * 10_000] * 10_000", "[[[1] * 5000] * 5000] * 5000"],
)
@pytest.mark.parametrize("memory_mb", [64, 128, 512])
def test_an_output_too_big_to_be_written_is_refused_whatever_the_memory(
    run: Run, output: str, memory_mb: int
) -> None:
    if memory_mb == 64 and "60_" in output:
        pytest.skip("the text alone takes that")

    refused = error(run(returning(output), memory_mb=memory_mb), OutputInvalid)

    assert str(refused) == "$ has too many bytes as JSON; at most 8388608 are allowed."


def test_a_branch_for_each_of_very_many_shared_messages_is_refused(run: Run) -> None:
    refused = error(run("def run(m, c):\n    return [m] * 8_000_000"), OutputInvalid)

    assert str(refused) == "The output has 8000000 messages, which are too many."


PRICES = """
import rates
count = 0
def net(gross):
    global count
    count += 1
    if gross < 0:
        raise Reject("negative")
    return gross / rates.VAT
"""
RATES = "VAT = 2\n"
BOTH = (LibraryCode("rates", RATES), LibraryCode("prices", PRICES))


def test_a_library_is_imported_by_its_name_and_may_import_others(run: Run) -> None:
    code = """
from prices import net
import prices as same
def run(message, context):
    message["payload"] = {"net": net(8), "same": same.net is net}
    return message
"""
    outcome = run(code, libraries=BOTH)

    assert outcome.error is None
    assert json.loads(outcome.output)["payload"] == {"net": 4.0, "same": True}


def test_a_library_is_fresh_for_each_message(pool: HostPool) -> None:
    code = """
import prices
def run(message, context):
    prices.net(8)
    message["payload"] = prices.count
    return message
"""
    program = Program(1, "counting", "python", code, 20, 256, libraries=BOTH)
    body = json.dumps({"correlationId": CORRELATION_ID, "payload": {}}).encode()
    calls = [Call(key, CORRELATION_ID, 1, f"d-{key}", body) for key in range(3)]
    pool.submit(program, CallSite("orders", "count", "q", False), calls, 1)

    outcomes = []
    while pool.outstanding():
        outcomes += pool.collect(PATIENCE)

    assert [json.loads(outcome.output)["payload"] for outcome in outcomes] == [1, 1, 1]


def test_a_traceback_names_the_library_and_its_line(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return prices.net(None)\n"

    error = run(code, libraries=BOTH, name="prices").error

    assert isinstance(error, ScriptRaised)
    assert 'File "prices", line 3, in run\n    return prices.net(None)' in error.traceback
    assert 'File "library prices", line 7, in net\n    if gross < 0:' in error.traceback


def test_a_library_may_reject_a_message(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return prices.net(-1)\n"

    error = run(code, libraries=BOTH).error

    assert isinstance(error, ScriptRejected)


def test_a_library_that_does_not_compile_is_named(run: Run) -> None:
    code = "def run(message, context):\n    return message\n"

    error = run(code, libraries=(LibraryCode("prices", "x = ("),)).error

    assert isinstance(error, ScriptInvalid)
    assert str(error).startswith("library prices, line 1: ")
    assert error.line is None


def test_a_library_may_import_no_more_than_a_script(run: Run) -> None:
    code = "import prices\ndef run(message, context):\n    return message\n"

    error = run(code, libraries=(LibraryCode("prices", "import os"),)).error

    assert str(error).startswith("ImportError: module 'os' may not be imported (")
    assert "manage.py script modules lists those that may)" in error.traceback


ORDER = json.dumps(
    {
        "type": "object",
        "properties": {
            "amount": {"type": "integer"},
            "lines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["amount"],
    }
)
ECHO = "def run(message, context):\n    return message\n"


def test_a_payload_that_does_not_match_does_not_reach_the_script(run: Run) -> None:
    code = "def run(message, context):\n    context.log('ran')\n    return message\n"

    outcome = run(code, {"amount": "9", "lines": ["a", 1]}, input_schema=ORDER)

    assert str(error(outcome, InputInvalid)).splitlines() == [
        "The payload does not match the input parameters.",
        '$.payload.amount: "9" is not of type "integer"',
        '$.payload.lines[1]: 1 is not of type "string"',
    ]
    assert outcome.logs == []
    assert run(code, {"amount": 9}, input_schema=ORDER).error is None


def test_an_output_that_does_not_match_is_named_by_field(run: Run) -> None:
    code = "def run(message, context):\n    message['payload'] = {'net': 1}\n    return message\n"

    refused = error(run(code, {"amount": 9}, output_schema=ORDER), OutputInvalid)

    assert str(refused).splitlines() == [
        "The output does not match the output structure.",
        '$.payload: "amount" is a required property',
    ]
    assert refused.place == "$.payload"


def test_each_branch_of_an_output_is_checked(run: Run) -> None:
    code = """
def run(message, context):
    return [{"payload": {"amount": amount}} for amount in (1, 2, 2.5)]
"""
    refused = error(run(code, output_schema=ORDER), OutputInvalid)

    assert refused.place == "$[2].payload.amount"


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ("{'amount': 1}", None),
        ("{'payload': {'amount': 1}}", None),
        ("{'payload': {'amount': '1'}}", "$.payload.amount"),
        ("{'amount': '1'}", "$.amount"),
        ("[{'amount': 1}]", None),
        ("7", None),
        ("{}", "$"),
    ],
)
def test_the_last_output_is_checked_as_a_whole_unless_it_has_a_payload(
    run: Run, result: str, place: str | None
) -> None:
    schema = '{"properties": {"amount": {"type": "integer"}}, "required": ["amount"]}'
    code = f"def run(message, context):\n    return {result}\n"

    outcome = run(code, output_schema=schema, is_last=True)

    assert getattr(outcome.error, "place", None) == place


def test_what_is_checked_is_what_goes_on(run: Run) -> None:
    # Python says that True is 1, a tuple is no list and an enum has a value.
    schema = json.dumps(
        {
            "properties": {
                "flag": {"type": "boolean"},
                "pair": {"type": "array"},
                "colour": {"const": "red"},
                "id": {"type": "string"},
            }
        }
    )
    code = """
import enum, uuid
class Colour(enum.Enum):
    RED = "red"
def run(message, context):
    message["payload"] = {
        "flag": True, "pair": (1, 2), "colour": Colour.RED, "id": uuid.uuid4(),
    }
    return message
"""
    assert run(code, output_schema=schema).error is None


def test_many_faults_are_named_as_the_first_of_them_and_shortened(run: Run) -> None:
    payload = {"amount": 1, "lines": [["x" * 5000]] * 300}

    lines = str(error(run(ECHO, payload, input_schema=ORDER), InputInvalid)).splitlines()

    assert len(lines) == 52
    assert lines[-1] == "…"
    assert max(map(len, lines)) < 400


def test_a_fault_too_deep_to_be_shown_is_refused_all_the_same(run: Run) -> None:
    code = """
def run(message, context):
    deep = []
    for _ in range(900):
        deep = [deep]
    message["payload"] = {"amount": deep}
    return message
"""
    refused = error(run(code, output_schema=ORDER), OutputInvalid)

    assert refused.place == "$.payload"
    assert "limit" in str(refused)


def test_a_schema_that_cannot_be_used_is_named(run: Run) -> None:
    outcome = run(ECHO, input_schema='{"$ref": "http://example.org/schema"}')

    assert "input parameters" in str(error(outcome, ScriptInvalid))
