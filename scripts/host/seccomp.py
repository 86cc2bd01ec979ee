"""Seccomp: makes a filter of system calls for the kernel, and installs it.

A filter is a program for the kernel's packet filter (classic BPF) that looks at each system call of
the process, for good. This one is an allow-list: calls that no rule names are refused. The rules
of a script host are in `system_calls.py`.

A call made through another architecture (32-bit or x32 calls on x86-64) has numbers with another
meaning. No library needs such calls, so one ends the process.
"""

import ctypes
import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

# linux/seccomp.h
ALLOW = 0x7FFF0000
REFUSE = 0x00050000  # with an errno in the lower half
KILL = 0x80000000

# The fields of struct seccomp_data, in which the kernel describes a call. The arguments have eight
# bytes each. The filter reads the lower half, which is all that the kernel uses of those checked
# here.
_NUMBER_AT = 0
_ARCHITECTURE_AT = 4
_ARGUMENTS_AT = 16

# x86-64 marks calls of the x32 kind with this bit; no other numbers are that high.
_FIRST_X32_NUMBER = 0x40000000

# linux/bpf_common.h: load a word, mask it, compare and jump, return.
_LOAD = 0x20
_AND = 0x54
_IF_EQUAL = 0x15
_IF_AT_LEAST = 0x35
_RETURN = 0x06
_INSTRUCTION = struct.Struct("HBBI")
_ALL_BITS = 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Architecture:
    token: int
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Condition:
    """The bits of an argument that the mask keeps are one of these values."""

    argument: int
    equals: tuple[int, ...]
    mask: int = _ALL_BITS


# A call is allowed where all conditions hold.
Rule = tuple[Condition, ...]


def program(architecture: Architecture, rules: Mapping[str, Rule], refusal: int) -> bytes:
    """Assemble the filter. Names that the architecture has no number for are left out."""
    refuse = _return(REFUSE | refusal)
    code = [
        _load(_ARCHITECTURE_AT),
        _jump(_IF_EQUAL, architecture.token, then=1),
        _return(KILL),
        _load(_NUMBER_AT),
        _jump(_IF_AT_LEAST, _FIRST_X32_NUMBER, otherwise=1),
        _return(KILL),
    ]
    for name, rule in rules.items():
        if name in architecture.numbers:
            body = [step for condition in rule for step in _require(condition, refuse)]
            body.append(_return(ALLOW))
            code.append(_jump(_IF_EQUAL, architecture.numbers[name], otherwise=len(body)))
            code += body
    return b"".join([*code, refuse])


def install(filter_program: bytes) -> None:
    """Subject this process to a filter, for good. Needs "no new privileges" unless it is root.

    Raises OSError where the kernel has no seccomp filters, AttributeError where it is no Linux.
    """
    content = ctypes.create_string_buffer(filter_program, len(filter_program))
    length = len(filter_program) // _INSTRUCTION.size
    _set_filter(_Program(length, ctypes.addressof(content)))


def is_known_to_kernel() -> bool:
    """Whether the kernel has seccomp filters, without installing one."""
    try:
        _set_filter(None)
    except OSError as error:
        # The kernel looked for the program and found none: it knows filters.
        return error.errno == errno.EFAULT
    except AttributeError:
        return False
    return False


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _set_filter(filter_program: _Program | None) -> None:
    reference = None if filter_program is None else ctypes.byref(filter_program)
    if _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), reference, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _require(condition: Condition, refuse: bytes) -> list[bytes]:
    """Continue behind this if the condition holds, refuse the call otherwise."""
    steps = [_load(_ARGUMENTS_AT + 8 * condition.argument)]
    if condition.mask != _ALL_BITS:
        steps.append(_instruction(_AND, condition.mask))
    for left in range(len(condition.equals), 0, -1):
        steps.append(_jump(_IF_EQUAL, condition.equals[-left], then=left))
    return [*steps, refuse]


def _load(offset: int) -> bytes:
    return _instruction(_LOAD, offset)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _jump(comparison: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Skip a number of instructions if the comparison holds, another number if it does not."""
    return _INSTRUCTION.pack(comparison, then, otherwise, value)


def _instruction(operation: int, value: int) -> bytes:
    return _INSTRUCTION.pack(operation, 0, 0, value)
