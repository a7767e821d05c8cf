"""Becomes the program named on its command line, tied to the life of the process that asked for it.

Run as ``python -I -S launcher.py PARENT DEATH_SIGNAL INNER_UID PROGRAM [ARGUMENT...]``; INNER_UID is 0 to
keep the user. It uses the standard library alone, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_CANNOT = 126  # what shells say of a command that is there and cannot be run


def main(arguments: list[str]) -> None:
    parent, death_signal, inner_uid = (int(argument) for argument in arguments[:3])
    program = arguments[3:]
    os.umask(0o077)
    # Python ignores these two, and what is ignored stays so in the program that follows.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    libc = ctypes.CDLL(None, use_errno=True)
    if inner_uid:
        _enter_user_namespace(libc, inner_uid)
    # After the change of credentials, which clears it.
    _checked("prctl", libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0))
    if os.getppid() != parent:
        sys.exit("The process that started this one has ended.")
    os.execvpe(program[0], program, os.environ)  # noqa: S606 - becoming that program is the point


def _enter_user_namespace(libc: ctypes.CDLL, inner: int) -> None:
    """Be an ordinary user in one's own eyes; to everybody else, files included, still the same user."""
    uid, gid = os.geteuid(), os.getegid()
    _checked("unshare(CLONE_NEWUSER)", libc.unshare(_CLONE_NEWUSER))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inner} {uid} 1"),
        ("gid_map", f"{inner} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _checked(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def explain(error: OSError, arguments: list[str]) -> None:
    """Say on stderr, this program's only channel, why the server could not be started."""
    _, _, inner_uid, *program = arguments
    print(f"Cannot start {program[0]}: {error}", file=sys.stderr)
    if inner_uid == "0":
        return
    if os.getuid() == int(inner_uid):
        print(
            "This server does not run as root. It sees itself as an ordinary user, who may enter root's own"
            " folders and those that are open to all, and no others.",
            file=sys.stderr,
        )
    else:
        print(
            "This server does not run as root, and the kernel did not let it become an ordinary user in a"
            " user namespace of its own. Run as an ordinary user, or allow user namespaces"
            " (sysctl user.max_user_namespaces).",
            file=sys.stderr,
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        explain(error, sys.argv[1:])
        sys.exit(_CANNOT)
