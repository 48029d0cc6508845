"""Workers: the supervised units, each type a state machine and the I/O that serves it.

To add a type: write `workers/<type>/states.py` (one table and a pure `derive`), `workers/<type>/observe.py`
(read-only I/O), and list it in `workers/registry.py`. `docs/howto/add-a-worker-type.md` does it in full. Workers
request actions and never call the supervisor.
"""
