"""What a decoder may not do is tried in a real process, held as decoders are held."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs.pieces import Reading
from workers import child, decoder, syscalls, wire
from workers.confine import confine

ALL = Reading(frozenset({"image", "audio", "video", "document"}))
#: Bytes that the process of the attempts is held to.
MEMORY = 1 << 30
PLACE = syscalls.ARCHITECTURES[os.uname().machine][1]
REFUSED = {name: numbers[PLACE] for name, numbers in syscalls._REFUSED.items() if numbers[PLACE]}
_libc = ctypes.CDLL(None, use_errno=True)


# The process of the attempts.


def main(arguments: list[str]) -> None:
    """Try what is asked for, one after the other; begun as decoders begin."""
    fd, parent, memory = (int(argument) for argument in arguments)
    child.die_with(parent)
    decoder._medium_file()
    lacks = confine(memory)
    with socket.socket(fileno=fd) as sock:
        wire.send(sock, {"lacks": lacks})
        while True:
            try:
                message, _ = wire.receive(sock)
            except EOFError:
                return
            try:
                outcome: Any = ATTEMPTS[message["name"]](*message["arguments"])
            except OSError as error:
                outcome = errno.errorcode[error.errno]
            wire.send(sock, {"outcome": outcome})


def _call(number: int, *arguments: int) -> Any:
    """A system call, by its number, whose arguments are addresses and numbers."""
    _libc.syscall.restype = ctypes.c_long
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def _own_child(begin: Callable[[], int]) -> None:
    """A process that ends at once, if it can be begun."""
    pid = begin()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _open_many() -> int:
    """How many files can be opened beside those that are."""
    with ExitStack() as stack:
        for count in range(1000):
            try:
                stack.enter_context(Path("/dev/null").open())
            except OSError:
                return count
    return 1000


def _in_threads() -> int:
    with ThreadPoolExecutor(4) as threads:
        together = threading.Barrier(4)
        return sum(threads.map(lambda number: number + 0 * together.wait(20), range(4)))


def _set_limit() -> None:
    """As many open files as there may be; Python's own way hides what the kernel says."""
    limit = (ctypes.c_uint64 * 2)(64, 64)
    _call((302, 261)[PLACE], 0, resource.RLIMIT_NOFILE, ctypes.addressof(limit), 0)  # prlimit64


def _schedule(pid: int, how: str) -> None:
    """Set of a process what it has already, which those may who may set something else."""
    if how == "affinity":
        os.sched_setaffinity(pid, os.sched_getaffinity(pid))
    elif how == "policy":
        os.sched_setscheduler(pid, os.sched_getscheduler(pid), os.sched_getparam(pid))
    else:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))


def _lock(path: str, how: str) -> None:
    """Make others wait who open the file, or lock it, for writing."""
    with Path(path).open() as file:
        if how == "lease":
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        else:
            fcntl.lockf(file, fcntl.LOCK_SH | (fcntl.LOCK_NB if how == "try" else 0))


