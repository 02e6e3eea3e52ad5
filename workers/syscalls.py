"""The system calls that a decoder is refused, and the program by which the kernel tells them.

A list of what is refused, not of what is allowed: the libraries that decode change theirs with
each release. Numbers are those of Linux's own tables, syscall_64.tbl and asm-generic/unistd.h.
"""

from __future__ import annotations

import os
import struct
from errno import ENOSYS, EPERM

#: AUDIT_ARCH_* of the architectures whose system calls are known here, and their place below.
ARCHITECTURES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
#: System calls that are refused: their numbers on x86-64 and aarch64, None where there is none.
_REFUSED = {
    # The network.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    # Programs and processes; for threads see _RULES.
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "unshare": (272, 97), "setns": (308, 268),
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "tkill": (200, 130), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # When they run, and when our own threads do: no library that decodes sets that.
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # Files, what belongs to them, and locks that others wait for; for opening see _RULES.
    "creat": (85, None), "truncate": (76, 45), "mkdir": (83, None), "mkdirat": (258, 34),
    "mknod": (133, None), "mknodat": (259, 33), "link": (86, None), "linkat": (265, 37),
    "symlink": (88, None), "symlinkat": (266, 36), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "unlink": (87, None), "unlinkat": (263, 35), "rmdir": (84, None),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "flock": (73, 32),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    # Memory that RLIMIT_AS does not count, and that limit itself.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "setrlimit": (160, 164),
    # Parts of the kernel that no codec has a use for.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
#: Their arguments lie where no filter can look: as on an older kernel they are not there, and
#: libraries take `clone` and `openat`.
_ABSENT = (435, 437)  # clone3, openat2
#: The newest system call that was looked at (mseal, Linux 6.10). All after it are absent, and
#: so are those of x32, whose numbers have bit 30 set.
_NEWEST = 462
_WRITES = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x10000
# Instructions of BPF: load a word, compare it, answer.
_LOAD, _EQUAL, _ABOVE, _ANY, _ANSWER = 0x20, 0x15, 0x25, 0x45, 0x06
#: System calls refused by an argument: numbers, which 32-bit word of the arguments (low half
#: first), how to compare with what, and whether that must hold or must not. -1 is our own pid.
_RULES = (
    ((56, 220), 0, _ANY, _CLONE_THREAD, True),  # clone
    ((2, None), 2, _ANY, _WRITES, False),  # open
    ((257, 56), 4, _ANY, _WRITES, False),  # openat
    ((62, 129), 0, _EQUAL, -1, True),  # kill
    ((234, 131), 0, _EQUAL, -1, True),  # tgkill: abort() takes it
    ((129, 138), 0, _EQUAL, -1, True),  # rt_sigqueueinfo
    ((297, 240), 0, _EQUAL, -1, True),  # rt_tgsigqueueinfo
    # Signals to whom a file "belongs": F_SETOWN, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP.
    *(((72, 25), 2, _EQUAL, order, False) for order in (8, 15)),  # fcntl
    *(((16, 29), 2, _EQUAL, order, False) for order in (0x8901, 0x8902)),  # ioctl
    # Locks and leases that others wait for: F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW,
    # F_SETLEASE. They take no more than a file that is open for reading.
    *(((72, 25), 2, _EQUAL, order, False) for order in (6, 7, 37, 38, 1024)),
    # What belongs to a file, no more: FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION,
    # FS_IOC_ENABLE_VERITY.
    *(
        ((16, 29), 2, _EQUAL, order, False)
        for order in (0x4008_6602, 0x401C_5820, 0x4008_7602, 0x4080_6685)
    ),
    # prlimit64 may ask for limits (a null pointer for new ones), not set them.
    *(((302, 261), half, _EQUAL, 0, True) for half in (4, 5)),
    ((157, 167), 0, _EQUAL, 1, False),  # prctl(PR_SET_PDEATHSIG): it dies with its worker
)


def program(machine: str, pid: int) -> bytes:
    """The filter of the process `pid`, as the kernel takes it: instructions of classic BPF.

    It reads struct seccomp_data: number, architecture, instruction, six arguments.
    """
    architecture, place = ARCHITECTURES[machine]
    code = [
        *((_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), _error(EPERM)),
        *((_LOAD, 0, 0, 0), (_ABOVE, 0, 1, _NEWEST), _error(ENOSYS)),
    ]
    for number in _ABSENT:
        code += [(_EQUAL, 0, 1, number), _error(ENOSYS)]
    for numbers in _REFUSED.values():
        if (refused := numbers[place]) is not None:
            code += [(_EQUAL, 0, 1, refused), _error(EPERM)]
    for both, word, compare, value, must in _RULES:
        if (ruled := both[place]) is not None:
            value = pid if value == -1 else value
            code += [(_LOAD, 0, 0, 0), (_EQUAL, 0, 3, ruled), (_LOAD, 0, 0, 16 + 4 * word)]
            code += [(compare, int(must), int(not must), value), _error(EPERM)]
    code.append((_ANSWER, 0, 0, 0x7FFF_0000))  # SECCOMP_RET_ALLOW
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _error(number: int) -> tuple[int, int, int, int]:
    return _ANSWER, 0, 0, 0x0005_0000 | number  # SECCOMP_RET_ERRNO
