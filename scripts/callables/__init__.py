"""Callables: functions of the project's own code that serve as scripts.

    from scripts.callables import Reject, Retry

    def score(message, context):
        ...
        return message

The code of such a script is the dotted path of its function. It runs in the worker, with Django
and its models, if ASYNCENGINE_CALLABLE_MODULES allows its module.
"""

from scripts.host.raised import Reject, Retry

__all__ = ["Reject", "Retry"]
