"""What the scripts of the fault tests do. Their results tell what they have been through."""

from typing import Any

TRAIL = (
    "def run(message, context):\n"
    "    message['payload'].setdefault('trail', []).append([context.step, context.attempt])\n"
    "    return message\n"
)
SLOW = f"import time, random\n{TRAIL}".replace(
    "    return", "    time.sleep(random.uniform(0.02, 0.3))\n    return"
)
# Fails the first time with one message in three, and asks for a redelivery with another.
FLAKY = TRAIL.replace(
    "context):\n",
    "context):\n"
    "    turn = message['payload']['n'] % 3 if context.attempt == 1 else 2\n"
    "    if turn == 0: raise ValueError('the first time')\n"
    "    if turn == 1: raise Retry(after=0.1)\n",
)
# Rejects one message in five.
PICKY = TRAIL.replace(
    "context):\n", "context):\n    if message['payload']['n'] % 5 == 0: raise Reject('no')\n"
)
BRANCHES = 5
SPLIT = TRAIL.replace(
    "return message",
    f"return [{{'payload': message['payload'] | {{'branch': b}}}} for b in range({BRANCHES})]",
)
# One entry stands for all branches, with their extra attempts; it says where one is missing.
MERGE = (
    "def run(message, context):\n"
    "    branches = message['payload']\n"
    "    first, second = zip(*(branch['trail'] for branch in branches))\n"
    "    numbers = [branch['branch'] for branch in branches]\n"
    f"    name = second[0][0] if numbers == list(range({BRANCHES})) else str(numbers)\n"
    "    attempts = 1 + sum(attempt - 1 for _, attempt in second)\n"
    "    trail = [first[0], [name, attempts], [context.step, context.attempt]]\n"
    "    return message | {'payload': {'trail': trail}}\n"
)
CODES = {
    "trail": TRAIL,
    "slow": SLOW,
    "flaky": FLAKY,
    "picky": PICKY,
    "split": SPLIT,
    "merge": MERGE,
}
# Flows by the scripts of their steps.
FLOWS = {
    "quick": ["trail", "trail", "trail"],
    "slow": ["trail", "slow"],
    "flaky": ["flaky", "trail", "flaky"],
    "picky": ["trail", "picky"],
    "fan": ["split", "flaky", "merge"],
}


def steps(flow: str) -> list[str]:
    return [f"{flow}-{position}" for position in range(len(FLOWS[flow]))]


def fails(flow: str, n: int) -> bool:
    """Whether a run with this number ends among the dead letters."""
    return flow == "picky" and n % 5 == 0


def configuration(size: int, threads: int = 4) -> dict[str, Any]:
    """The flows, with queues of this size. Kills are charged, so deliveries are many."""
    names = [name for flow in FLOWS for name in steps(flow)]
    backoff = {"initialSeconds": 0.05, "multiplier": 1.5, "maxSeconds": 1}
    return {
        "scripts": [{"name": name, "code": code} for name, code in CODES.items()],
        "queues": [
            {"name": name, "size": size, "maxDeliveries": 1000, "backoff": backoff}
            for name in names
        ],
        "flows": [
            {
                "name": flow,
                "steps": [
                    {
                        "name": name,
                        "script": script,
                        "queue": name,
                        "threads": threads,
                        "join": script == "merge",
                    }
                    for name, script in zip(steps(flow), scripts, strict=True)
                ],
            }
            for flow, scripts in FLOWS.items()
        ],
    }