def _write(path: str, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


ATTEMPTS: dict[str, Callable[..., Any]] = {
    "socket": lambda family, kind: socket.socket(family, kind).close(),
    "socketpair": lambda: [each.close() for each in socket.socketpair()],
    "fork": lambda: _own_child(os.fork),
    "posix_spawn": lambda: _own_child(lambda: os.posix_spawn("/bin/true", ["true"], {})),
    "subprocess": lambda: subprocess.run(["/bin/true"], check=True) and None,
    "shell": lambda: os.system("true"),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "clone": lambda: _own_child(lambda: _call((56, 220)[PLACE], signal.SIGCHLD, 0, 0, 0, 0)),
    "call": _call,
    "signal": os.kill,
    "signal_self": lambda: os.kill(os.getpid(), 0),
    "signal_by_file": lambda pid: fcntl.fcntl(0, fcntl.F_SETOWN, pid) and None,
    "schedule": _schedule,
    "lock": _lock,
    "limit": _set_limit,
    "limits": lambda: list(resource.getrlimit(resource.RLIMIT_NOFILE)),
    "write": _write,
    "read": lambda path: Path(path).read_text(),
    "mkdir": os.mkdir,
    "unlink": os.unlink,
    "rename": os.rename,
    "chmod": os.chmod,
    "utime": os.utime,
    "grow": lambda size: os.ftruncate(decoder._medium_file(), size),
    "append": lambda at: os.pwrite(decoder._medium_file(), b"x", at),
    "memfd": lambda: os.memfd_create("more"),
    "open_many": _open_many,
    "threads": _in_threads,
    "abort": os.abort,
}


class Tried:
    """The process of the attempts, from outside."""

    def __init__(self) -> None:
        self.process, self.sock = child.start(__name__, [str(MEMORY)], dict(os.environ))
        self.sock.settimeout(60)
        self.lacks = wire.receive(self.sock)[0]["lacks"]

    def __call__(self, name: str, *arguments: Any) -> Any:
        """What comes of an attempt: what it gives, or the name of its error."""
        wire.send(self.sock, {"name": name, "arguments": arguments})
        return wire.receive(self.sock)[0]["outcome"]

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    made = Tried()
    yield made
    made.close()


# The network, and processes.


def test_nothing_is_lacking_here(tried: Tried) -> None:
    assert tried.lacks == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_no_socket_can_be_made(tried: Tried, family: int, kind: int) -> None:
    assert tried("socket", family, kind) == "EPERM"
    assert tried("socketpair") == "EPERM"


@pytest.mark.parametrize("how", ["fork", "posix_spawn", "subprocess", "exec", "clone"])
def test_no_process_can_be_started(how: str) -> None:
    tried = Tried()
    try:
        assert tried(how) == "EPERM"
    finally:
        tried.close()


def test_no_shell_can_be_started(tried: Tried) -> None:
    assert tried("shell") != 0


def test_threads_can_be_started(tried: Tried) -> None:
    assert tried("threads") == 6


@pytest.mark.parametrize("name", sorted(REFUSED.keys() - {"fork", "vfork"}))
def test_a_system_call_is_refused(tried: Tried, name: str) -> None:
    """By itself, and not for its arguments, which make no sense."""
    assert tried("call", REFUSED[name], -1, -1, -1, -1, -1, -1) == "EPERM"


@pytest.mark.parametrize("number", [435, 437, 463, 1 << 20, 0x4000_0000 | 41])
def test_what_is_new_or_of_another_abi_is_not_there(tried: Tried, number: int) -> None:
    """Libraries have another way where a system call is not there: clone3, openat2."""
    assert tried("call", number, -1, -1, -1, -1, -1, -1) == "ENOSYS"


def test_other_processes_are_out_of_reach(tried: Tried) -> None:
    own = os.getpid()
    assert tried("signal", own, 0) == "EPERM"
    assert tried("signal", 0, 0) == "EPERM"
    assert tried("signal", -1, 0) == "EPERM"
    assert tried("signal_by_file", own) == "EPERM"
    assert tried("signal_self") is None
    for what in ("environ", "maps", "mem", "auxv"):
        assert tried("read", f"/proc/{own}/{what}") in ("EACCES", "EPERM"), what


def test_others_run_when_and_where_they_did(tried: Tried) -> None:
    """Also those of no more privileges, as the worker is that does not run as root."""
    other = Tried()
    try:
        for how in ("affinity", "policy", "priority"):
            assert tried("schedule", other.process.pid, how) == "EPERM", how
    finally:
        other.close()


def test_nor_can_it_look_into_a_worker_of_no_more_privileges() -> None:
    """Root's worker is out of reach for its privileges, an ordinary one by Landlock."""
    program = """
import os
from tests.unit.test_decode_confined import Tried
from workers.confine import _drop
_drop()
tried = Tried()
print(*(tried("read", f"/proc/{os.getpid()}/{what}") for what in ("environ", "mem")))
tried.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True
    )
    assert done.stdout.split() == ["EACCES", "EACCES"]


def test_it_stays_bound_to_its_worker_and_to_its_limits(tried: Tried) -> None:
    assert tried("call", (157, 167)[PLACE], 1, 0, 0, 0, 0) == "EPERM"  # prctl(PR_SET_PDEATHSIG)
    assert tried("limit") == "EPERM"
    assert tried("limits") == [64, 64]


def test_a_crash_still_is_one() -> None:
    """abort() signals its own thread."""
    tried = Tried()
    try:
        with pytest.raises(EOFError):
            tried("abort")
        assert tried.process.wait(20) == -signal.SIGABRT
    finally:
        tried.close()


# Files.


def test_files_can_be_read_and_not_be_changed(tried: Tried, tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("as it was")
    before = path.stat()
    for flags in (
        *(os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_RDONLY | os.O_TRUNC),
        *(os.O_RDONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    ):
        assert tried("write", str(path), flags) == "EPERM"
        assert tried("write", str(other), flags) == "EPERM"
    assert tried("write", str(tmp_path), os.O_TMPFILE | os.O_RDWR) == "EPERM"
    assert tried("mkdir", str(other)) == "EPERM"
    assert tried("unlink", str(path)) == "EPERM"
    assert tried("rename", str(path), str(other)) == "EPERM"
    assert tried("chmod", str(path), 0o777) == "EPERM"
    assert tried("utime", str(path)) == "EPERM"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat() == before
    assert tried("read", str(path)) == "as it was"


def test_nobody_waits_for_a_file_that_it_reads(tried: Tried, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("")
    for how in ("try", "wait", "lease"):
        assert tried("lock", str(path), how) == "EPERM", how
    ofd = [fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW]
    assert [tried("call", (72, 25)[PLACE], 0, order, 0) for order in ofd] == ["EPERM", "EPERM"]


@pytest.mark.parametrize("order", [0x4008_6602, 0x401C_5820, 0x4008_7602, 0x4080_6685])
def test_what_a_file_is_marked_with_stays(tried: Tried, order: int) -> None:
    """/dev/null would say ENOTTY."""
    assert tried("call", (16, 29)[PLACE], 0, order, 0) == "EPERM"


def test_a_medium_in_memory_has_a_most(tried: Tried) -> None:
    assert tried("grow", MEMORY) is None
    assert tried("grow", MEMORY + 1) == "EFBIG"
    assert tried("append", MEMORY - 1) == 1
    assert tried("append", MEMORY) == "EFBIG"
    assert tried("grow", 0) is None
    assert tried("memfd") == "EPERM"


def test_open_files_are_bounded(tried: Tried) -> None:
    assert 40 < tried("open_many") < 64
