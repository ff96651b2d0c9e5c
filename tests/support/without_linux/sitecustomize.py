"""Takes from Python, in a process and in those it starts, what only Linux has: functions and names
that macOS lacks are gone, and our packages find neither /proc nor /sys. Loaded by the name that
Python looks for at its start, from PYTHONPATH."""

import os
import select
import signal
import sys
from pathlib import Path

GONE = {
    os: (
        "sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler "
        "sched_setscheduler sched_rr_get_interval sched_get_priority_max sched_get_priority_min "
        "posix_fadvise posix_fallocate pidfd_open memfd_create eventfd eventfd_read eventfd_write "
        "copy_file_range splice getrandom setns unshare getxattr setxattr listxattr removexattr "
        "getresuid setresuid getresgid setresgid fdatasync pipe2 O_DIRECT O_TMPFILE O_PATH "
        "O_NOATIME O_LARGEFILE RWF_APPEND P_PIDFD"
    ),
    signal: (
        "SIGPWR SIGRTMIN SIGRTMAX SIGSTKFLT SIGPOLL SIGCLD pidfd_send_signal sigtimedwait "
        "sigwaitinfo"
    ),
    select: "epoll",
}
OURS = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")
ROOT = Path(__file__).resolve().parents[3]


def _is_ours(name: str) -> bool:
    return any(name.startswith(f"{ROOT}{os.sep}{package}{os.sep}") for package in OURS)


def _hide(event: str, arguments: tuple) -> None:
    """No file of Linux's own is there for code of ours, nor for what Python does for it."""
    if event not in ("open", "os.listdir", "os.scandir"):
        return
    path = arguments[0]
    if not isinstance(path, (str, os.PathLike)) or not str(path).startswith(("/proc/", "/sys/")):
        return
    frame = sys._getframe(1)
    library = f"{Path(os.__file__).parent}{os.sep}"
    while frame is not None:
        name = frame.f_code.co_filename
        standard = name.startswith((library, "<")) and "site-packages" not in name
        if not standard:
            if _is_ours(name):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return
        frame = frame.f_back


for module, names in GONE.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
sys.addaudithook(_hide)
