"""A gateway: the supervised thing of the fault tests, and the only author of the ground-truth journal.

    gateway.py start|stop|status FOLDER WORKER      the commands of a `command` worker; token from FSM_TOKEN
    gateway.py run FOLDER WORKER                    a `process` worker; token from the holder's folder, FSM_HELD

FOLDER holds `settings.json`, a state file and two lock files for each worker, and `journal`. Every effect is one line
when it begins and one when it is committed; the order of the lines is the order of the events, because they are
written under the worker's state lock. Nothing of the supervisor's telemetry comes near it. Standard library only.

settings.json: {"effect": [least, most] seconds that an effect takes, "life": seconds after which what was started
stops by itself (null: never), "fence": whether the gateway refuses a token smaller than one it has seen,
"crash": workers whose start kills the pool process that runs it}.
"""

import contextlib
import fcntl
import json
import os
import signal
import sys
import time

REFUSED = 4  # exit code of an effect that was refused for its token
NOT_RUNNING = 3  # exit code of `status`, as LSB has it


def now():
    """Return CLOCK_MONOTONIC, which is one for all processes of a host, in seconds."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Gateway:
    """One worker's state in a folder."""

    def __init__(self, folder, worker):
        """Read the settings; nothing is written yet."""
        self.folder = folder
        self.worker = worker
        with open(os.path.join(folder, "settings.json")) as file:
            self.settings = json.load(file)

    def path(self, suffix):
        """Return the path of one of the worker's own files."""
        return os.path.join(self.folder, self.worker + suffix)

    def journal(self, do, **fields):
        """Append one line in one write: lines of several processes never mix."""
        line = {"do": do, "worker": self.worker, "pid": os.getpid(), "node": os.environ.get("GATEWAY_NODE", "")}
        append(self.folder, {**line, **fields, "time": now()})

    @contextlib.contextmanager
    def state(self):
        """Yield the worker's state under its lock; what was changed is written back whole."""
        with open(self.path(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            after = dict(before)
            yield after
            if after != before:
                with open(self.path(".new"), "w") as file:
                    json.dump(after, file)
                os.replace(self.path(".new"), self.path(".json"))

    def read(self):
        """Return the state as it was last written."""
        try:
            with open(self.path(".json")) as file:
                return json.load(file)
        except FileNotFoundError:
            return {"running": False, "until": None, "seen": 0}

    def is_running(self):
        """Tell whether the worker runs: it was started, and its life is not over."""
        state = self.read()
        return state["running"] and (state["until"] is None or now() < state["until"])

    def alone(self):
        """Return the effect lock, and whether nobody else has it. The kernel frees it with its process."""
        file = open(self.path(".effect"), "w")  # noqa: SIM115 - it stays open for as long as the effect takes
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return file, False
        return file, True

    def refuses(self, state, token):
        """Tell whether the gateway, which fences itself, has seen a larger token."""
        return self.settings["fence"] and token < state["seen"]

    def effect(self, verb, token):
        """Begin, take the time that an effect takes, commit. Return an exit code."""
        with self.state() as state:
            if self.refuses(state, token):
                return self.refused(verb, token, state["seen"], "begin")
            state["seen"] = max(state["seen"], token)
            lock, alone = self.alone()
            self.journal("begin", verb=verb, token=token, alone=alone)
        least, most = self.settings["effect"]
        time.sleep(least + (most - least) * (token % 1000) / 1000)
        with self.state() as state:
            if self.refuses(state, token):
                return self.refused(verb, token, state["seen"], "commit")
            life = self.settings["life"]
            state["running"] = verb == "start"
            state["until"] = None if life is None or verb != "start" else now() + life
            self.journal("commit", verb=verb, token=token, until=state["until"])
        lock.close()
        return 0

    def refused(self, verb, token, seen, at):
        """Journal a refusal and say it with both tokens."""
        self.journal("refused", verb=verb, token=token, seen=seen, at=at)
        print(f"fenced: token {token} is older than {seen}", file=sys.stderr)
        return REFUSED

    def run(self):
        """Be a process: journal the beginning and, unless killed, the end of this incarnation."""
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        _lock, alone = self.alone()
        with open(os.path.join(os.environ["FSM_HELD"], "token")) as file:
            token = int(file.read())
        life = self.settings["life"]
        over = None if life is None else now() + life
        self.journal("begin", verb="run", token=token, alone=alone, until=over)
        while not ended and (over is None or now() < over):
            time.sleep(0.05)
        self.journal("end", verb="run", token=token, until=None)
        return 0 if ended else 1


def append(folder, line):
    """Append a line to the journal in a folder."""
    journal = os.open(os.path.join(folder, "journal"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(journal, json.dumps(line).encode() + b"\n")
    os.close(journal)


def parent_of(pid):
    """Return a process' parent."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def main(verb, folder, worker):
    """Do what a supervisor asks for; return the exit code."""
    gateway = Gateway(folder, worker)
    if verb == "status":
        return 0 if gateway.is_running() else NOT_RUNNING
    if verb == "run":
        return gateway.run()
    if worker in gateway.settings.get("crash", ()) and verb == "start":
        os.kill(parent_of(os.getppid()), signal.SIGKILL)  # of the minder that runs this command, and kills it now
        signal.pause()
    return gateway.effect(verb, int(os.environ["FSM_TOKEN"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
