"""Drivers: how a component is started and stopped. A driver implements `actions.model.Component`."""
