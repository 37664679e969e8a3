"""How a request becomes an answer: scores, reasons, next actions, pages."""
