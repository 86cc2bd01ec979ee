"""What Python scripts may import of the engine, for their types and for those who read them.

    from asyncengine_script import Context, Message, Reject, Retry, Wait


    def run(message: Message, context: Context) -> Message: ...

`Reject`, `Retry` and `Wait` are in scope without it, too. `__init__.pyi` beside this stands alone:
it goes to the authors of scripts, who need not have the engine. A test compares the two.
"""

from typing import Any

from scripts.host.context import Context
from scripts.host.exceptions import Reject, Retry, Wait
from scripts.host.flow_state import State
from scripts.host.http import Headers, Http, HttpError, Response
from scripts.host.secret_values import Secrets
from scripts.host.signatures import SignatureError
from scripts.host.tables import Table

__all__ = [
    "Context",
    "Headers",
    "Http",
    "HttpError",
    "Message",
    "Reject",
    "Response",
    "Retry",
    "Secrets",
    "SignatureError",
    "State",
    "Table",
    "Wait",
]

# With `correlationId`, `payload` and what earlier steps have put beside them.
Message = dict[str, Any]
