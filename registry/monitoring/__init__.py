"""The figures of the last monitoring run, and how Prometheus reads them.

Written by training, read by the service.
"""

__all__ = ["figures", "prometheus"]
