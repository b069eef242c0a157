"""Folders that all workers of a test run share: each is filled once, by the first worker that asks, and read by the others."""

import os
import shutil

import pytest
from filelock import FileLock, Timeout


class SharedFolders:
    """Fills folders under one root, each at most once a test run, whatever the number of workers.

    A mark beside a folder says that it is whole; who fills one holds its lock, and whoever else wants it waits. What
    fails is emptied: the next who asks tries again, and sees the error too.
    """

    def __init__(self, root):
        self.root = root

    def fill(self, name, make):
        """The folder of this name, filled by `make(folder)`."""
        return self.fill_all({name: make})[name]

    def fill_all(self, makers):
        """Folders by name; two workers that ask for the same share the work, each takes what the other has not begun."""
        waiting = list(makers)
        while waiting:
            begun_elsewhere = [name for name in waiting if not self._filled(name, makers[name], timeout=0)]
            if begun_elsewhere == waiting:  # nothing left to begin: wait for one
                self._filled(waiting[0], makers[waiting[0]], timeout=-1)
            waiting = begun_elsewhere
        return {name: self.root / name for name in makers}

    def _filled(self, name, make, timeout):
        """Whether the folder is whole now; False where another worker fills it and `timeout` does not let us wait."""
        folder, whole = self.root / name, self.root / f"{name}.whole"
        try:
            with FileLock(self.root / f"{name}.lock", timeout=timeout):
                if not whole.exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                    make(folder)
                    whole.touch()
        except Timeout:
            return False
        return True


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory):
    """The user's cache of this run, in place of the one that the user has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALEARN_CACHE", str(tmp_path_factory.mktemp("user_cache")))
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """The folders that workers share; without workers, this process alone."""
    root = tmp_path_factory.getbasetemp()  # of a worker: a folder of its own in the run's
    return SharedFolders(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)
