"""Why the ledger refuses a request, or cannot be reached. One class for each reason.

These are errors of the domain: nothing here knows how a caller is answered. The table of
``serving/http/ledger_problems.py`` says which problem of the API each of them is.
"""

from __future__ import annotations


class LedgerError(Exception):
    """The ledger refuses what was asked. Subclasses say why.

    Args:
        detail: what was refused and why, for the caller to read.
        retry_after: seconds after which the same request may succeed; None where time does not
            help or is not known.
    """

    def __init__(self, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class UnknownDecisionError(LedgerError):
    """No decision with this id was stored."""


class UnknownClaimError(LedgerError):
    """No claim with this id was stored."""


class DecisionExpiredError(LedgerError):
    """The decision is no longer valid, or did not know of what happened since."""


class HeldBackError(LedgerError):
    """The action was allowed when it was decided on; since then a rule has come to forbid it."""


class AlreadyClaimedError(LedgerError):
    """Somebody is at work on this decision, or on this account."""


class NotClaimableError(LedgerError):
    """The decision is not one that a program may carry out now."""


class UnreadableQuestionError(NotClaimableError):
    """What the decision was made on cannot be read, so a rule cannot be checked."""


class CapacityUsedError(LedgerError):
    """As much as may be done in a week is done or claimed."""


class QuietHoursError(LedgerError):
    """Nobody is contacted now where the account is."""


class StoppedError(LedgerError):
    """Somebody used the kill switch."""


class ClaimOverError(LedgerError):
    """The claim was ended before, or somebody else has the decision now."""


class NotYoursError(LedgerError):
    """The claim, or the decision that it is on, is somebody else's."""


class ContradictingOutcomeError(LedgerError):
    """The decision was carried out and declined: one of the two reports is wrong."""


class OutcomeBeforeDecisionError(LedgerError):
    """What is reported happened before the decision was made."""


class SelfApprovalError(LedgerError):
    """Whoever asked for a decision tried to approve it."""


class LevelTooHighError(LedgerError):
    """An action was to go further by itself than it ever may."""


class InvalidFeedbackError(LedgerError):
    """A field of a person's feedback on a decision is not valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class UnstorableTextError(LedgerError):
    """A text holds a character that the database cannot store."""


class KeyReusedError(LedgerError):
    """The Idempotency-Key was used before with another request."""


class InFlightError(LedgerError):
    """A request with this Idempotency-Key is being worked on."""


class AnswerLostError(LedgerError):
    """The request was carried out, and its answer was lost with the process."""


class UnreadableDatabaseError(Exception):
    """What is in the database cannot be read: it is damaged, or something else than was expected."""


class LedgerUnreachableError(LedgerError):
    """The database of the ledger cannot be reached, or does not take the write now."""

    def __init__(self, detail: str, *, retry_after: int | None = None, cause: str = "") -> None:
        super().__init__(detail, retry_after=retry_after)
        self.cause = cause  # what the database said; for the operator, not for callers


class LedgerDamagedError(LedgerUnreachableError):
    """The ledger is damaged, or not the one that decisions were stored in before."""
