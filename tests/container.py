"""Runs a command as in a container: python -m tests.container '["FOLDER", ...]' COMMAND ...

The file system is read-only, but for the folders and, as Docker and Kubernetes have it, 64 MB at
/dev/shm; the user has a number without a name, the group 0 and no rights beyond those of a file's
owner. Needs Linux 5.12 and no root, if the system lets users make namespaces.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

USER = 12345  # nobody in /etc/passwd
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 4096, 16384
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1

libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "namespace")]


def call(function, *args):
    if function(*args):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), function.__name__)


def mount_setattr(path, **attributes):
    """Changes a mount and those within."""
    changed = Attributes(**attributes)
    size = ctypes.c_size_t(ctypes.sizeof(changed))
    call(libc.syscall, MOUNT_SETATTR, AT_FDCWD, path, AT_RECURSIVE, ctypes.byref(changed), size)


def enter(writable):
    """Makes this process one of a container; until the next exec it has the rights to change it."""
    user, group = os.geteuid(), os.getegid()
    call(libc.unshare, CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{USER} {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    for folder in map(os.fsencode, writable):
        call(libc.mount, folder, folder, None, MS_BIND | MS_REC, None)
    mount_setattr(b"/", set=MOUNT_ATTR_RDONLY)
    for folder in map(os.fsencode, writable):
        mount_setattr(folder, clear=MOUNT_ATTR_RDONLY)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    call(libc.mount, b"tmpfs", b"/dev/shm", b"tmpfs", flags, b"size=64m,mode=1777")


if __name__ == "__main__":
    enter(json.loads(sys.argv[1]))
    os.chdir(os.getcwd())  # into the mount above it
    os.execvp(sys.argv[2], sys.argv[2:])
