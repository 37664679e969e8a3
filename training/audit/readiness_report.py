"""Say in a screen what a workspace can answer and what not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from training.audit.readiness import HorizonCounts, OutcomeCounts, Readiness

NAMES_SHOWN = 4
LINES_SHOWN = 8


def lines_of(found: Readiness) -> Iterator[str]:
    """The answer in lines."""
    yield (
        f"{found.events:,} rows of events of {found.accounts:,} accounts are known on "
        f"{found.known_until:%Y-%m-%d}, of {len(found.kinds)} kinds."
    )
    yield ""
    yield "What can be trained:"
    for one in found.outcomes:
        yield from _outcome(one)
    yield ""
    yield from _features(found)
    yield ""
    if found.leaks:
        yield "Likely leaks: a model must not read these before they are explained."
        yield from (f"  {leak}" for leak in _first(found.leaks))
    elif found.no_leaks_why is not None:
        yield f"Leaks were not looked for: {found.no_leaks_why}."
    else:
        yield "No feature predicts leaving too well by itself (keepwell audit looks closer)."


def _outcome(one: OutcomeCounts) -> Iterator[str]:
    if one.why_not is not None:
        yield f"  {one.name}: no; {one.why_not}"
        return
    yield f"  {one.name}: {one.description} {one.asked:,} accounts are asked about now."
    for horizon in one.horizons:
        yield f"    within {horizon.days} days: {_horizon(horizon)}"


def _horizon(horizon: HorizonCounts) -> str:
    counted = (
        f"{horizon.outcomes:,} of {horizon.rows:,} rows at {horizon.cutoffs} cutoffs, "
        f"{horizon.accounts:,} accounts"
    )
    left = ", ".join(f"{count:,} {reason}" for reason, count in sorted(horizon.left_out.items()))
    said = f"yes; {counted}" if horizon.why_not is None else f"no; {counted}; {horizon.why_not}"
    if horizon.holds_accounts_out is not None:
        said += (
            f"; judged on other accounts of the same months, since {horizon.holds_accounts_out[:1].lower()}"
            f"{horizon.holds_accounts_out[1:]}"
        )
    return said + (f"; left out: {left}" if left else "")


def _features(found: Readiness) -> Iterator[str]:
    empty = sum(map(len, found.empty.values())) + len(found.silent)
    yield (
        f"Features: {found.features - empty:,} of {found.features:,} have values, among "
        f"{found.looked_at:,} accounts."
    )
    most = sorted(found.empty.items(), key=lambda one: -len(one[1]))
    for kinds, names in most[:LINES_SHOWN]:
        yield f"  no {kinds}: {len(names)} empty, such as {', '.join(names[:NAMES_SHOWN])}"
    if more := most[LINES_SHOWN:]:
        yield f"  {len(more)} other kinds that nobody sent: {sum(len(n) for _, n in more)} empty"
    if found.silent:
        yield f"  empty although their events came: {', '.join(_first(found.silent))}"
    if found.constant:
        yield f"  with one value: {', '.join(_first(found.constant))}"


def _first(names: Sequence[str]) -> list[str]:
    more = len(names) - LINES_SHOWN
    return [*names[:LINES_SHOWN], *([f"and {more} more"] if more > 0 else [])]
