"""The processes of simulated accounts: usage, support, billing, contracts, contacts.

Each process writes the events that a real product would have sent.
"""

__all__ = ["billing", "contacts", "contracts", "engagement", "support", "usage"]
