"""The newest plan of a workspace, as far as leadership reads it: one small file.

It says what an hour is worth, when, and by whom the plan was made. It is replaced as a whole. The
actions themselves stay where the plan was asked for.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from experiments.planning.plan import Plan
from features.format_version import newer_format
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.integrity.sealed_document import seal, unseal

NEWEST, FORMAT = "newest.json", 1
MOST_BYTES = 4_000_000


class SavedPlanError(ValueError):
    """The file of the newest plan cannot be read."""


class SavedLimit(BaseModel):
    """One CSM, pool or budget: what there is, what is planned, and what one more would add."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: Literal["hours", "budget"]
    id: str
    available: float
    planned: float
    price: float


class SavedPlan(BaseModel):
    """The summary of a plan that is saved; money is in ``currency``."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    as_of: AwareDatetime
    made_at: AwareDatetime
    made_by: str = Field(max_length=500)
    currency: str
    value: float
    share_of_bound: float
    actions: int
    waiting: int
    limits: tuple[SavedLimit, ...]


def build_saved_plan(
    plan: Plan, *, as_of: datetime, made_at: datetime, made_by: str, currency: str
) -> SavedPlan:
    """The summary of a plan made by ``made_by``."""
    return SavedPlan(
        as_of=as_of,
        made_at=made_at,
        made_by=made_by,
        currency=currency,
        value=plan.value,
        share_of_bound=plan.share_of_bound,
        actions=plan.actions.height,
        waiting=plan.waiting.height,
        limits=(
            *(
                SavedLimit(
                    kind="hours",
                    id=each.id,
                    available=each.available,
                    planned=each.planned,
                    price=each.price,
                )
                for each in plan.hours
            ),
            *(
                SavedLimit(
                    kind="budget",
                    id=each.id,
                    available=each.available,
                    planned=each.planned,
                    price=each.price,
                )
                for each in plan.budgets
            ),
        ),
    )


def save_plan(workspace: Workspace, plan: SavedPlan) -> None:
    """Let this be the newest plan of the workspace."""
    content = seal({"format": FORMAT, **plan.model_dump(mode="json")})
    write_atomically(workspace.plans_dir / NEWEST, json.dumps(content, indent=1).encode())


def newest_plan(workspace: Workspace) -> SavedPlan | None:
    """The newest plan that was saved; None where none was.

    Raises:
        SavedPlanError: there is a file, and it is none of ours or broken.
    """
    path = workspace.plans_dir / NEWEST
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SavedPlanError(f"{NEWEST} is larger than a plan can be. {WHAT_NEXT}")
        content: object = json.loads(path.read_text(encoding="utf-8"))
        stated = content.get("format") if isinstance(content, dict) else None
        newer = newer_format(stated, newest=FORMAT, what=NEWEST)
        if newer is not None:
            raise SavedPlanError(newer)
        return SavedPlan.model_validate(unseal(content) if isinstance(content, dict) else content)
    except FileNotFoundError:
        return None
    except SavedPlanError:
        raise
    except (OSError, ValidationError, ValueError, RecursionError) as error:
        raise SavedPlanError(f"The newest plan cannot be read. {WHAT_NEXT}") from error


WHAT_NEXT = "Make one again with keepwell plan."
