"""`dfc_read`: a data flow that reads from a source and writes to a broker, and speaks Benthos' HTTP interface.

A process with a second look: `/ping`, `/ready` and `/metrics` tell whether both ends are connected and messages pass.
It is running when both ends are connected, degraded when an end is lost after that.
"""
