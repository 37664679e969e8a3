"""The kinds of problem that a request can have: what it is, and what helps.

Each kind is one class and one line of ``PROBLEMS``: its name in the address, its status, its title,
the step that helps, and what it means, in the docstring; ``/problems`` shows all of them to people.
How a problem is answered: ``serving/http/problem_details.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KEY_HEADER = "Idempotency-Key"
LONGEST_KEY = 200
EXAMPLE_TIME = "2026-03-01T09:30:00Z"


@dataclass(frozen=True, kw_only=True)
class FieldProblem:
    """One thing that is wrong with a request: where, and what."""

    where: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ProblemKind:
    """A kind of problem: its name in the address, its status, its title and what it means.

    ``next_step`` is what helps the caller, where an answer does not say something better.
    """

    slug: str
    status: int
    title: str
    meaning: str
    next_step: str


class ProblemError(Exception):
    """A request cannot be answered. Subclasses say which kind of problem it is.

    Args:
        detail: what is wrong with this request.
        kind: of which kind the problem is, where no subclass says so.
        next_step: what helps, where it is not the usual advice.
        errors: the fields that are wrong.
        headers: of the answer.
    """

    slug: str = "problem"
    status: int = 400
    title: str = "The request cannot be answered"
    next_step: str = "Read the detail and send a changed request."

    def __init__(
        self,
        detail: str,
        *,
        kind: ProblemKind | None = None,
        next_step: str | None = None,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        if kind is not None:
            self.slug, self.status, self.title = kind.slug, kind.status, kind.title
            self.next_step = kind.next_step
        self.detail = detail
        self.next = next_step or self.next_step
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def kind_of(problem: type[ProblemError]) -> ProblemKind:
    """The kind of problem that a class stands for; its meaning is the docstring."""
    return ProblemKind(
        slug=problem.slug,
        status=problem.status,
        title=problem.title,
        meaning=(problem.__doc__ or "").strip(),
        next_step=problem.next_step,
    )


class UnknownAccountError(ProblemError):
    """No account with this id has been scored."""

    slug, status, title = "unknown-account", 404, "Unknown account"
    next_step = (
        "Check the spelling, or look the account up with GET /v1/accounts. A new account "
        "appears after the next snapshot (keepwell snapshot)."
    )


class UnknownReportError(ProblemError):
    """No report of this name exists."""

    slug, status, title = "unknown-report", 404, "Unknown report"
    next_step = "GET /v1/reports lists the reports; keepwell report writes one."


class UnknownModelCardError(ProblemError):
    """No card is kept of this version of a model."""

    slug, status, title = "unknown-model-card", 404, "No such model card"
    next_step = "GET /v1/models lists the versions; each training since cards exist writes one."


class UnknownAddressError(ProblemError):
    """Nothing answers at this address."""

    slug, status, title = "unknown-address", 404, "Nothing here"
    next_step = "GET /openapi.json lists every address of the API; the pages start at /."


class WrongMethodError(ProblemError):
    """The address exists but does not take this method."""

    slug, status, title = "wrong-method", 405, "This address does not take that method"
    next_step = "The Allow header names the methods that it takes."


class NotJsonError(ProblemError):
    """The body could not be read as JSON."""

    slug, status, title = "not-json", 400, "The body is not JSON"
    next_step = "Send a JSON body with Content-Type: application/json."


class WrongShapeError(ProblemError):
    """The request was understood but its values were not."""

    slug, status, title = "wrong-shape", 422, "The request has the wrong shape"
    next_step = "Mend the fields named in errors; GET /openapi.json has an example of each request."


class UnknownHorizonError(ProblemError):
    """The serving model gives no probability for this horizon."""

    slug, status, title = "unknown-horizon", 422, "No probability for this horizon"
    next_step = "Ask for one of the horizons named in the detail."


class BadCursorError(ProblemError):
    """The cursor was not made by this service."""

    slug, status, title = "bad-cursor", 422, "The cursor cannot be read"
    next_step = "Pass next_cursor of the previous page unchanged, or none to start again."


class TooLargeError(ProblemError):
    """The body is larger than the service reads."""

    slug, status, title = "too-large", 413, "The body is too large"
    next_step = "Send less in one request, in several requests."


class TooManyError(ProblemError):
    """The request holds more rows than are taken at once."""

    slug, status, title = "too-many", 413, "Too many rows in one request"
    next_step = (
        "Nothing was taken. Split the rows and send them in several requests, one after the other."
    )


def check_count(what: str, sent: int, most: int) -> None:
    """See that a request holds no more than are taken at once.

    Raises:
        TooManyError: it holds more; the message says how many were sent and how many may be.
    """
    if sent > most:
        raise TooManyError(
            f"{sent:,} {what} were sent, and one request takes {most:,} at most; "
            f"{-(-sent // most):,} requests are enough for them."
        )


class MissingKeyError(ProblemError):
    """A write came without an Idempotency-Key."""

    slug, status, title = "missing-idempotency-key", 400, "The Idempotency-Key is missing"
    next_step = (
        f"Send an {KEY_HEADER} header: any text of 1 to {LONGEST_KEY} characters that "
        f"is new for each write and the same when you repeat the request."
    )


class NotAllowedError(ProblemError):
    """The request carries no valid key."""

    slug, status, title = "not-allowed", 401, "A key is needed"
    next_step = (
        "Send Authorization: Bearer KEY, with the key this service was started with, or "
        "one that keepwell keys create made and that has not ended."
    )


class TooManyAttemptsError(ProblemError):
    """So many wrong keys came from this address that it has to wait before the next."""

    slug, status, title = "too-many-attempts", 429, "Too many wrong keys"
    next_step = (
        "Wait for the seconds of Retry-After, and send a key that is valid. Keys that came in "
        "from the same address before are let in meanwhile."
    )


class TooManyWritesError(ProblemError):
    """This key has sent as many writes as one key may for now."""

    slug, status, title = "too-many-writes", 429, "Too many writes with one key"
    next_step = (
        "Nothing was changed. Send the same request again after the seconds of Retry-After; several "
        "accounts or events fit into one request."
    )


class NotPermittedError(ProblemError):
    """The key is valid, and its role may not do this."""

    slug, status, title = "not-permitted", 403, "This key may not do that"
    next_step = "Use a key of a role that may, or ask whoever runs Keepwell for one."


class KeysUnreadableError(ProblemError):
    """Who may do what cannot be looked up now."""

    slug, status, title = "keys-unreadable", 503, "The keys cannot be read"
    next_step = (
        "Nothing was done. Whoever runs Keepwell is told what is wrong by keepwell keys "
        "list; send the same request again afterwards."
    )


class WrongHostError(ProblemError):
    """The request names a host that this service does not answer for."""

    slug, status, title = "wrong-host", 421, "This service does not answer for that host"
    next_step = "Use http://127.0.0.1, or add the name to KEEPWELL_ALLOWED_HOSTS."


class ForeignOriginError(ProblemError):
    """A page of another site tried to write."""

    slug, status, title = "foreign-origin", 403, "Writes from other sites are refused"
    next_step = "Send the request from a program, or from a page of this service."


class NotReadyError(ProblemError):
    """No account has been scored yet."""

    slug, status, title = "not-ready", 503, "Nothing has been scored yet"
    next_step = (
        "Run keepwell ingest and keepwell snapshot in this workspace; the service notices "
        "by itself."
    )


class BusyError(ProblemError):
    """Another process is writing to the workspace."""

    slug, status, title = "busy", 503, "The workspace is being written"
    next_step = "Nothing was changed. Send the same request again after a few seconds."


class StoreUnavailableError(ProblemError):
    """A store of the workspace that the answer needs is damaged, or cannot be reached now."""

    slug, status, title = "store-unusable", 503, "A store of the workspace cannot be used"
    next_step = (
        "Send the same request again later. GET /readyz says which store it is and since when; "
        "whoever runs Keepwell finds what to do at /help/reference/damage."
    )


class TooManyAtOnceError(ProblemError):
    """As many large requests as may be are being worked on."""

    slug, status, title = "too-many-at-once", 503, "Too many such requests at once"
    next_step = "Nothing was changed. Send the same request again after the seconds of Retry-After."


class NotHttpError(ProblemError):
    """What came over the connection is not a request of HTTP/1.1."""

    slug, status, title = "not-http", 400, "This is not HTTP"
    next_step = (
        "Nothing was done, and the connection is closed. Send HTTP/1.1 without TLS, one length for "
        "each body, and header lines that RFC 9112 allows."
    )


class AddressTooLongError(ProblemError):
    """The address of the request is longer than the service reads."""

    slug, status, title = "address-too-long", 414, "The address is too long"
    next_step = "Nothing was done. Send long values in a body, or ask for less at once."


class HeadTooLargeError(ProblemError):
    """The headers of the request are larger than the service reads."""

    slug, status, title = "head-too-large", 431, "The headers are too large"
    next_step = "Nothing was done. Send fewer and shorter headers; cookies are not needed."


class TooSlowError(ProblemError):
    """The request did not come as a whole within the time that it has."""

    slug, status, title = "too-slow", 408, "The request took too long to arrive"
    next_step = "Nothing was done, and the connection is closed. Send the request again as a whole."


class TooManyConnectionsError(ProblemError):
    """As many connections as may be are open."""

    slug, status, title = "too-many-connections", 503, "Too many connections"
    next_step = (
        "Nothing was done. Close connections that are not used, and send the same request again "
        "after the seconds of Retry-After."
    )


class StoppingError(ProblemError):
    """The service is being stopped or started anew."""

    slug, status, title = "stopping", 503, "The service is being stopped"
    next_step = "Send the same request again after the seconds of Retry-After, with the same key."


class ImpossiblePlanError(ProblemError):
    """A plan cannot be made of the team that was sent."""

    slug, status, title = "impossible-plan", 422, "No plan can keep all limits"
    next_step = (
        "Nothing was changed. Lower the care or raise the limits named in errors, and "
        "send the team again."
    )


class UnknownControlError(ProblemError):
    """What is to be stopped, resumed or set is not there."""

    slug, status, title = "unknown-control", 422, "There is no such thing to stop or to set"
    next_step = "Nothing was stored. Mend the name; GET /v1/controls and GET /v1/actions list them."


class RefusedError(ProblemError):
    """The web framework refused the request for a reason without a class here."""

    slug, title = "refused", "The request was refused"
    next_step = "GET /openapi.json lists every address of the API."


class InternalError(ProblemError):
    """Something went wrong inside; the log has it under the id in the detail."""

    slug, status, title = "internal", 500, "Something went wrong inside Keepwell"
    next_step = "Nothing more can be said here. Look for the id in the log of the service."


PROBLEMS: tuple[type[ProblemError], ...] = (
    UnknownControlError,
    UnknownAccountError,
    UnknownReportError,
    UnknownModelCardError,
    UnknownAddressError,
    StoreUnavailableError,
    TooManyAtOnceError,
    NotHttpError,
    AddressTooLongError,
    HeadTooLargeError,
    TooSlowError,
    TooManyConnectionsError,
    StoppingError,
    ImpossiblePlanError,
    WrongMethodError,
    NotJsonError,
    WrongShapeError,
    UnknownHorizonError,
    BadCursorError,
    TooLargeError,
    TooManyError,
    MissingKeyError,
    NotAllowedError,
    TooManyAttemptsError,
    TooManyWritesError,
    NotPermittedError,
    KeysUnreadableError,
    WrongHostError,
    ForeignOriginError,
    NotReadyError,
    BusyError,
    RefusedError,
    InternalError,
)
"""Every kind of problem that a class here stands for; ``serving/http/ledger_problems.py`` adds those
of the ledger."""
