"""The stack's processes: started in sessions of their own, found again by their pid files."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from localstack.layout import HOST, StackError, require_free

_START_SECONDS = 60


@dataclass(frozen=True)
class Process:
    """A process; its pid and log files lie in `folder`.

    `stop_signal` ends it in an orderly way, within `stop_seconds`.
    """

    folder: Path
    name: str
    port: int
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: int = 30
    directory: Path | None = None
    user: int | None = None

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process's id, or None if it does not run."""
        if not self._pid_file.exists():
            return None
        pid, _, started = self._pid_file.read_text(encoding="utf-8").partition(" ")
        # Ids are given out again: the time of start tells whether it is still this process.
        return int(pid) if started and started == _started_at(int(pid)) else None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start it unless it runs, and wait until it is ready. Raises `StackError`."""
        if self.pid is None:
            self.require_port()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    self.command,
                    env=dict(self.environment),
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=self.user,
                    group=self.user,
                    extra_groups=None if self.user is None else [],
                )
            self._pid_file.write_text(f"{process.pid} {_started_at(process.pid)}", encoding="utf-8")
        self._wait(is_ready)

    def require_port(self) -> None:
        """Raise `StackError` if another program has the port that this process needs."""
        if self.pid is None:
            self._end_orphans()
            require_free(self.port, self.name)

    def _end_orphans(self) -> None:
        """End what a killed process of ours has left running."""
        if self._pid_file.exists():
            _kill_session(int(self._pid_file.read_text(encoding="utf-8").split()[0]))

    def _wait(self, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            if self.pid is None:
                raise StackError(f"{self.name} ended while it started: see {self.log}.")
            if time.monotonic() > deadline:
                raise StackError(f"{self.name} is not ready after {_START_SECONDS} s: {self.log}.")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and all that it started; nothing happens if it does not run."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, self.stop_signal)
            deadline = time.monotonic() + self.stop_seconds
            while self.pid is not None:
                if time.monotonic() > deadline:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                _reap(pid)
                time.sleep(0.05)
        self._end_orphans()
        self._pid_file.unlink(missing_ok=True)


def _reap(pid: int) -> None:
    """Let go of our own child, if it is one, so that it does not stay a zombie."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _kill_session(leader: int) -> None:
    """End what is left of a session whose leader has ended; another one of its id is let be."""
    if _started_at(leader) is not None:
        return
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,sess="], capture_output=True, text=True, check=True
    ).stdout
    for line in listed.splitlines():
        pid, session = (int(number) for number in line.split())
        if session == leader:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _started_at(pid: int) -> str | None:
    """When a process started, as `ps` tells; None for one that is gone or a zombie."""
    shown = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout.strip()
    state, _, started = shown.partition(" ")
    return started.strip() if shown and not state.startswith("Z") else None


def accepts(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
