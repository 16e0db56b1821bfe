from __future__ import annotations

import re

import click
from generate import ROOT

from cams_mcp.api.throttle import LONGEST_WAIT_SECONDS
from cams_mcp.cli import cli
from cams_mcp.http.auth.keys import FETCH_INTERVAL_SECONDS, FETCH_TIMEOUT_SECONDS, LONGEST_USE_SECONDS, MAX_AGE_SECONDS
from cams_mcp.http.auth.token_file import LEAST_TOKEN_LENGTH
from cams_mcp.http.health import ALIVE_PATH, CACHE_SECONDS, READY_PATH
from cams_mcp.settings import HttpSettings, options_of

TEXT = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
SERVE = cli.get_command(click.Context(cli), "serve")
OPTIONS = {name: option for option in SERVE.params for name in option.opts}


def test_every_option_it_names_exists() -> None:
    named = set(re.findall(r"--[a-z][a-z-]+", TEXT))

    assert named <= OPTIONS.keys()


def test_every_option_for_http_is_explained() -> None:
    of_http = {option.opts[0] for option in OPTIONS.values() if option.name in options_of(HttpSettings)}

    assert [name for name in of_http if name not in TEXT] == ["--port"]


def test_the_figures_it_gives_are_those_of_the_code() -> None:
    assert (FETCH_INTERVAL_SECONDS, FETCH_TIMEOUT_SECONDS, MAX_AGE_SECONDS, LONGEST_USE_SECONDS) == (
        10,
        5,
        3600,
        86_400,
    )
    assert (LONGEST_WAIT_SECONDS, CACHE_SECONDS) == (30, 5)
    assert ALIVE_PATH in TEXT
    assert READY_PATH in TEXT
    assert all(len(token) >= LEAST_TOKEN_LENGTH for token in re.findall(r"^reports +(\S+)", TEXT, re.MULTILINE))
