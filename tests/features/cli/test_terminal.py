"""A text from data is only a text in a terminal, too."""

from __future__ import annotations

import io

import pytest
from keepwell_command import run_keepwell
from rich.table import Table

from features.cli import options
from features.cli.terminal import Terminal

HOSTILE = (
    "[bold red]gone[/bold red]",
    "[link=https://evil.example]here[/link]",
    "[/] not closed",
    ":bomb: ${HOME} %s {0}",
    "\x1b[2J\x1b[H\x1b]0;title\x07",
    "all well\r\x9b1A\b\b\b",
    "\u202eesrever\u2066\u2028",
)


def shown(*things: object) -> str:
    written = io.StringIO()
    console = Terminal(file=written, force_terminal=True, color_system=None, width=200)
    for thing in things:
        console.print(thing)
    return written.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_shown_as_it_is_and_steers_nothing(text):
    table = Table("name", text, box=None)
    table.add_row(text, text)
    written = shown(text, table)
    assert not any(ord(letter) < 32 and letter != "\n" for letter in written)
    assert not set(written) & {"\x7f", "\x9b", "\u202e", "\u2066", "\u2028"}
    if text.isprintable():
        assert written.count(text) == 4


def test_lines_and_tabs_stay():
    assert shown("one\n\ttwo").split() == ["one", "two"]
    assert shown("one\n\ttwo").count("\n") == 2


def test_the_consoles_of_all_commands_are_such():
    assert isinstance(options.out, Terminal)
    assert isinstance(options.err, Terminal)


def test_a_command_shows_what_it_refuses(tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "workspace.toml").write_text("complete_until = 2026-03-01T00:00:00Z\n")
    files = tmp_path / "files"
    files.mkdir()
    (files / "use.csv").write_bytes(
        b"company,at,kind,n\n"
        b"a,2026-02-01T00:00:00Z,feature.used,1\n"
        b"a,2026-02-01T00:00:00Z,feature.used,\x1b[2J[bold]lots[/bold]:bomb:\n"
    )
    (tmp_path / "mapping.toml").write_text(
        'name = "crm"\n[tables.use]\nfiles = ["*.csv"]\naccount = "company"\nkind_column = "kind"\n'
        'occurred_at = "at"\nquantity = "n"\nrecorded_delay = "0s"\n'
    )
    done = run_keepwell(
        "ingest", "files", "--mapping", "mapping.toml", "--workspace", "ws", cwd=tmp_path
    )
    assert "[bold]lots[/bold]:bomb:" in done.stdout, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
