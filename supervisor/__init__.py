"""The supervisor: ticks, decides, dispatches, and shows. `docs/architecture.md` tells which file does what."""
