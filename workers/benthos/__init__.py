"""`benthos`: a Benthos, Redpanda Connect or Bento that runs one flow, judged by what its HTTP interface says.

A process with a second look: `/ready` says which connections are up, `/metrics` how many messages passed and failed. It
is waiting until all its connections are up, then active or, when nothing has passed for a while, idle; degraded when a
connection is lost after that, it does not answer, or too many of its writes fail.
"""
