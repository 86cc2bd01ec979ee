"""Callables: functions of the project's own code that serve as scripts.

    from scripts.callables import Context, Message, Reject, Retry, Wait

    def score(message: Message, context: Context) -> Message:
        ...
        return message

The code of such a script is the dotted path of its function. It runs in the worker, with Django
and its models, if ASYNCENGINE_CALLABLE_MODULES allows its module.
"""

from typing import Any

from scripts.host.context import Context
from scripts.host.exceptions import Reject, Retry, Wait

__all__ = ["Context", "Message", "Reject", "Retry", "Wait"]

# With `correlationId`, `payload` and the members that earlier steps have added.
Message = dict[str, Any]
