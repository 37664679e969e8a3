"""The rules of one company: warning signs and playbook, the shipped ones changed by ``rules.toml``.

Read and checked as a whole: a file of which one entry cannot be used changes nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from features.alerts.rule_set import (
    RULES_FILE,
    SHIPPED,
    AlertRules,
    RulesError,
    line_of,
    read_alert_rules,
    rules_text,
)
from features.alerts.rules import ALERTS
from features.workspace import Workspace
from registry.playbook.actions import PlaybookError
from registry.playbook.own_rules import TABLES
from registry.playbook.playbook import Playbook, load_playbook
from registry.toml_table import toml_values
from serving.decisions.live_limits import CurrentFile
from serving.decisions.validated_playbook import load_validated_playbook


@dataclass(frozen=True, kw_only=True)
class CompanyRules:
    """Warning signs and playbook of a company; ``text`` is its own file, "" where it has none."""

    alerts: AlertRules
    playbook: Playbook
    text: str = ""

    @property
    def version(self) -> str:
        """The digest of the company's own file; "" where it has none."""
        return self.alerts.digest


SHIPPED_RULES = CompanyRules(alerts=SHIPPED, playbook=load_playbook())


@lru_cache(maxsize=32)
def parse_rules(text: str, features: tuple[str, ...]) -> CompanyRules:
    """The rules that a company's own text makes of the shipped ones, checked.

    Args:
        text: of ``rules.toml``.
        features: the names of the catalogue.

    Raises:
        RulesError: what is wrong, and where.
    """
    if not text.strip():
        return SHIPPED_RULES
    alerts = read_alert_rules(text, features=frozenset(features))
    try:
        book = load_validated_playbook(
            features,
            load_playbook(text),
            alerts={rule.id for rule in (*ALERTS, *alerts.rules)},
        )
        _check_off(toml_values(text).get("off", []), alerts, book)
    except PlaybookError as exc:
        raise RulesError(f"{_place_of(str(exc), text)}: {exc}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise RulesError(f"{RULES_FILE} is not valid TOML: {exc}.") from exc
    return CompanyRules(alerts=alerts, playbook=book, text=text)


def read_company_rules(folder: Path, features: Collection[str]) -> CompanyRules:
    """The rules of the company whose workspace this is.

    Raises:
        RulesError: its file cannot be used.
    """
    return parse_rules(rules_text(folder), tuple(sorted(features)))


def rules_of(workspace: Workspace) -> CompanyRules:
    """As ``read_company_rules``, with the features of the workspace."""
    return read_company_rules(
        workspace.root,
        workspace.settings.catalogue.names,
    )


class CurrentRules(CurrentFile[CompanyRules]):
    """The rules of one company as they are now.

    Raises:
        RulesError: at the start, where there is nothing to hold on to: the file cannot be used.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(
            workspace.root / RULES_FILE,
            lambda folder: read_company_rules(
                folder,
                workspace.settings.catalogue.names,
            ),
            SHIPPED_RULES,
            what="rules",
            usual_words="the shipped ones",
            error=RulesError,
        )


def _place_of(message: str, text: str) -> str:
    """The file, and the line of the entry that is named first; of one that stands twice, the second."""
    lines = {
        repr(one.get("id")): line_of(text, kind, number)
        for kind in TABLES
        for number, one in enumerate(
            cast("list[dict[str, object]]", toml_values(text).get(kind, []))
        )
        if isinstance(one, dict)
    }
    named = [name for name in lines if name in message]
    if not named:
        return RULES_FILE
    return f"{RULES_FILE}, line {lines[min(named, key=message.index)]}"


def _check_off(off: object, alerts: AlertRules, book: Playbook) -> None:
    known = {
        *(rule.id for rule in (*ALERTS, *alerts.rules)),
        *book.by_id,
        *(sequence.id for sequence in load_playbook().sequences),
        *(sequence.id for sequence in book.sequences),
    }
    for name in off if isinstance(off, list) else ():
        if name not in known:
            raise RulesError(
                f"{RULES_FILE}: `off` names {name!r}, and there is no such action, sequence or warning "
                f"sign."
            )
