"""The scripts of the workloads."""

TRIVIAL = "def run(message, context):\n    return message\n"
SLEEPING = "import time\n\n\ndef run(message, context):\n    time.sleep(0.05)\n    return message\n"
