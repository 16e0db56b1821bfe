"""An option is stated once, and everything else follows from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cams_mcp.api.client import ClientOptions
from cams_mcp.app import check, policy_of
from cams_mcp.guard.policy import Policy
from cams_mcp.settings import GROUPS, OPTIONS, HttpSettings, Program, Settings, options_of
from cams_mcp.upload.runner import Limits


@pytest.mark.parametrize(
    ("name", "flag", "variable"),
    [
        ("store", "--store", "CAMS_MCP_STORE"),
        ("access_key_id", "--access-key-id", "CAMS_MCP_ACCESS_KEY_ID"),
        ("upload_dirs", "--upload-dir", "CAMS_MCP_UPLOAD_DIR"),
        ("faults", "--fault", "CAMS_MCP_FAULT"),
        ("max_sessions", "--max-sessions", "CAMS_MCP_MAX_SESSIONS"),
        ("allow_audience", "--allow-audience", "CAMS_MCP_ALLOW_AUDIENCE"),
    ],
)
def test_flag_and_variable_follow_from_the_name(name: str, flag: str, variable: str) -> None:
    assert (OPTIONS[name].flag, OPTIONS[name].variable) == (flag, variable)


def test_no_two_options_share_a_name_a_flag_or_a_variable() -> None:
    number = sum(len(options_of(settings)) for settings in (Settings, Program, HttpSettings))

    assert len({option.flag for option in OPTIONS.values()}) == len(OPTIONS) == number


def test_every_option_has_a_group_a_help_and_a_default_within_its_bounds() -> None:
    for option in OPTIONS.values():
        assert option.group in GROUPS
        assert option.help.endswith(".")
        if option.least is not None and option.default is not None:
            assert option.least <= option.default <= (option.most or option.default)
        if option.choices:
            assert option.default in option.choices


@pytest.mark.parametrize(
    ("name", "kind"),
    [("timeout", float), ("cams_per_second", float), ("retries", int), ("state_dir", Path), ("upload_dirs", Path)],
)
def test_the_type_of_a_value_is_that_of_the_field(name: str, kind: type) -> None:
    assert OPTIONS[name].value_type is kind


def test_a_secret_stays_out_of_the_repr() -> None:
    secrets = {option.name for option in OPTIONS.values() if option.secret}
    made_up = dict.fromkeys(secrets, "made-up")

    assert secrets == {"access_key_id", "access_key_secret", "security_token", "store"}
    assert "made-up" not in repr(Settings(**made_up))


def test_the_defaults_are_valid_settings() -> None:
    check(Settings())
    HttpSettings()


def test_classes_that_take_an_option_have_its_default() -> None:
    settings, options = Settings(), ClientOptions()

    assert policy_of(settings) == Policy()
    assert (options.users_in, options.timeout, options.retries) == (
        settings.users_in,
        settings.timeout,
        settings.retries,
    )
    assert Limits().encoded_bytes == settings.batch_bytes


def test_importing_the_settings_and_the_wiring_is_cheap() -> None:
    code = "import sys, cams_mcp.settings, cams_mcp.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert {"pydantic", "click", "mcp", "httpx", "sqlite3", "platformdirs"}.isdisjoint(done.stdout.split())
