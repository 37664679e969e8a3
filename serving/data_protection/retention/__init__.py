"""Retention: rules of how long data are kept, and the nightly run that removes older data.

``retention.toml`` states days by kind of event and by place. Rows that figures need stay, without persons.
"""

__all__ = ["nightly", "policy", "run"]
