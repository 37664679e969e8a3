"""Pages: templates, the frame around each page with its navigation, and errors for people.

A template receives one dataclass in which every number is already text; it compares nothing.
Pages are made on the server, need no script, and load nothing from anywhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import jinja2
from fastapi import Request
from fastapi.routing import iter_route_contexts
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from serving.http.problem_details import AnswerProblem, problem_response
from serving.problems import ProblemError

FOLDER = Path(__file__).parent
STYLE_SHEET = FOLDER / "assets" / "keepwell.css"
ICON = FOLDER / "assets" / "keepwell.svg"


@dataclass(frozen=True, kw_only=True)
class Section:
    """An entry of the navigation; the page is declared to be it by ``in_navigation``."""

    name: str
    label: str
    place: int  # entries stand in rising order
    path: str = ""


Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def in_navigation(name: str, label: str, *, place: int) -> Callable[[Endpoint], Endpoint]:
    """Declare at the route of a page that the navigation leads to it."""

    def declare(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)["section"] = Section(name=name, label=label, place=place)
        return endpoint

    return declare


def sections_of(routes: Iterable[BaseRoute]) -> tuple[Section, ...]:
    """The navigation that the routes of an application declare."""
    found = [
        replace(section, path=str(one.path))
        for one in iter_route_contexts(list(routes))
        if isinstance(section := getattr(one.endpoint, "section", None), Section)
    ]
    return tuple(sorted(found, key=lambda section: section.place))


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a reader must know before the numbers."""

    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What every page shows around its content."""

    title: str
    section: str
    tenant: str
    source: str = ""
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Option:
    """One value of a choice."""

    value: str
    text: str
    is_chosen: bool


@dataclass(frozen=True, kw_only=True)
class ProblemPage:
    """An error as a person reads it."""

    frame: Frame
    heading: str
    detail: str
    next: str


@dataclass(frozen=True)
class Templates:
    """The templates, with the address of the style sheet that fits them.

    ``notices`` gives what stands on top of every page.
    """

    tenant: str
    sections: tuple[Section, ...] = ()
    notices: Callable[[], Iterable[Notice]] = tuple
    folder: Path = field(default=FOLDER / "templates")

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.folder),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.globals["sections"] = self.sections
        environment.globals["notices_of_all_pages"] = self.notices
        environment.globals["style_sheet"] = f"/assets/keepwell-{self.style_version}.css"
        return environment

    @cached_property
    def style(self) -> bytes:
        """The style sheet."""
        return STYLE_SHEET.read_bytes()

    @cached_property
    def style_version(self) -> str:
        """A hash of the style sheet: a changed one has another address."""
        return hashlib.sha256(self.style).hexdigest()[:12]

    def page(self, template: str, page: object, status: int = 200) -> Response:
        """A page from its dataclass."""
        return HTMLResponse(self._environment.get_template(template).render(page=page), status)


class AnswerProblemToPeople(AnswerProblem):
    """Answers a problem as a page where a browser asked for one, and as JSON elsewhere."""

    def __init__(self, templates: Templates) -> None:
        self.templates = templates

    def __call__(self, request: Request, error: ProblemError, status: int) -> Response:
        """The response to a refused request."""
        wants_page = "text/html" in request.headers.get("accept", "")
        if not wants_page or request.url.path.startswith("/v1/"):
            return problem_response(error, request.url.path, status)
        page = ProblemPage(
            frame=Frame(title=error.title, section="", tenant=self.templates.tenant),
            heading=error.title,
            detail=error.detail,
            next=error.next,
        )
        response = self.templates.page("problem.html", page, status)
        response.headers.update(error.headers)
        return response
