"""One message's way through a JavaScript realm.

Nothing in the realm calls into Python but what `prelude/log.js` tells. Between its jobs Python
calls the engine function of `prelude/core.js`, which returns requests to send, and the output or
the error.
"""

import json
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from scripts.host.languages import prelude, quickjs
from scripts.host.languages.lookups import answer_of
from scripts.host.languages.quickjs import UNDEFINED, Thrown, Value
from scripts.host.languages.world import (
    BEGIN,
    DESCRIBE,
    END,
    FAIL,
    GIVE,
    PART,
    RUN,
    SETTLE,
    START,
    TAKE,
    World,
)
from scripts.protocol.envelope import plain_text, shortened_place
from scripts.protocol.errors import (
    Lasting,
    OutputInvalid,
    ScriptError,
    ScriptRejected,
    ScriptRetry,
    ScriptWait,
)
from scripts.protocol.numerals import may_change
from scripts.protocol.rejections import bounded, code_of
from scripts.protocol.wait_state import fault_of_state
from scripts.protocol.ways import allowed

if TYPE_CHECKING:
    from scripts.host.context import Context

MAX_MESSAGE_LENGTH = 2000
NEVER_SETTLED = "The script waits for a promise that nothing will settle."
_LINE = re.compile(r":(\d+):\d+\)")
# The text of a message with up to this many bytes may stay in memory while the script runs.
_SHORT = 16 * 1024

_bits = random.getrandbits


def _waiting(after: float | None, reason: str, state: str | None) -> ScriptError:
    """Return what wait() means, by its state as JSON text."""
    text = "" if state in (None, "null") else str(state)
    if text and (fault := fault_of_state(text.encode())):
        return OutputInvalid(fault, place="$")
    return ScriptWait(after=after, reason=reason, state=text)


class Failed(Exception):
    """The script threw, or ended otherwise without an output."""

    def __init__(
        self, message: str, stack: str = "", may_be_memory: str = "", kind: str = ""
    ) -> None:
        """`kind`: that of a failed outside call."""
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stack = stack
        self.may_be_memory = may_be_memory


