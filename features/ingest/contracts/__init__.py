"""Contract events from what companies export: periods, one row a customer, invoices, MRR by month."""

__all__ = ["draft", "timeline"]
