"""The pages for those who write programs: the addresses, and the problems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.pages.frame import Frame
from serving.problems import ProblemKind


@dataclass(frozen=True, kw_only=True)
class ProblemLine:
    """One kind of problem."""

    slug: str
    status: str
    title: str
    meaning: str
    next: str


@dataclass(frozen=True, kw_only=True)
class ProblemsPage:
    """Every kind of problem as a page."""

    frame: Frame
    problems: tuple[ProblemLine, ...]


@dataclass(frozen=True, kw_only=True)
class AddressLine:
    """One address of the API."""

    method: str
    path: str
    summary: str
    description: str
    headers: tuple[str, ...]
    example: str


@dataclass(frozen=True, kw_only=True)
class ApiPage:
    """Every address of the API as a page."""

    frame: Frame
    addresses: tuple[AddressLine, ...]


def problems_page(problems: Sequence[ProblemKind], *, tenant: str) -> ProblemsPage:
    """Every kind of problem in its own words."""
    return ProblemsPage(
        frame=Frame(title="Problems", section="api", tenant=tenant),
        problems=tuple(
            ProblemLine(
                slug=p.slug,
                status=str(p.status),
                title=p.title,
                meaning=p.meaning,
                next=p.next_step,
            )
            for p in problems
        ),
    )


def api_page(document: Mapping[str, Any], *, tenant: str) -> ApiPage:
    """Every address of an OpenAPI document."""
    addresses = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            addresses.append(
                AddressLine(
                    method=method.upper(),
                    path=path,
                    summary=operation.get("summary", ""),
                    description=operation.get("description", "").replace("`", "").strip(),
                    headers=tuple(
                        f"{p['name']}: {p.get('description', '')}"
                        for p in operation.get("parameters", ())
                        if p["in"] == "header" and p["required"]
                    ),
                    example=_example(document, operation),
                )
            )
    return ApiPage(
        frame=Frame(title="API", section="api", tenant=tenant), addresses=tuple(addresses)
    )


def _example(document: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref", "")
    if not reference:
        return ""
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    examples = schema.get("examples", [])
    return json.dumps(examples[0], indent=2) if examples else ""
