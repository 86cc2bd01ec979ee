"""Predicts at which place the engine knows each operation of JavaScript code that may fail.

The engine notes places for names, calls, operands and statements only. An error of any other
operation has the place that was noted last before it, often that of another statement. This goes
through the code in the order of the engine's instructions and notes the same places, so that an
error leads back to the operations that have its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scripts.host.languages.javascript_tokens import Scanner, Token
from scripts.protocol.source_lines import lines_of

# Longer code is not gone through, and longer chains of properties are not followed.
MAX_CODE = 100_000
_MAX_CHAIN = 50

# The key of a property that is computed.
COMPUTED = "[]"
CALL, READ, WRITE, ITERATE, OPEN, ASSIGN = "call", "read", "write", "iterate", "open", "assign"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STATEMENTS = _words(
    "const let var if for while do return switch try function class break continue throw import"
    " export debugger case default else finally catch"
)
_KEYWORDS = _STATEMENTS | _words(
    "new delete typeof void in of instanceof await yield extends async static null true false this"
    " super"
)
# Words that are names as well.
_SOFT = _words("of async static get set await yield let")
_VALUES = _words("this super null true false")
# Behind these no value has ended.
_NO_VALUES = _KEYWORDS - _VALUES - _words("of async static get set")
_BINARY = _words("* / % + - << >> >>> < > <= >= == != === !== & ^ | in instanceof")
_ASSIGNMENTS = _words("= += -= *= /= %= **= <<= >>= >>>= &= ^= |= &&= ||= ??=")
_HEADS = _words("if while for switch with catch")
_BLOCK_WORDS = _words("else do try finally catch")
_OPENING, _CLOSING = frozenset(("(", "[", "{")), frozenset((")", "]", "}"))
_BLOCKS = frozenset(("block", "body", "switch"))

Mark = tuple[int, int] | None


@dataclass(slots=True)
class Operation:
    """What may fail: its kind, the property or name that it is about, and where it stands."""

    kind: str
    key: str
    # The first token of the value that it is about, and the last of the operation.
    first: int
    last: int
    mark: Mark
    # Whether only the head of its function was noted.
    is_at_head: bool
    # The value as it stands in the code; "" where that is more than names, indexes and calls.
    value: str = ""
    is_await: bool = False
    last_of_value: int = 0
    # Of a call: the name of the property, whatever it is one of.
    name: str = ""
    # What takes it apart.
    pattern: str = ""


@dataclass(slots=True)
class _Function:
    mark: Mark
    head: tuple[int, int] | None
    is_noted: bool = False

    @property
    def noted(self) -> tuple[Mark, bool]:
        return self.mark, self.is_noted

    @noted.setter
    def noted(self, noted: tuple[Mark, bool]) -> None:
        self.mark, self.is_noted = noted


@dataclass(slots=True)
class _Frame:
    role: str
    opening: int
    function: _Function
    # Of an object or a class: whether a member's name may come; of a block: of a statement.
    is_start: bool = True
    is_declaration: bool = False
    has_await: bool = False
    writes: list[Operation] = field(default_factory=list)
    # Of the head of a loop: what comes when its value is there.
    late: list[Operation] = field(default_factory=list)
    noted_last: int | None = None
    # The loop whose block it is, and the one that ends with the next statement.
    loop: int | None = None
    open_loop: int | None = None
    # Of the head of a loop: what was noted before its last part, which comes behind the block; of
    # the block: what that part has noted.
    tested: tuple[Mark, bool] | None = None
    updated: tuple[Mark, bool] | None = None
    # Of a switch: whether the next colon ends a case.
    is_case: bool = False
    # The role of the frame around a function without braces.
    around: str = ""


class Marks:
    """The operations of some code by the places that the engine knows."""

    def __init__(self, code: str) -> None:
        self.code = code
        self._lines = lines_of(code)
        self.tokens = Scanner(code).scan()
        self.operations: list[Operation] = []
        self._closing: dict[int, int] = {}
        self._opening: dict[int, int] = {}
        self._match()
        self._frames = [_Frame("body", -1, _Function(None, None))]
        self._class_before = False
        self._arrow_heads: dict[int, _Function] = {}
        # What brackets were, by where they close.
        self._closed: dict[int, tuple[str, _Function]] = {}
        for at in range(len(self.tokens)):
            self._step(at)
        while self._frames:
            self._end_writes(self._frames.pop(), len(self.tokens) - 1)

    def at(self, kind: str, line: int | None, column: int, key: str = "") -> list[Operation]:
        """Return the operations of a kind that the engine knows at this place."""
        found = [each for each in self.operations if each.kind == kind and key in ("", each.key)]
        if line is None:
            return [each for each in found if each.mark is None]
        exact = [each for each in found if each.mark == (line, column) and not each.is_at_head]
        return exact or [
            each for each in found if each.is_at_head and each.mark and each.mark[0] == line
        ]

    def place_of_assignment(
        self, name: str, line: int | None, column: int
    ) -> tuple[int, int] | None:
        """Return the place of an assignment to a constant.

        The engine knows it at a place behind it, up to which no code can be reached.
        """
        found = [each for each in self.operations if (each.kind, each.key) == (ASSIGN, name)]
        if line is not None:
            found = [each for each in found if self.place(each.first) <= (line, column)] or found
        if not found:
            return None
        chosen = found.pop()
        while found and not any(
            token.text in ("{", "}") for token in self.tokens[found[-1].first : chosen.first]
        ):
            chosen = found.pop()
        return self.place(chosen.first)

    def throws(self) -> list[tuple[int, int]]:
        """Return the places where something is thrown that is not made there as an error."""
        return [
            self.place(at)
            for at, token in enumerate(self.tokens)
            if (token.kind, token.text) == ("name", "throw")
            and self._text(at - 1) not in (".", "?.")
            and self._text(at + 1) != "new"
        ]

    def place_of(self, operation: Operation) -> tuple[int, int]:
        """Return where the value begins, or on a later line the name of what is done with it."""
        name = operation.first
        if operation.kind == CALL:
            name = operation.last_of_value
        elif operation.kind in (READ, WRITE):
            name = self._opening.get(operation.last, operation.last)
        begin = self.place(operation.first)
        return begin if self.tokens[name].line == begin[0] else self.place(name)

    def place(self, token: int) -> tuple[int, int]:
        return self.tokens[token].line, self.tokens[token].column

    def line(self, number: int) -> str:
        lines = self._lines
        return lines[number - 1] if 0 < number <= len(lines) else ""

    def text(self, first: int, last: int) -> str:
        """Return code between two tokens as one line."""
        text = self.code[self.tokens[first].start : self._end(last)]
        return re.sub(r"\s*\n\s*", "", text) if "\n" in text else text

    def _end(self, token: int) -> int:
        return self.tokens[token].start + len(self.tokens[token].text)

    def _match(self) -> None:
        opened: list[int] = []
        for at, token in enumerate(self.tokens):
            if token.kind == "template":
                if token.text[0] == "}" and opened:
                    self._close(opened, at)
                if token.text.endswith("${"):
                    opened.append(at)
            elif token.kind == "sign":
                if token.text in _OPENING:
                    opened.append(at)
                elif token.text in _CLOSING and opened:
                    self._close(opened, at)

    def _close(self, opened: list[int], at: int) -> None:
        opening = opened.pop()
        self._closing[opening], self._opening[at] = at, opening

    # The way through the code.

    def _step(self, at: int) -> None:
        token = self.tokens[at]
        if token.kind == "template" and token.text[0] == "}":
            self._leave(at)
        elif token.kind == "sign" and token.text in _CLOSING:
            return self._leave(at)
        self._end_arrows(at)
        frame = self._frames[-1]
        if frame.role in _BLOCKS and self._begins_statement(at):
            self._end_writes(frame, at - 1)
            if frame.open_loop is not None and self._closed.get(at - 1, ("",))[0] != "head for":
                self._note(frame.open_loop)
                frame.open_loop = None
            frame.is_start = True
            frame.is_declaration = self._class_before = False
            if token.text not in _STATEMENTS and token.text not in ("{", ";"):
                self._note(at)
        elif at and self._is_operand(at):
            self._note(at)
        self._token(at, token, frame)
        if frame.role in _BLOCKS and token.text not in (";", ":"):
            frame.is_start = False
        return None

    def _token(self, at: int, token: Token, frame: _Frame) -> None:
        if token.kind == "name":
            self._name(at, token, frame)
        elif token.kind == "template":
            if token.text[0] == "`" and self._ends_value(at - 1):
                self._note(at)
                self._operation(CALL, "", at - 1, at)
            if token.text.endswith("${"):
                self._frames.append(_Frame("template", at, frame.function))
        elif token.text in _OPENING and token.kind == "sign":
            self._open(at, token, frame)
        elif token.text == "=>":
            function = self._arrow_heads.get(at)
            if function and self._text(at + 1) != "{":
                around = frame.around if frame.role == "arrow" else frame.role
                self._frames.append(_Frame("arrow", at, function, around=around))
        elif token.text == "..." and frame.role in ("call", "array"):
            spread = Operation(ITERATE, "", at + 1, at + 1, None, False, self._value_from(at + 1))
            self._add(spread)
            frame.writes.append(spread)
        elif token.text in (",", ";"):
            self._end_writes(frame, at - 1)
            frame.is_start = True
            if token.text == ";":
                frame.is_declaration = False
                if frame.role == "head for":
                    frame.tested = frame.function.noted
        elif token.text in (":", "=") and frame.role in ("object", "class"):
            frame.is_start = False
        elif token.text == ":" and frame.is_case:
            frame.is_case, frame.is_start = False, True
            return
        if token.text in ("++", "--"):
            # It may stand before or behind the name.
            for side in (at - 1, at + 1):
                if 0 <= side < len(self.tokens) and self._is_reference(side):
                    self._assign(side)

    def _name(self, at: int, token: Token, frame: _Frame) -> None:
        before = self._text(at - 1)
        if before in (".", "?.") and self.tokens[at - 1].kind == "sign":
            self._member(at, token.text, at - 2, at)
            return
        if token.text in ("const", "let", "var"):
            frame.is_declaration = True
        elif token.text in ("case", "default"):
            frame.is_case = True
        elif token.text == "class":
            self._class_before = True
        elif self._text(at + 1) == "=>":
            head = at - 1 if before == "async" else at
            self._arrow_heads[at + 1] = self._function(head)
            return
        if not self._is_reference(at):
            return
        if self._is_declared(at, frame):
            return
        if self._text(at + 1) in _ASSIGNMENTS and self.tokens[at + 1].kind == "sign":
            self._assign(at)
            if self._text(at + 1) == "=":
                return
        self._note(at, exact=True)

    def _assign(self, at: int) -> None:
        self._add(Operation(ASSIGN, self.tokens[at].text, at, at, None, is_at_head=False))

    def _is_reference(self, at: int) -> bool:
        """Whether a name is that of a variable."""
        token = self.tokens[at]
        if token.kind != "name" or token.text[0] == "#" or self._text(at - 1) in (".", "?."):
            return False
        if token.text in _KEYWORDS and token.text not in _SOFT:
            return False
        if token.text in _SOFT and self._text(at + 1) not in (".", ")", ",", ";", "=", "]"):
            return False
        if self._text(at - 1) in ("function", "class", "break", "continue"):
            return False
        frame = self._frames[-1]
        if frame.role in ("object", "class", "pattern{") and frame.is_start:
            # That of a member; alone it is a variable, too, which has no place of its own.
            return frame.role == "object" and self._text(at + 1) in (",", "}")
        return True

    def _is_declared(self, at: int, frame: _Frame) -> bool:
        if frame.role in ("params", "pattern{", "pattern["):
            is_target = self._text(at - 1) in ("(", "{", "[", ",", ":", "...")
            return is_target and self._text(at + 1) not in (".", "[", "(")
        if frame.role == "head catch":
            return True
        return frame.is_declaration and self._text(at - 1) in ("const", "let", "var", ",")

    def _member(self, at: int, key: str, before: int, last: int) -> None:
        """Note an operation that reads or writes a property of the value that ends before it."""
        read = self._operation(READ, key, before, last)
        after = self._text(last + 1)
        if after == "=" and self.tokens[last + 1].kind == "sign":
            # It is written when the value has been found.
            read.kind = WRITE
            self._frames[-1].writes.append(read)

    def _open(self, at: int, token: Token, frame: _Frame) -> None:
        if token.text == "(":
            self._open_round(at, frame)
        elif token.text == "[":
            self._open_square(at, frame)
        else:
            self._open_curly(at, frame)

    def _open_round(self, at: int, frame: _Frame) -> None:
        before = self._text(at - 1)
        closing = self._closing.get(at, len(self.tokens))
        word = self._text(at - 2) if before == "await" else before
        is_property = self._text(at - 2) in (".", "?.")
        if self._text(closing + 1) == "=>":
            head = at - 1 if before == "async" else at
            function = self._arrow_heads[closing + 1] = self._function(head)
            self._frames.append(_Frame("params", at, function))
        elif self._is_method(at, closing, frame) or self._is_function(at):
            self._frames.append(_Frame("params", at, self._function(self._head(at))))
        elif word in _HEADS and not is_property:
            self._frames.append(_Frame(f"head {word}", at, frame.function))
            self._frames[-1].has_await = before == "await"
        elif self._ends_value(at - 1) or before in ("?.", "super", "import"):
            callee = at - 2 if before == "?." else at - 1
            self._frames.append(_Frame("call", at, frame.function))
            if not self._is_new(callee):
                self._note(at + 1)
        else:
            self._frames.append(_Frame("group", at, frame.function))

    def _open_square(self, at: int, frame: _Frame) -> None:
        before = self._text(at - 1)
        is_member = frame.role in ("object", "class") and frame.is_start
        if self._ends_value(at - 1) or before == "?." or is_member:
            self._frames.append(_Frame("index", at, frame.function))
        elif self._is_pattern(at, frame):
            self._take_apart(at, ITERATE, "pattern[", frame)
        else:
            self._frames.append(_Frame("array", at, frame.function))

    def _open_curly(self, at: int, frame: _Frame) -> None:
        before = self._text(at - 1)
        is_sign = at == 0 or self.tokens[at - 1].kind == "sign"
        if before == "=>" and (function := self._arrow_heads.get(at - 1)):
            self._frames.append(_Frame("body", at, function))
        elif before == ")" and (role := self._closed.get(at - 1)):
            kind, function = role
            if kind == "params":
                self._frames.append(_Frame("body", at, function))
            elif kind.startswith("head"):
                block = _Frame("block", at, frame.function, loop=frame.open_loop)
                frame.open_loop, block.updated, frame.updated = None, frame.updated, None
                self._frames.append(block)
            elif self._class_before:
                self._open_class(at, frame)
            else:
                self._frames.append(_Frame("block", at, frame.function))
        elif self._class_before and not (is_sign and before in ("=", "(", ",", ":")):
            self._open_class(at, frame)
        elif before == "static" and frame.role == "class":
            self._frames.append(_Frame("body", at, self._function(at)))
        elif self._is_pattern(at, frame):
            self._take_apart(at, OPEN, "pattern{", frame)
        elif before in _BLOCK_WORDS or (
            frame.role in _BLOCKS and (frame.is_start or before == ":")
        ):
            self._frames.append(_Frame("block", at, frame.function))
        else:
            self._frames.append(_Frame("object", at, frame.function))

    def _open_class(self, at: int, frame: _Frame) -> None:
        self._class_before = False
        self._frames.append(_Frame("class", at, self._function(at)))

    def _take_apart(self, at: int, kind: str, role: str, frame: _Frame) -> None:
        closing = self._closing.get(at, at)
        found = self._operation(kind, "", at, closing, value="")
        found.pattern = self.text(at, closing)
        if frame.role == "head for":
            found.pattern = self.text(frame.opening - 1, closing) + " of"
            frame.late.append(found)
        elif frame.role == "params":
            found.pattern = self.text(frame.opening, self._closing.get(frame.opening, closing))
        elif self._text(closing + 1) == "=" and frame.role in _BLOCKS:
            found.value = self._value_from(closing + 2)
        self._frames.append(_Frame(role, at, frame.function))

    def _leave(self, at: int) -> None:
        while len(self._frames) > 1 and self._frames[-1].role == "arrow":
            self._end_writes(self._frames.pop(), at - 1)
        if len(self._frames) == 1:
            return
        left = self._frames.pop()
        self._end_writes(left, at - 1)
        self._closed[at] = (left.role, left.function)
        frame = self._frames[-1]
        if left.role == "call":
            is_optional = self._text(left.opening - 1) == "?."
            self._operation(CALL, "", left.opening - 1 - is_optional, at)
        elif left.role == "index" and self._ends_value(left.opening - 1, before=True):
            self._index(left, at)
        elif left.role == "pattern[":
            # Its end is noted at its beginning.
            if frame.role == "head for":
                frame.noted_last = left.opening
            else:
                self._note(left.opening)
        elif left.role == "head for":
            self._end_head(left, at)
        elif left.role == "block" and left.loop is not None:
            self._note(left.loop)
        elif left.role == "block" and left.updated is not None:
            left.function.noted = left.updated
        if left.role in ("block", "body", "class", "switch"):
            frame.is_start = frame.role in (*_BLOCKS, "class", "object")
            self._class_before = False

    def _index(self, left: _Frame, at: int) -> None:
        inner = self.tokens[left.opening + 1]
        is_text = inner.kind in ("text", "number") and at == left.opening + 2
        key = inner.text.strip("\"'") if is_text else COMPUTED
        before = left.opening - (2 if self._text(left.opening - 1) == "?." else 1)
        self._member(left.opening, key, before, at)

    def _end_head(self, left: _Frame, at: int) -> None:
        for of in range(left.opening + 1, at):
            if self._text(of) == "of" and self.tokens[of].kind == "name" and self._depth(of, left):
                looped = self._operation(
                    ITERATE, "", left.opening - 1, at, self._value_from(of + 1)
                )
                looped.first = of + 1
                looped.is_await = left.has_await
                self._frames[-1].open_loop = left.opening - 1 - left.has_await
                break
        for late in left.late:
            late.mark, late.is_at_head = left.function.mark, not left.function.is_noted
            late.first = left.opening - 1
        if left.noted_last is not None:
            self._note(left.noted_last)
        if left.tested is not None:
            self._frames[-1].updated, left.function.noted = left.function.noted, left.tested

    def _depth(self, at: int, frame: _Frame) -> bool:
        """Whether a token stands in no further brackets."""
        each = frame.opening + 1
        while each < at:
            each = self._closing.get(each, each) + 1
        return each == at

    # What is noted, and what may fail.

    def _note(self, at: int, *, exact: bool = False) -> None:
        if at >= len(self.tokens):
            return
        token, function = self.tokens[at], self._frames[-1].function
        function.mark = (token.line, token.column if exact else token.engine_column)
        function.is_noted = True

    def _operation(
        self, kind: str, key: str, before: int, last: int, value: str | None = None
    ) -> Operation:
        """Add an operation on the value that ends at a token."""
        function = self._frames[-1].function
        first = before
        if kind in (CALL, READ):
            first = self._root(before)
            value = self._value(first, before)
        is_at_head = not function.is_noted and function.head is not None
        mark = function.head if is_at_head else function.mark
        found = Operation(kind, key, first, last, mark, is_at_head, value or "")
        found.last_of_value = before
        if kind == CALL and self._text(before - 1) in (".", "?."):
            found.name = self._text(before)
        self._add(found)
        return found

    def _add(self, operation: Operation) -> None:
        self.operations.append(operation)

    # What the tokens are.

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _function(self, head: int) -> _Function:
        """Return a new function; the engine knows its head where nothing else was noted."""
        token = self.tokens[head]
        return _Function(None, (token.line, token.column))

    def _is_method(self, at: int, closing: int, frame: _Frame) -> bool:
        """Whether round brackets hold the parameters of a method."""
        is_member = frame.role in ("object", "class") and frame.is_start
        return is_member and self._text(closing + 1) == "{"

    def _is_function(self, at: int) -> bool:
        return any(
            self._text(each) == "function" and self._text(each - 1) != "."
            for each in range(max(at - 3, 0), at)
            if all(self.tokens[i].kind == "name" or self._text(i) == "*" for i in range(each, at))
        )

    def _head(self, at: int) -> int:
        """Return where the head of a function begins whose parameters begin there."""
        head = at
        while head and (self.tokens[head - 1].kind == "name" or self._text(head - 1) == "*"):
            if self.tokens[head - 1].line != self.tokens[at].line:
                break
            head -= 1
        return head

    def _is_new(self, callee: int) -> bool:
        return self._text(self._root(callee) - 1) == "new"

    def _is_pattern(self, at: int, frame: _Frame) -> bool:
        """Whether brackets take a value apart."""
        before, after = self._text(at - 1), self._text(self._closing.get(at, at) + 1)
        if frame.role in ("pattern[", "pattern{", "params"):
            return before in ("[", "{", "(", ",", ":", "...")
        if frame.role == "head for":
            return after in ("of", "in") or before in ("const", "let", "var")
        if frame.role == "head catch" or before in ("const", "let", "var"):
            return True
        return after == "=" or (frame.is_declaration and before == "," and after == "=")

    def _begins_statement(self, at: int) -> bool:
        """Whether a statement begins in a block."""
        if at == 0:
            return True
        last, token = self.tokens[at - 1], self.tokens[at]
        if last.kind == "sign" and last.text in (";", "{"):
            return True
        if last.text in ("else", "do") or (last.text == ":" and self._frames[-1].is_start):
            return True
        closed = self._closed.get(at - 1, ("", None))[0]
        if closed in ("block", "class") or closed.startswith("head"):
            return True
        if last.text == "}" and closed == "body":
            return token.is_first and token.text not in ("(", "[", ".", ",", ")", "?.")
        if not token.is_first or not self._ends_value(at - 1):
            return False
        if token.kind == "sign":
            return token.text in ("{", "++", "--", "!", "~", "}")
        return token.kind != "template" and token.text not in ("in", "instanceof", "of")

    def _is_operand(self, at: int) -> bool:
        """Whether it is the right one of two operands, or what is made new, or thrown."""
        before, last = self._text(at - 1), self.tokens[at - 1]
        if last.kind == "name":
            if self._text(at - 2) in (".", "?."):
                return False
            is_loop = before == "in" and self._frames[-1].role == "head for"
            return before in ("new", "throw", "in", "instanceof") and not is_loop
        return last.kind == "sign" and before in _BINARY and self._ends_value(at - 2)

    def _ends_value(self, at: int, *, before: bool = False) -> bool:
        """Whether a value may end with a token."""
        if at < 0:
            return False
        token = self.tokens[at]
        if token.kind == "sign":
            if token.text == "?.":
                return before
            if token.text in (")", "]"):
                return not self._closed.get(at, ("", None))[0].startswith("head")
            if token.text == "}":
                return self._closed.get(at, ("", None))[0] not in ("block", "class")
            return token.text in ("++", "--")
        if token.kind == "name" and self._text(at - 1) not in (".", "?."):
            if token.text == "of" and self._frames[-1].role == "head for":
                return False
            return token.text not in _NO_VALUES
        return token.kind != "template" or not token.text.endswith("${")

    def _end_arrows(self, at: int) -> None:
        """Leave functions without braces that have ended before a token."""
        token = self.tokens[at]
        while len(self._frames) > 1 and self._frames[-1].role == "arrow":
            frame = self._frames[-1]
            is_over = token.kind == "sign" and token.text in (",", ";")
            if at <= frame.opening + 1 or not (
                is_over or (frame.around in _BLOCKS and self._begins_statement(at))
            ):
                return
            self._end_writes(self._frames.pop(), at - 1)

    def _root(self, last: int) -> int:
        """Return the first token of the value that ends there: names, indexes and calls."""
        at = last
        for _ in range(_MAX_CHAIN):
            at = self._opening.get(at, at)
            token, before = self.tokens[at], self._text(at - 1)
            if token.kind == "name":
                if before in (".", "?.") and self.tokens[at - 1].kind == "sign":
                    at -= 2
                    continue
            elif token.text in ("(", "[") and (before == "?." or self._ends_value(at - 1)):
                at -= 2 if before == "?." else 1
                continue
            break
        return max(at, 0)

    def _value(self, first: int, last: int) -> str:
        """Return a value as it stands in the code, "" where it is more than names and calls."""
        first, last = self._unwrapped(first, last)
        return self.text(first, last) if self._is_nameable(first) else ""

    def _unwrapped(self, first: int, last: int) -> tuple[int, int]:
        if self._text(first) == "(" and self._closing.get(first) == last:
            root = self._root(last - 1)
            if root == first + 1:
                return root, last - 1
        return first, last

    def _is_nameable(self, first: int) -> bool:
        token = self.tokens[first]
        if token.kind != "name":
            return False
        return (
            token.text == "this"
            or token.text == "super"
            or token.text not in _KEYWORDS
            or token.text in _SOFT
        )

    def _value_from(self, first: int) -> str:
        """Return the value that begins there, "" where it is more than names and calls."""
        if self._text(first) == "await":
            first += 1
        if first >= len(self.tokens) or not self._is_nameable(first):
            return ""
        at = first
        while True:
            after = self._text(at + 1)
            if after in (".", "?."):
                at += 2
            elif after in ("(", "[") and (closing := self._closing.get(at + 1)):
                at = closing
            else:
                break
        is_end = after in ("", ";", ",", ")", "]", "}") or (
            at + 1 < len(self.tokens)
            and self.tokens[at + 1].is_first
            and self.tokens[at + 1].kind == "name"
        )
        return self.text(first, at) if is_end else ""

    def _end_writes(self, frame: _Frame, last: int) -> None:
        for write in frame.writes:
            function = frame.function
            write.is_at_head = not function.is_noted and function.head is not None
            write.mark = function.head if write.is_at_head else function.mark
        frame.writes.clear()
