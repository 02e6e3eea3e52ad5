"""The filter of system calls on both architectures, by an interpreter of its instructions."""

from __future__ import annotations

import errno
import os
import signal
import struct
from functools import partial

import pytest

from workers import syscalls


def verdict(machine: str, number: int, *arguments: int, architecture: int | None = None) -> str:
    """What the filter says to a system call of process 77, by the rules of BPF."""
    code = list(struct.iter_unpack("=HBBI", syscalls.program(machine, 77)))
    own = syscalls.ARCHITECTURES[machine][0]
    given = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=iIQ6Q", number, architecture or own, 0, *given)
    at = word = 0
    while True:
        order, then, otherwise, value = code[at]
        at += 1
        if order == 0x20:
            (word,) = struct.unpack_from("=I", data, value)
        elif order == 0x06:
            return "allow" if value == 0x7FFF_0000 else errno.errorcode[value & 0xFFFF]
        else:
            holds = {0x15: word == value, 0x25: word > value, 0x45: bool(word & value)}[order]
            at += then if holds else otherwise


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_both_architectures_follow_the_same_rules(machine: str) -> None:
    place = syscalls.ARCHITECTURES[machine][1]
    call = partial(verdict, machine)
    for numbers in syscalls._REFUSED.values():
        if (number := numbers[place]) is not None:
            assert call(number) == "EPERM"
    for number in ((0, 63), (1, 64), (9, 222), (202, 98), (47, 212), (56, 220)):
        # read, write, mmap, futex, recvmsg, and clone of a thread
        assert call(number[place], 0x3D0F00) == "allow"
    assert call((56, 220)[place], signal.SIGCHLD) == "EPERM"
    assert call((56, 220)[place], 0x4100 | signal.SIGCHLD) == "EPERM"  # vfork's flags
    openat = (257, 56)[place]
    assert call(openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC) == "allow"
    assert call(openat, 0, 0, os.O_RDWR) == "EPERM"
    assert call((62, 129)[place], 77) == "allow"
    assert call((62, 129)[place], 78) == "EPERM"
    prlimit = (302, 261)[place]
    assert call(prlimit, 0, 7) == "allow"
    assert [call(prlimit, 0, 7, new) for new in (1, 1 << 40)] == ["EPERM", "EPERM"]
    assert call(435) == call(437) == call(463) == "ENOSYS"
    assert call(0x4000_0000 | 41) == "ENOSYS"  # x32's socket
    assert call((1, 64)[place], architecture=0x4000_0003) == "EPERM"  # 32-bit x86
