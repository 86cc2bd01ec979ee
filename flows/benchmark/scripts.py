"""The scripts of the workloads."""

TRIVIAL = "def run(message, context):\n    return message\n"
TRIVIAL_JAVASCRIPT = "setData(context.Data);\n"


def sleeping(seconds: float) -> str:
    return f"""import time


def run(message, context):
    time.sleep({seconds})
    return message
"""


SLEEPING = sleeping(0.05)
CPU_SECONDS = 0.005
COMPUTING = f"""import time


def run(message, context):
    ends_at = time.thread_time() + {CPU_SECONDS}
    while time.thread_time() < ends_at:
        sum(range(1000))
    return message
"""
BRANCHING = """def run(message, context):
    id, count = message["correlationId"], message["payload"]["branches"]
    return [{"correlationId": id, "payload": {"i": k}} for k in range(count)]
"""
COUNTING = """def run(message, context):
    message["payload"] = {"branches": len(message["payload"])}
    return message
"""
