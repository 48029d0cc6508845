"""`process`: any command. Stopped, starting, running, stopping; failed while its starts keep failing."""
