"""The routes of what there is: actions, models, reports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path

from serving.api.dependencies import AtService
from serving.api.route_problems import problems
from serving.api.schemas.catalogues import (
    EXAMPLE_REPORT,
    ActionsAnswer,
    ModelAnswer,
    ModelsAnswer,
    ReportRow,
    ReportsAnswer,
    WithheldSegmentAnswer,
)
from serving.auth.roles import PRODUCT, needs
from serving.decisions.saved_reports import report_named, reports_in
from serving.pages.model_card_page import card_address
from serving.problems import UnknownReportError
from serving.scoring.models_served import model_rows, withheld_segments

router = APIRouter(prefix="/v1", tags=["catalogues"])


@router.get("/actions", operation_id="list_actions", summary="The playbook")
@needs(PRODUCT)
def list_actions(service: AtService) -> ActionsAnswer:
    """Every action and sequence, with what each costs and is believed to change, and the source.

    Fields named under `ours` are judgements of this project, not facts of the source.
    """
    book = service.company.current().playbook
    return ActionsAnswer(items=book.rows(), sequences=[s.as_row() for s in book.sequences])


@router.get("/models", operation_id="list_models", summary="The models")
@needs(PRODUCT)
def list_models(service: AtService) -> ModelsAnswer:
    """Every version of every model with its metrics, and which one serves."""
    rows, refusals = model_rows(service.store)
    withheld = withheld_segments(service.workspace, rows)
    return ModelsAnswer(
        items=[
            ModelAnswer(
                label=row.label,
                version=row.version,
                run_name=row.run_name,
                serving=row.serving,
                challenger=row.challenger,
                fingerprint=row.fingerprint,
                metrics=dict(row.metrics),
                judged_on=row.judged_on,
                card=card_address(row.label, row.version),
                withheld=[
                    WithheldSegmentAnswer(segment=one.segment, since=one.since, why=one.why)
                    for one in withheld
                    if one.fingerprint == row.fingerprint
                ],
            )
            for row in rows
        ],
        refusals=dict(refusals),
    )


@router.get("/reports", operation_id="list_reports", summary="The reports")
@needs(PRODUCT)
def list_reports(service: AtService) -> ReportsAnswer:
    """The causal reports of this workspace, newest first."""
    return ReportsAnswer(
        items=[
            ReportRow(
                name=r.name,
                title=r.title,
                headline=r.headline,
                written_at=r.written_at,
                html=f"/reports/{r.name}" if r.html_file else None,
                json_url=f"/v1/reports/{r.name}",
            )
            for r in reports_in(service.workspace.reports_dir)
        ]
    )


@router.get("/reports/{name}", operation_id="get_report", summary="One report")
@needs(PRODUCT)
@problems(UnknownReportError)
def read_report(
    service: AtService, name: Annotated[str, Path(max_length=200, examples=[EXAMPLE_REPORT])]
) -> dict[str, Any]:
    """A report as it was written, in JSON."""
    return report_named(service.workspace.reports_dir, name).content()
