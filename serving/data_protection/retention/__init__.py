"""Retention: how long the workspace keeps what, and the nightly run that removes what is older.

``retention.toml`` says days by kind of event and by place. What figures need stays, without persons.
"""

__all__ = ["nightly", "policy", "run"]
