"""The first ``/somas status`` after the machine has started: files are asked of the disk before they are needed.

A disk answers many questions at once sooner than one after the other. When the files are in memory already threads
would only be in each other's way, so they are started when the first projects had to wait for the disk.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Sequence

THREADS = 16
SAMPLE = 32  # projects by which it is told whether the disk is waited for
LARGEST = 1024 * 1024  # bytes of one file; the rest of a large log is read ahead by the system itself
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


if hasattr(os, "posix_fadvise"):

    def _will_need(descriptor: int) -> None:
        os.posix_fadvise(descriptor, 0, LARGEST, os.POSIX_FADV_WILLNEED)  # without copying anything

else:  # macOS

    def _will_need(descriptor: int) -> None:
        os.pread(descriptor, LARGEST, 0)


class Disk:
    """Whether the calling thread has waited for a disk since this was made."""

    def __init__(self) -> None:
        self._blocks = _blocks()
        self._began, self._used = time.perf_counter(), time.thread_time()

    @property
    def was_waited_for(self) -> bool:
        """Blocks were read; or, of a disk in the network, which counts none, most of the time nothing was done."""
        waited = time.perf_counter() - self._began
        return _blocks() > self._blocks or waited > 0.1 + 5 * (time.thread_time() - self._used)


def _blocks() -> int:
    kind = getattr(resource, "RUSAGE_THREAD", None)  # of Linux
    return resource.getrusage(kind).ru_inblock if kind is not None else 0


class ReadAhead:
    """Threads that ask for these files of these projects, in this order. Errors are for the reader to find."""

    def __init__(self, folder: int, names: Sequence[str], files: Sequence[str]) -> None:
        self._folder = folder
        self._files = files
        self._over = False
        self._threads = [
            threading.Thread(target=self._ask, args=(names[index::THREADS],), name="opsbot read ahead", daemon=True)
            for index in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """``folder`` may be closed afterwards."""
        self._over = True
        for thread in self._threads:
            thread.join()

    def _ask(self, names: Sequence[str]) -> None:
        for name in names:
            for file in self._files:
                if self._over:
                    return
                try:
                    descriptor = os.open(f"{name}/{file}", _FLAGS, dir_fd=self._folder)
                except OSError:
                    continue
                try:
                    _will_need(descriptor)
                except OSError:
                    pass
                finally:
                    os.close(descriptor)
