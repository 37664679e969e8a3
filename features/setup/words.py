"""The words by which columns and tables are known, in the exports of many companies."""

from __future__ import annotations

import re

ACCOUNT = (
    "account", "customer", "company", "client", "organisation", "organization", "org", "tenant",
    "workspace", "subscriber", "member", "household", "kunde", "kunden", "konto", "firma", "cust",
)  # fmt: skip
USER = ("user", "person", "contact", "employee", "login", "email", "mail", "username", "seat")
START = (
    "start", "starts", "started", "since", "joined", "join", "signup", "signed", "created", "begin",
    "begins", "from", "subscribed", "onboarded", "registered", "activated", "beginn", "enrolled",
)  # fmt: skip
END = (
    "end",
    "ends",
    "ended",
    "until",
    "expires",
    "expiry",
    "expiration",
    "renewal",
    "renews",
    "to",
    "ende",
)
LEFT = (
    "left", "cancelled", "canceled", "cancel", "cancellation", "churn", "churned", "terminated", "leave",
    "leaving", "exit", "lost", "closed", "deactivated",
    "unsubscribed", "kuendigung", "kündigung", "gekündigt",
)  # fmt: skip
PAID = ("paid", "payment", "invoice", "invoiced", "billed", "bill", "charged", "issued", "rechnung")
MONTH = ("month", "period", "monat", "mrr")
MONEY = (
    "mrr", "amount", "revenue", "fee", "price", "value", "total", "arr", "acv", "charge", "charges", "spend",
    "betrag", "umsatz", "dollar", "sales", "net", "gross", "monthly", "eur", "usd", "cost",
)  # fmt: skip
QUANTITY = ("quantity", "qty", "units", "items", "pieces", "menge", "anzahl")
UNIT_PRICE = ("price", "unit", "each", "preis")
SEATS = ("seats", "licenses", "licences", "licenses", "users", "lizenzen", "plätze")
PLAN = ("plan", "tier", "package", "product", "edition", "tarif", "subscription")
GAVE_AWAY = (
    *LEFT,
    "attrition",
    "exited",
    "reason",
    "status",
    "active",
    "retained",
    "refund",
    "feedback",
)
LEFT_VALUES = (
    "1", "1.0", "yes", "y", "true", "t", "churned", "left", "cancelled", "canceled", "exited", "ja",
    *("attrited", "lost", "churn", "closed", "terminated"),
)  # fmt: skip
"""What stands, in small letters, in a column of who left, of those who did."""
CURRENCY = ("currency", "ccy", "curr", "waehrung", "währung")
NAME = ("event", "feature", "action", "name", "type", "activity", "page", "function")
COUNT = ("count", "events", "uses", "clicks", "number", "n", "anzahl")
PROPERTIES = (
    "industry",
    "country",
    "region",
    "segment",
    "channel",
    "csm",
    "source",
    "sector",
    "branche",
    "land",
)

TABLES: dict[str, tuple[str, ...]] = {
    "tickets": ("ticket", "tickets", "case", "cases", "support", "complaint", "complaints", "helpdesk"),
    "surveys": ("nps", "survey", "surveys", "csat"),
    "invoices": ("invoice", "invoices", "payment", "payments", "billing", "rechnungen", "receipts"),
    "orders": ("order", "orders", "purchase", "purchases", "sales", "transactions", "retail", "cds"),
    "use": (
        "usage", "use", "event", "events", "login", "logins", "session", "sessions", "activity", "log",
        "logs", "clicks", "visits", "tracking",
    ),
    "contracts": ("subscription", "subscriptions", "contract", "contracts", "memberships", "customers"),
    "leavers": ("churn", "churned", "leavers", "cancellations", "cancelled", "lost", "kuendigungen"),
    "accounts": ("account", "accounts", "customer", "customers", "companies", "company", "clients", "kunden"),
    "people": ("users", "contacts", "people", "persons", "members", "employees"),
}  # fmt: skip
"""Words in the names of files, by what they say of the table."""


def words_of(name: str) -> tuple[str, ...]:
    """The words of the name of a column or a file, in small letters.

    >>> words_of("CustomerID"), words_of("Left on"), words_of("mrr_amount2")
    (('customer', 'id'), ('left', 'on'), ('mrr', 'amount'))
    """
    apart = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", name)
    return tuple(re.findall(r"[a-zäöüß]+", apart.lower()))


def has(name: str, words: tuple[str, ...]) -> bool:
    """Whether the name of a column or a file holds one of the words."""
    return any(word in words for word in words_of(name))
