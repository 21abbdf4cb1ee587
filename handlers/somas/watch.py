"""Which projects have changed since somebody last looked: inotify, where it works.

It works on Linux and on local disks only: what another machine writes on a network disk is never told. And it is told
without a promise (the kernel's queue can overflow, watches can run out), so whoever uses it looks himself now and then.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform == "linux":  # the library is not installed elsewhere
    from inotify_simple import INotify, flags

# Kinds of disks of which the kernel sees every change itself.
LOCAL_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "tmpfs", "overlay"})


class Watch:
    """One inotify descriptor: the folder of the projects and each project's folder. For one thread at a time."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self.folder = folder
        self.files = frozenset(files)
        self.problem = ""  # why nothing is watched
        self._names: dict[int, str] = {}  # by watch; "" is the folder of the projects
        self._watched: set[str] = set()
        self._inotify: INotify | None = None

    @property
    def active(self) -> bool:
        return self._inotify is not None

    def start(self, names: Iterable[str]) -> bool:
        """Watch the folder and these projects; what happens from now on is told. False when that is not possible."""
        if self.problem or self.active:
            return self.active
        if sys.platform != "linux":
            self.problem = "there is no inotify on this system"
            return False
        kind = disk_of(self.folder)
        if kind not in LOCAL_DISKS:
            self.problem = (
                f"the projects are on a disk of the kind {kind or 'unknown'}, of which inotify may miss changes"
            )
            return False
        try:
            self._inotify = INotify(nonblocking=True)
            self._add("", self.folder, flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO)
            for name in names:
                self.add(name)
        except OSError as error:
            self.stop()
            limits = error.errno in (errno.ENOSPC, errno.EMFILE)
            self.problem = "fs.inotify.max_user_watches is too small" if limits else f"inotify: {error.strerror}"
            return False
        return True

    def add(self, name: str) -> None:
        """Watch one more project. Raises ``OSError`` when the kernel cannot; a folder that is gone is no error."""
        changes = flags.MODIFY | flags.ATTRIB | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
        try:
            self._add(name, self.folder / name, changes | flags.ONLYDIR)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise

    def _add(self, name: str, path: Path, mask: int) -> None:
        assert self._inotify is not None
        self._names[self._inotify.add_watch(path, mask)] = name
        self._watched.add(name)

    def unwatched(self, names: Iterable[str]) -> set[str]:
        """Those of these that are not watched, also because their folder has gone and another one has come."""
        return set(names) - self._watched if self.active else set()

    def changed(self) -> set[str] | None:
        """Projects of which something was changed since the last call; None when nobody can tell: look at all.

        New projects are among them, and are not watched yet (``unwatched``).
        """
        if self._inotify is None:
            return None
        found: set[str] = set()
        try:
            while events := self._inotify.read(timeout=0):
                for event in events:
                    if event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT):
                        self.stop()  # begin anew
                        return None
                    name = self._names.get(event.wd)
                    if event.mask & flags.IGNORED:
                        self._names.pop(event.wd, None)
                        if name == "":  # the folder of all projects itself has gone
                            self.stop()
                            return None
                    elif name == "":
                        found.add(event.name)
                        self._watched.discard(event.name)
                    elif name is not None and event.name in self.files:
                        found.add(name)
        except OSError:
            self.stop()
            return None
        return found

    def stop(self) -> None:
        if self._inotify is not None:
            self._inotify.close()
        self._inotify = None
        self._names = {}
        self._watched = set()


def disk_of(path: Path) -> str:
    """The kind of file system that holds the path (ext4, nfs4); empty when that cannot be told."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        resolved = os.path.realpath(path)
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        columns = fields.split(" ")
        if len(columns) < 5 or not rest:
            continue
        mount = columns[4].encode().decode("unicode_escape")  # a blank is \040
        inside = resolved == mount or resolved.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, rest.split(" ", 1)[0]
    return kind
