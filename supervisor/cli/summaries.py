"""What each command does, in a line: `fsmctl --help` shows these without importing the commands."""

SUMMARIES = {
    "up": "Run everything here, in the foreground.",
    "apply": "Make a fleet file the desired state.",
    "get": "List workers, children, nodes, actions, circuits, incidents …",
    "describe": "Show one worker, child, node, circuit, incident or action.",
    "events": "Show what happened, and go on with it.",
    "incidents": "List outages, the newest first.",
    "set": "Want a worker running or stopped, or as its file says.",
    "pause": "Do nothing for a worker until it is resumed.",
    "resume": "End a pause or quarantine, and forgive failures.",
    "cancel": "Cancel the action in progress of a worker or child.",
    "circuit": "Force a circuit open or closed, or reset it.",
    "wait": "Wait until a worker, child or circuit is as wanted.",
    "logs": "Show what a worker's or child's process printed.",
    "exporter": "Serve /metrics, /healthz and /readyz.",
    "collector": "Observe what is placed on a node.",
    "keys": "Make and change the keys that seal actions.",
}
