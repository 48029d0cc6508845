"""Actions: named, typed, idempotent requests to change the world.

An action looks whether what it wants is already so, does it if not, and says in one sentence what it did. It
knows nobody: the component it works on is handed to it (`ActionContext.component`), so this package imports
neither `workers` nor `supervisor`. Concrete actions are reached through `actions.registry` alone.
"""
