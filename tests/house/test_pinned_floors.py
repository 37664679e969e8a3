"""No pin falls below the first version without a hole that is known to us.

An index of advisories knows more and is asked by ``make audit``, where one can be reached. This is
what holds where none can: a version that is lowered by mistake, or by a resolver, fails here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)", re.MULTILINE)

FLOORS = {
    # package: the first version without it, and what a lower one lets happen
    "aiohttp": ("3.13.3", "CVE-2025-69223: a compressed body fills the memory"),
    "certifi": ("2024.7.4", "CVE-2024-39689: a root that is not trusted any more"),
    "cryptography": ("44.0.1", "CVE-2024-12797: OpenSSL takes an unauthenticated server"),
    "flask-cors": ("6.0.0", "CVE-2024-6844: paths are matched to the wrong rule"),
    "fonttools": ("4.60.2", "CVE-2025-66034: a design file writes any file"),
    "gitpython": ("3.1.41", "CVE-2024-22190: runs a program of the folder"),
    "gunicorn": ("23.0.0", "CVE-2024-6827: request smuggling by Transfer-Encoding"),
    "h11": ("0.16.0", "CVE-2025-43859: request smuggling by chunk endings"),
    "idna": ("3.7", "CVE-2024-3651: a name takes quadratic time"),
    "jinja2": ("3.1.6", "CVE-2025-27516: a template leaves its sandbox"),
    "joblib": ("1.2.0", "CVE-2022-21797: a setting is evaluated as code"),
    "lightgbm": ("4.6.0", "CVE-2024-43598: a model file is read past its end"),
    "mako": ("1.2.2", "CVE-2022-40023: a template takes quadratic time"),
    "pillow": ("11.3.0", "CVE-2025-48379: a picture is written past its end"),
    "protobuf": ("6.31.1", "CVE-2025-4565: nested groups exhaust the stack"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: reading a file runs code"),
    "requests": ("2.32.4", "CVE-2024-47081: netrc credentials go to another host"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206: words of the training stay in an attribute"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a package is written outside its folder"),
    "sqlparse": ("0.5.0", "CVE-2024-4340: nested lists exhaust the stack"),
    "starlette": ("0.49.1", "CVE-2025-62727: a Range header takes quadratic time"),
    "tornado": ("6.5", "CVE-2025-47287: malformed forms fill the log and stop the loop"),
    "tqdm": ("4.66.3", "CVE-2024-34062: an argument is evaluated as code"),
    "urllib3": ("2.6.3", "CVE-2026-21441: a compressed redirect fills the memory"),
    "werkzeug": ("3.0.6", "CVE-2024-49767: a form fills the memory"),
    "zipp": ("3.19.1", "CVE-2024-5569: an archive is read for ever"),
}


def pins_of(text: str) -> dict[str, Version]:
    """
    >>> pins_of("Jinja2==3.1.5 ; python_version > '3'")
    {'jinja2': <Version('3.1.5')>}
    """
    return {name.lower().replace("_", "-"): Version(pin) for name, pin in PIN.findall(text)}


def holes(pins: dict[str, Version]) -> list[str]:
    return [
        f"{name} {pins[name]} is below {floor}: {why}"
        for name, (floor, why) in FLOORS.items()
        if name in pins and pins[name] < Version(floor)
    ]


@pytest.fixture(params=sorted(ROOT.glob("requirements*.txt")), ids=lambda file: file.name)
def pins(request: pytest.FixtureRequest) -> dict[str, Version]:
    return pins_of(request.param.read_text(encoding="utf-8"))


def test_no_pin_is_below_its_floor(pins) -> None:
    assert holes(pins) == []


def test_every_floor_is_of_a_package_that_is_pinned() -> None:
    pinned = set().union(
        *(pins_of(f.read_text(encoding="utf-8")) for f in ROOT.glob("requirements*.txt"))
    )
    assert set(FLOORS) <= pinned


def test_a_lowered_pin_is_seen() -> None:
    lowered = pins_of("h11==0.14.0 \\\n    --hash=sha256:0\njinja2==3.1.6\n")
    assert holes(lowered) == [f"h11 0.14.0 is below 0.16.0: {FLOORS['h11'][1]}"]


def test_every_pin_has_hashes() -> None:
    for file in ROOT.glob("requirements*.txt"):
        text = file.read_text(encoding="utf-8")
        for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in block, f"{file.name}: {block[:60]}"
