"""The compose stack, built and run by a real engine."""
