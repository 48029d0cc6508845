"""The holder: one small process that owns one supervised process. Standard library only, one file.

It is run as `python -I -S holder.py FOLDER` with a JSON request on standard input, answers with one JSON line on
standard output, and stays behind as a daemon. In its folder it keeps

    lock         held (flock) for as long as the process lives: one holder per supervised process, whoever starts it
    token        the largest token ever accepted: the fence at the effect
    state.json   what runs or how it ended, replaced whole; readable by anybody, at any time, without asking
    socket       where it takes requests: {"do": "stop", "token": N} and {"do": "quit"}, one JSON line each
    output.log   what the process printed, rotated to output.log.1

The process runs in a session of its own and dies with its holder (PR_SET_PDEATHSIG). Executors and collectors come
and go without it noticing, and so does room on its disk: what cannot be written costs output, or the request, but never
the process. Times are seconds of CLOCK_BOOTTIME, so that no clock of day matters here.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time

LOG_BYTES = 1_000_000  # output.log is rotated at this size; with output.log.1 a process keeps at most twice that
LEFTOVER_LOOKS = 200  # times LEFTOVER_POLL: two seconds for killed processes to be gone
LEFTOVER_POLL = 0.01  # seconds
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """A request that is not carried out; `args[0]` is the reply."""


def boot_id():
    """Return the identity of this boot of the kernel."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def stat_of(pid):
    """Return (state letter, start ticks, session) of a process, or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0].decode(), int(fields[19]), int(fields[3])


def write_whole(path, text):
    """Replace a file so that a reader, or a power cut, finds the old text or the new one."""
    with open(path + ".new", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def read_token(folder):
    """Return the largest token accepted in this folder, 0 if there was none."""
    try:
        with open(os.path.join(folder, "token")) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


def accept_token(folder, token):
    """Record `token`, or refuse it if a larger one was accepted before. Call it with the lock held."""
    last = read_token(folder)
    if token < last:
        raise Refused({"fenced": last})
    if token > last:
        write_whole(os.path.join(folder, "token"), str(token))


def read_state(folder):
    """Return state.json as a dict, or None if nothing was ever started here."""
    try:
        with open(os.path.join(folder, "state.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def take_lock(folder):
    """Return the open, locked lock file, or None if a holder has it."""
    file = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 - it stays open for the holder's whole life
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_held(folder):
    """Tell whether a holder has the lock, by trying to share it for an instant; who takes it meanwhile tries again."""
    try:
        with open(os.path.join(folder, "lock")) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def kill_leftovers(folder):
    """Kill what an incarnation left behind when its holder was killed, and see it gone. Call it with the lock held."""
    before = read_state(folder)
    if before is None or before["boot_id"] != boot_id():
        return
    for _ in range(LEFTOVER_LOOKS):
        if not _kill_session(before["pid"], b"FSM_HELD=" + os.fsencode(folder)):
            return
        time.sleep(LEFTOVER_POLL)


def _kill_session(session, environ_mark):
    """Kill a session's processes that carry our mark, and tell whether there were any.

    A session's number is not reused while it has members.
    """
    found = False
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        stat = stat_of(entry)
        if stat is None or stat[2] != session or stat[0] == "Z":
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if environ_mark in file.read().split(b"\0"):
                    os.kill(int(entry), signal.SIGKILL)
                    found = True
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def heed_all_signals():
    """Take back to its default every signal that is ignored; it would stay ignored in what we run.

    A shell starts what it puts in the background with SIGINT ignored; a script cannot trap what it was born to ignore.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def become(request):
    """Take on the limits, umask and user that are asked for; in the new process, before it is the command."""
    for name, most in request.get("limits", {}).items():
        try:
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
        except (OSError, ValueError) as error:
            raise ValueError(f"limit {name} of {most}: {error}") from None
    if "umask" in request:
        os.umask(request["umask"])
    if "uid" in request:
        os.setgroups(request["groups"])
        os.setgid(request["gid"])
        os.setuid(request["uid"])


