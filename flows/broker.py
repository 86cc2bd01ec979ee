"""The broker's former address, which settings of projects name. To be removed with version 2."""

from flows.worker.broker import QueueBroker

__all__ = ["QueueBroker"]
