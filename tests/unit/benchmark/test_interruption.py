import signal

import pytest
from django.core.management import CommandError

from flows.benchmark.waiting import wait_until
from flows.management.commands.bench import stopped_by_signals


class InterruptedAsItGoes:
    def __del__(self) -> None:
        # Python ignores what a destructor raises.
        signal.raise_signal(signal.SIGTERM)


def wait_on() -> None:
    InterruptedAsItGoes()
    wait_until(lambda: False, seconds=0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_python_has_lost_ends_the_next_wait():
    with pytest.raises(CommandError, match="interrupted"), stopped_by_signals():
        wait_on()


def test_the_next_bench_of_a_process_is_not_interrupted():
    with pytest.raises(CommandError), stopped_by_signals():
        signal.raise_signal(signal.SIGINT)

    with stopped_by_signals():
        wait_until(lambda: True)