class Holder:
    """Owns one process from its start to its end."""

    def __init__(self, folder, request):
        """Prepare to hold what `request` describes."""
        self.folder = folder
        self.request = request
        self.process = None
        self.waiting = []
        self.kill_at = None
        self.requested = False
        self.log = None
        self.selector = selectors.DefaultSelector()

    def path(self, name):
        """Return the path of a file in the folder."""
        return os.path.join(self.folder, name)

    def start(self):
        """Start the process and write down what runs. Raises OSError when it cannot be run."""
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.keep_output(b"")  # so that there is a log to follow
        holder = os.getpid()
        why, complaint = os.pipe()

        def prepare():
            try:
                become(self.request)
            except (OSError, ValueError) as error:
                os.write(complaint, str(error).encode())
                raise
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != holder:
                os._exit(1)
            heed_all_signals()

        with os.fdopen(why) as reasons:
            try:
                self.process = subprocess.Popen(
                    self.request["command"],
                    cwd=self.request["cwd"],
                    env=dict(self.request["env"], FSM_HELD=self.folder),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=prepare,
                )
            except subprocess.SubprocessError:  # it does not say which exception prepare() raised
                os.close(complaint)
                raise ValueError(reasons.read()) from None
            os.close(complaint)
        self.state = {
            "pid": self.process.pid,
            "start_ticks": stat_of(self.process.pid)[1],
            "boot_id": boot_id(),
            "started_boot": time.clock_gettime(time.CLOCK_BOOTTIME),
            "config_id": self.request["config_id"],
            "exit": None,
        }
        self.write_state()
        return self.state

    def write_state(self):
        """Write state.json."""
        write_whole(self.path("state.json"), json.dumps(self.state))

    def listen(self):
        """Open the socket. The path goes through a directory descriptor: sun_path holds 108 bytes only."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path("socket")):
            os.unlink(self.path("socket"))
        listener.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        listener.listen(128)
        self.selector.register(listener, selectors.EVENT_READ, self.accept)

    def serve(self):
        """Hold the process until it ends."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake_read, selectors.EVENT_READ, lambda file: os.read(file, 512))
        self.selector.register(self.process.stdout, selectors.EVENT_READ, self.copy_output)
        self.listen()
        while self.process.poll() is None:
            timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            for key, _ in self.selector.select(timeout):
                key.data(key.fileobj)
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self.signal_group(signal.SIGKILL)
                self.kill_at = None
            self.reap_others()
        self.end()

    def reap_others(self):
        """Reap orphaned grandchildren, which come to us as their subreaper; never the process itself."""
        try:
            while True:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is None or found.si_pid == self.process.pid:
                    return
                os.waitpid(found.si_pid, 0)
        except ChildProcessError:
            return

    def end(self):
        """Write how it ended, leave nothing of its group behind, and tell who waited."""
        self.signal_group(signal.SIGKILL)
        code = self.process.returncode
        self.state["exit"] = {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else 0,
            "requested": self.requested,
            "ended_boot": time.clock_gettime(time.CLOCK_BOOTTIME),
        }
        with contextlib.suppress(OSError):  # unwritten, a look finds a process that is gone and a holder that is too
            self.write_state()
        os.set_blocking(self.process.stdout.fileno(), False)
        self.copy_output(self.process.stdout)
        with contextlib.suppress(OSError):
            os.unlink(self.path("socket"))
        for client in self.waiting:
            self.reply(client, {"stopped": self.state["exit"]})

    def signal_group(self, number):
        """Send a signal to the whole process group, if any of it is left."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def copy_output(self, pipe):
        """Copy what is there to the log."""
        data = os.read(pipe.fileno(), 65536) if _readable(pipe) else b""
        if not data:
            if self.process.returncode is None and pipe in {key.fileobj for key in self.selector.get_map().values()}:
                self.selector.unregister(pipe)
            return
        self.keep_output(data)

    def keep_output(self, data):
        """Append to the log; rotate it when it is long. What a full disk does not take is lost."""
        with contextlib.suppress(OSError):
            self.log = self.log or open(self.path("output.log"), "ab", buffering=0)  # noqa: SIM115 - until rotated
            self.log.write(data)
            if self.log.tell() >= LOG_BYTES:
                os.replace(self.path("output.log"), self.path("output.log.1"))
                self.log.close()
                self.log = None
                self.keep_output(b"")

    def accept(self, listener):
        """Take a connection; one that is gone again is none."""
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.settimeout(1.0)
        self.selector.register(client, selectors.EVENT_READ, self.take_request)

    def take_request(self, client):
        """Read one request line and act on it."""
        self.selector.unregister(client)
        try:
            request = json.loads(client.makefile("r").readline() or "null")
        except (OSError, ValueError):
            client.close()
            return
        try:
            self.act(client, request)
        except Refused as refusal:
            self.reply(client, refusal.args[0])
        except OSError as error:
            self.reply(client, {"error": f"the token cannot be kept in {self.folder}: {error}"})

    def act(self, client, request):
        """Carry out a request. Both end the process; the reply comes when it is gone."""
        verb = request.get("do") if isinstance(request, dict) else None
        if verb not in ("start", "stop", "quit"):
            raise Refused({"error": f"unknown request {request!r}: expected do = start, stop or quit"})
        if verb != "quit":
            token = request.get("token")
            if type(token) is not int:
                raise Refused({"error": f"token is {token!r}: expected a whole number"})
            accept_token(self.folder, token)
        if verb == "start":
            self.reply(client, self.state)
            return
        self.waiting.append(client)
        if not self.requested:
            self.requested = True
            self.process.send_signal(getattr(signal, "SIG" + self.request["stop_signal"]))
            self.kill_at = time.monotonic() + self.request["stop_timeout"]

    def reply(self, client, message):
        """Answer and hang up. A client that left early has nothing to be told."""
        with client, contextlib.suppress(OSError):
            client.sendall(json.dumps(message).encode() + b"\n")


def _readable(pipe):
    with selectors.DefaultSelector() as one:
        one.register(pipe, selectors.EVENT_READ)
        return bool(one.select(0))


def hold(folder, request, answer):
    """Be the daemon: start the process, send the answer, serve until the process ends."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us may have blocked what we and the process need
    holder = Holder(folder, request)
    try:
        state = holder.start()
    except (OSError, ValueError) as error:
        answer({"error": f"cannot run {request['command']!r} in {request['cwd']!r}: {error}"})
        return
    answer(state)
    holder.serve()


def main(folder):
    """Take the lock, pass the fence, leave a daemon behind and print its answer."""
    request = json.loads(sys.stdin.read())
    lock = take_lock(folder)
    if lock is None:
        print(json.dumps({"busy": True}))
        return
    try:
        accept_token(folder, request["token"])
    except Refused as refusal:
        print(json.dumps(refusal.args[0]))
        return
    except OSError as error:
        print(json.dumps({"error": f"the token cannot be kept in {folder}: {error}"}))
        return
    kill_leftovers(folder)
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(write_end)
        with os.fdopen(read_end) as file:
            print(file.read().strip() or json.dumps({"error": "the holder died before it could answer"}))
        return
    os.close(read_end)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)

    def answer(message):
        os.write(write_end, json.dumps(message).encode() + b"\n")
        os.close(write_end)

    hold(folder, request, answer)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
