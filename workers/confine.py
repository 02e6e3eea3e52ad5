"""What a decoder is held to by the kernel: it computes, reads files and answers its worker.

Limits, and three layers of which a kernel or a container may lack some: no privileges, Landlock
(Linux 5.13), and a filter of system calls (seccomp; on x86-64 and aarch64).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from errno import EBUSY, ENOSYS

from workers import syscalls

#: Open files at most. A film by scenes reads its file three times, with a socket, a file in
#: memory and the standard streams beside; loading a library takes a few for a moment.
_FILES = 64
_PR_SET_NO_NEW_PRIVS = 38
#: Capabilities that are kept of a worker that runs as root: CAP_DAC_OVERRIDE and
#: CAP_DAC_READ_SEARCH, since its media may be anybody's.
_KEPT = 1 << 1 | 1 << 2
#: Rights over files of Landlock's first version but to read them and to list folders.
_LANDLOCK_WRITES = 0x1FFF & ~(1 << 2 | 1 << 3)

_libc = ctypes.CDLL(None, use_errno=True)


def confine(memory: int) -> list[str]:
    """Hold this process, which has one thread, to `memory` bytes, and to what a decoder does.

    From here on it can neither open files for writing nor start processes; threads, reading
    and what is open already are as before. Gives what this kernel or container refuses, in words.
    """
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
        # Only a medium in memory is written, to a file in memory; it was in ours before.
        (resource.RLIMIT_FSIZE, memory),
    ):
        # No RLIMIT_CPU: a decoder serves many media, and each piece has its time from outside.
        # No RLIMIT_NPROC: it counts all that the user runs, and not at all for root.
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
    lacks = []
    for layer, name in (
        (_drop, "dropping privileges ({}), which the rest needs"),
        (_landlock, "Landlock ({}), which keeps them from the worker's memory and environment"),
        (_filter, "seccomp ({}), which keeps them off the network, other processes and files"),
    ):
        try:
            layer()
        except OSError as error:
            lacks.append(name.format(error.strerror))
    return lacks


def _drop() -> None:
    """No new privileges, which the layers below ask for, and none of root's but to read."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    head = struct.pack("=Ii", 0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; and their upper halves
    _checked(_libc.capget(head, sets))
    held = sets[1] & _KEPT
    _checked(_libc.capset(head, (ctypes.c_uint32 * 6)(held & sets[0], held)))


def _landlock() -> None:
    """No writing to files by name; and no look into processes outside, such as the worker's
    environment and memory, which the same user may otherwise read below /proc."""
    # landlock_create_ruleset and landlock_restrict_self have one number everywhere.
    ruleset = _checked(_libc.syscall(444, struct.pack("=Q", _LANDLOCK_WRITES), 8, 0))
    try:
        _checked(_libc.syscall(446, ruleset, 0))
    finally:
        os.close(ruleset)


def _filter() -> None:
    """The filter of system calls, for all threads."""
    machine = os.uname().machine
    if machine not in syscalls.ARCHITECTURES or sys.maxsize < 1 << 32:
        raise OSError(ENOSYS, f"its system calls are not known here: {machine}")
    code = syscalls.program(machine, os.getpid())
    # struct sock_fprog: how many instructions of eight bytes, and where.
    buffer = ctypes.create_string_buffer(code, len(code))
    argument = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    number = {"x86_64": 317, "aarch64": 277}[machine]  # seccomp
    # SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC: the thread that it could not be
    # set for, if there is one.
    if _checked(_libc.syscall(number, 1, 1, argument)):
        raise OSError(EBUSY, "a thread has a filter of its own")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
