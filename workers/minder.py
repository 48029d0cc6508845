"""The minder: one small process that runs one command and leaves nothing of it behind. Standard library only, one file.

It is run as `python -I -S minder.py`, reads one JSON line from standard input

    {"command": […], "cwd": "…", "env": {…}, "timeout": seconds or null, "log": path or null, "title": "…"}

and answers with one JSON line on standard output: {"code": N}, {"signal": N}, {"timeout": seconds} or {"error": "…"},
each but the last with "output", the end of what the command printed. With a log, the output is also appended there,
under the title; the log is rotated to `….1`.

Its owner keeps standard input open. When that ends, because the owner died or has given up, all is killed, unanswered:
nothing outlives who asked for it, not even when that was killed itself.

The command runs in a session of its own. When it ends by itself, what is left of its process group is killed; what has
made a session of its own, as a daemon does, stays. When it is cut off, every descendant is killed. A minder that is
killed itself takes the command with it (PR_SET_PDEATHSIG), and no more than that.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time

LOG_BYTES = 1_000_000  # the log is rotated at this size; with its predecessor a folder keeps at most twice that
TAIL_BYTES = 4096  # of the output are answered
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Log:
    """Where the output goes: its end is kept, and all of it is appended to a file, if there is one."""

    def __init__(self, path, title):
        """Append to `path`, if given."""
        self.path = path
        self.tail = b""
        self.file = None
        self.append(f"--- {title}\n".encode())

    def write(self, data):
        """Take what was printed."""
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        self.append(data)

    def append(self, data):
        """Append to the file; rotate it when it is long. What a full disk does not take is lost."""
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            self.file = self.file or open(self.path, "ab", buffering=0)  # noqa: SIM115 - until rotated
            self.file.write(data)
            if self.file.tell() >= LOG_BYTES:
                os.replace(self.path, self.path + ".1")
                self.file.close()
                self.file = None
                self.append(b"")


def start(request):
    """Start the command. Raises OSError or ValueError when it cannot be run."""
    minder = os.getpid()

    def die_with_minder():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != minder:
            os._exit(1)

    return subprocess.Popen(
        request["command"],
        cwd=request["cwd"],
        env=request["env"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_minder,
    )


def mind(process, log, timeout):
    """Wait until the command has ended (True), its time is up, or the owner is gone (False)."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    for descriptor in (sys.stdin.fileno(), process.stdout.fileno(), wake_read):
        selector.register(descriptor, selectors.EVENT_READ)
    give_up = None if timeout is None else time.monotonic() + timeout
    while process.poll() is None:
        left = None if give_up is None else give_up - time.monotonic()
        if left is not None and left <= 0:
            return False
        for key, _ in selector.select(left):
            data = os.read(key.fd, 65536)
            if key.fd == process.stdout.fileno():
                log.write(data)
            if not data and key.fd == sys.stdin.fileno():
                return False
            if not data:
                selector.unregister(key.fd)
    return True


def kill_group(group):
    """Kill what is left of a process group, and see those of it gone that are ours to wait for."""
    try:
        os.killpg(group, signal.SIGKILL)
        while True:
            os.waitpid(-group, 0)
    except (ProcessLookupError, PermissionError, ChildProcessError):
        return


def kill_descendants():
    """Kill all that came from us; what a killed one leaves behind becomes our child, and is next."""
    try:
        while True:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
    except (PermissionError, ChildProcessError):  # of another user: not ours to kill, nor to wait for
        return


def children():
    """Return the pids of our children, dead ones included."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid():
            found.append(int(entry))
    return found


def drain(pipe, log):
    """Take what is in the pipe; who still has its other end is not waited for."""
    os.set_blocking(pipe.fileno(), False)
    try:
        while data := os.read(pipe.fileno(), 65536):
            log.write(data)
    except BlockingIOError:
        return


def run(request):
    """Run the command to its end and return the answer."""
    try:
        log = Log(request["log"], request["title"])
        process = start(request)
    except (OSError, ValueError) as error:
        return {"error": f"cannot run {request['command']!r} in {request['cwd']!r}: {error}"}
    ended = mind(process, log, request["timeout"])
    kill_group(process.pid)
    if not ended:
        kill_descendants()
    drain(process.stdout, log)
    output = log.tail.decode(errors="replace")
    if not ended:
        return {"timeout": request["timeout"], "output": output}
    code = process.returncode
    return {"code": code, "output": output} if code >= 0 else {"signal": -code, "output": output}


def main():
    """Read the request, run it, answer."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return  # the owner was gone before it had asked
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answer = run(json.loads(line))
    try:
        print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        os._exit(1)  # nobody is there to be told, at exit neither


if __name__ == "__main__":
    main()
