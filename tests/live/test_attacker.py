"""F26."""
from __future__ import annotations
from pathlib import Path
from tests.live.secured import *
W = """
[[workers]]
id = "{}"
type = "process"
{}
config = {{ command = ["sleep", "300"] }}
"""
def test_x(tmp_path: Path) -> None:
    with secured_in(tmp_path) as s:
        p = s.pieces
        f = tmp_path/"f.toml"
        f.write_text(FLEET + W.format("a", 'node = "edge-1"') + W.format("b", 'node = "edge-2"') + W.format("c", ''))
        print(s.fsmctl("fsmctl-operate", "apply", "-f", str(f)))
        p.start_supervisor()
        try:
            p.start_node("edge-1"); p.start_node("edge-2")
            p.start_exporter(19464)
            for w in "abc": wait_for_running(s, w)
            print(s.fsmctl("fsmctl-read", "get", "workers"))
            print(s.fsmctl("fsmctl-read", "events"))
            import time; time.sleep(12)
            import urllib.request
            m = urllib.request.urlopen("http://127.0.0.1:19464/metrics").read().decode()
            print([l for l in m.splitlines() if l.startswith("supervisor_up")])
            s.fsmctl("fsmctl-operate", "set", "a", "stopped")
            time.sleep(3)
            print(s.fsmctl("fsmctl-read", "get", "workers"))
        finally:
            for d in s.denied(): print(d)
            for n in p.processes: print(n, p.said(n)[-1500:])
