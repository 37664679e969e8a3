"""The server below the application: connections, their bounds in time and size, and how it ends.

What it refuses itself, before a request reaches the application, has the shape of every refusal.
"""

__all__ = ["limits", "protocol", "running", "workers"]