class Execution:
    def __init__(
        self, world: World, context: "Context", named: Callable[[str, str], tuple[str, str]]
    ) -> None:
        """`named` returns an error's message and stack with the value that it is about."""
        self._named = named
        self._world = world
        self._realm = world.realm
        self._prelude = world.prelude
        self._context = context
        self._engine = world.engine
        # Requests under way: their number at the worker -> their number in the script.
        self._under_way: dict[int, int] = {}
        self._sent: dict[int, str] = {}
        # Values that it has given to the cache, by the number of the request at the worker.
        self._cached: dict[int, Any] = {}
        self._finishes = False

    def run(self, body: bytes, *, remembers: bool, orders: bytes | None) -> bytes:
        """Return the output as JSON text. Raises ScriptError, Failed or Thrown.

        Where needed, the realm keeps how the numbers of the message are written, and the orders of
        its keys, as `key_orders` returns them.
        """
        if self._world.messenger is not None:
            self._realm.listen(self._world.messenger, self._log)
        if self._world.is_plain and not remembers and len(body) < _SHORT:
            given = self._start_at_once(body)
        else:
            self._start(body, remembers, orders)
            given = self._run_code()
        while True:
            if self._run_jobs() or given.tag == UNDEFINED.tag:
                self._realm.free(given)
                given = UNDEFINED
                output = self._take()
            else:
                output = self._text_of(given)
            if self._realm.was_interrupted:
                # It caught that.
                raise Failed("It was interrupted.")
            if output is not None and not self._under_way:
                self._look_for_rejections()
                if self._prelude.has_answers:
                    self._look_for_open_questions()
                return output
            if self._under_way:
                self._settle(*self._context.read_reply())

    def _start_at_once(self, body: bytes) -> Value:
        """Give a message and run the script, and return its output, undefined if it is to come."""
        facts = orjson.dumps(self._facts())
        return self._run(BEGIN, self._realm.string(b"%b,%b]" % (facts[:-1], body)))

    def _run_code(self) -> Value:
        try:
            for library in self._world.libraries:
                self._realm.free(self._realm.run_read(library))
        except Thrown:
            self._fail(self._realm.take_thrown())
            return UNDEFINED
        return self._run(RUN)

    def _run(self, *arguments: Value) -> Value:
        try:
            return self._realm.call(self._engine, *arguments)
        except Thrown:
            if not self._realm.was_interrupted:
                raise
            # No JavaScript can catch this.
            self._fail(self._realm.take_thrown())
            return UNDEFINED
        finally:
            self._realm.free(*arguments)

    @property
    def context(self) -> "Context":
        return self._context

    @property
    def finishes(self) -> bool:
        """Whether the run ends with the output."""
        return self._finishes

    @property
    def has_failed_outside(self) -> bool:
        """Whether a request of the script has failed."""
        return self._context._outside_failed

    def waits_for(self) -> str:
        """Return the request that the script waits for, in words; "" where it waits for none."""
        return next((self._sent[number] for number in self._under_way), "")

    def _facts(self) -> list[Any]:
        """Return what the script can ask of its call, and what the prelude is given with it."""
        context = self._context
        facts: list[Any] = [
            context.correlation_id,
            context.flow,
            context.step,
            context.queue,
            context.attempt,
            context.delivery_id,
            [_bits(31), _bits(31), _bits(31)],
            None,
            None,
            context._waits and [context.waits, context.waited_seconds, context._waits["state"]],
            None,
            None,
        ]
        if self._prelude.has_ways:
            facts[10:] = [context._steps, allowed(context._steps)]
        if self._prelude.has_secrets:
            facts[7] = self._secrets()
        if self._prelude.has_config:
            number = context.send_request("config", {})
            facts[8] = context._services.read_reply(context._number, number)[1]
            context.config._given(facts[8].get("values", {}))
        return facts

    def _start(self, body: bytes, remembers: bool, orders: bytes | None) -> None:
        """Give the message to the prelude. Raises Thrown."""
        facts = orjson.dumps(self._facts())
        arguments = [self._realm.string(body), self._realm.string(facts)]
        if remembers:
            arguments.append(self._world.numerals())
        if orders is not None:
            arguments.append(self._realm.string(orders))
        self._call(START, *arguments)
        for part, make_data in self._world.parts:
            given = [] if make_data is None else [self._realm.string(make_data())]
            self._realm.free(self._realm.call(self._engine, PART, part, *given), *given)
        if self._prelude.has_clock:
            self._realm.add_clock()

    def _log(self, said: bytes) -> None:
        at, level, line = said.decode("utf-8", "surrogatepass").split(" ", 2)
        if level == "table":
            self._look_up(line.encode("utf-8", "surrogatepass"))
            return
        if level == "config":
            self._look_up_value(line)
            return
        if level == "name":
            self._name(*json.loads(line))
            return
        if level == "progress":
            self._context.progress(*json.loads(line))
            return
        if level == "finish":
            self._finishes = True
            return
        if level == "go":
            self._finishes = False
            self._context.go(json.loads(line))
            return
        self._context._log.add(prelude.without_frames(line), level, float(at))

    def _name(self, message: str, stack: str) -> None:
        """Give the message of an error that the script has caught, with the value it is about."""
        headline = f"TypeError: {message}"
        told = self._named(headline, f"{headline}\n{stack}")[0].removeprefix("TypeError: ")
        if told == message and (line := _LINE.search(prelude.without_frames(stack))):
            told = f"{message} (line {line[1]})"
        self._call(GIVE, self._realm.string(told.encode("utf-8", "surrogatepass")))

    def _look_up_value(self, name: str) -> None:
        """Give the script that waits a value of the installation, nothing, or an error."""
        arguments = [quickjs.UNDEFINED, quickjs.UNDEFINED]
        try:
            value = self._context.config.newest(name)
        except RuntimeError as error:
            arguments[1] = self._realm.string(str(error).encode())
        else:
            if value is not None:
                arguments[0] = self._realm.string(value.encode())
        self._call(GIVE, *arguments)

    def _look_up(self, request: bytes) -> None:
        """Give the script that waits a text of a table, nothing, or an error."""
        text = None
        arguments = [quickjs.UNDEFINED, quickjs.UNDEFINED]
        try:
            text = answer_of(self._context._tables, request)
        except (KeyError, RuntimeError) as error:
            problem = [str(error.args[0]), isinstance(error, Lasting)]
            arguments[1] = self._realm.string(orjson.dumps(problem))
        if text is not None:
            arguments[0] = self._realm.string(text)
            if may_change(text):
                arguments.append(self._world.numerals())
        self._call(GIVE, *arguments)

    def _secrets(self) -> dict[str, dict[str, Any]]:
        """Return the worker's reply for each secret; all are requested at once."""
        context = self._context
        sent = {
            context.send_request("secret", {"name": name}): name for name in context.secret_names
        }
        replies = [context.read_reply() for _ in sent]
        return {sent[number]: reply for number, reply in replies}

    def _run_jobs(self) -> bool:
        """Return whether there were any."""
        try:
            return self._realm.run_jobs()
        except Thrown:
            self._fail(self._realm.take_thrown())
            return True

    def _take(self) -> bytes | None:
        """Carry out the script's requests, and return its output if it has ended."""
        text = self._answer(TAKE)
        if text[:1] != b" ":
            return text
        state = json.loads(text)
        self._raise_end(state)
        replies = []
        for number, request, *service in state["requests"]:
            if service:
                request = json.loads(request)
            if service == ["state"]:
                replies.append((number, self._context.state._serve(request)))
                continue
            sent = self._context.send_request(service[0] if service else "http", request)
            self._under_way[sent] = number
            self._sent[sent] = _in_words(request)
            if service == ["cache"] and "text" in request:
                self._cached[sent] = request["text"]
        for number, reply in replies:
            self._reply(number, reply)
        if self._under_way or replies:
            return None
        self._look_for_rejections()
        if not state["isSettled"]:
            if self._realm.is_full():
                raise MemoryError
            raise Failed(NEVER_SETTLED)
        if not state["hasOutput"]:
            hint = " What it returns is not its output." if state["hasReturned"] else ""
            raise OutputInvalid(f"The script did not call setData(output).{hint}", place="$")
        return None

    def _raise_end(self, state: dict[str, Any]) -> None:
        """Raise the script's decision or error, if there is one."""
        if decision := state.get("decision"):
            reason = plain_text(decision["reason"], MAX_MESSAGE_LENGTH)
            if decision["what"] == "reject":
                details = decision.get("details")
                raise ScriptRejected(
                    reason=reason,
                    code=code_of(decision.get("code")),
                    details=None if details is None else bounded(details),
                )
            if decision["what"] == "wait":
                raise _waiting(decision.get("after"), reason, decision.get("state"))
            raise ScriptRetry(after=decision.get("after"), reason=reason)
        if not state["hasThrown"]:
            return
        failure = json.loads(self._answer(DESCRIBE, self._realm.run(prelude.failures())))
        if "place" in failure:
            place = shortened_place(failure["place"])
            raise OutputInvalid(f"{place} {failure['reason']}", place=place)
        if "retryAfter" in failure:
            reason = plain_text(failure["message"], MAX_MESSAGE_LENGTH)
            raise ScriptRetry(after=failure["retryAfter"], reason=reason)
        raise Failed(
            failure["message"],
            failure["stack"],
            failure.get("mayBeMemory", ""),
            failure.get("kind") or "",
        )

    def _look_for_rejections(self) -> None:
        """Raise the reason of the first unhandled rejection of a promise."""
        reason = self._realm.take_rejection()
        if reason is not None:
            self._fail(reason)
            self._take()

    def _look_for_open_questions(self) -> None:
        """Raise the error of a question to whose answer the script has not come."""
        try:
            self._call(END)
        except Thrown:
            self._fail(self._realm.take_thrown())
            self._take()

    def _settle(self, number: int, reply: dict[str, Any]) -> None:
        if (text := self._cached.pop(number, None)) is not None and "error" not in reply:
            reply = {"text": text}
        self._reply(self._under_way.pop(number), reply)

    def _reply(self, number: int, reply: dict[str, Any]) -> None:
        """Give the script the reply to its own request of this number."""
        arguments = [quickjs.integer(number), self._realm.string(orjson.dumps(reply))]
        if may_change(str(reply.get("body", reply.get("text", ""))).encode()):
            arguments.append(self._world.numerals())
        self._call(SETTLE, *arguments)

    def _fail(self, thrown: Value) -> None:
        self._call(FAIL, thrown)

    def _answer(self, what: Value, *arguments: Value) -> bytes:
        try:
            value = self._realm.call(self._engine, what, *arguments)
        finally:
            self._realm.free(*arguments)
        return self._text_of(value)

    def _text_of(self, value: Value) -> bytes:
        """Return the text, and free the value."""
        text = self._realm.text(value)
        self._realm.free(value)
        return text

    def _call(self, *arguments: Value) -> None:
        """Have the realm do something. Frees the arguments."""
        try:
            self._realm.free(self._realm.call(self._engine, *arguments))
        finally:
            self._realm.free(*arguments)


def _in_words(request: dict[str, Any]) -> str:
    """Return what a script waits for: an outside call, or a service by what it is to do."""
    if "what" in request:
        return str(request["what"])
    return f"{request['method']} {request['url'].split('?')[0]}"
