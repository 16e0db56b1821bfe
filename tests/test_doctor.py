"""`cams-mcp doctor`: the program itself, against real servers and broken surroundings."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import socket
import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support import serving
from support_cli import run, run_here

from cams_mcp.approval import browser
from cams_mcp.cli.checks import check_approval, check_clients, check_packages, check_python
from cams_mcp.cli.doctor import examine
from cams_mcp.cli.remote_checks import check_clock, mask
from cams_mcp.sandbox import Fault, Faults, Sandbox, sandbox_app
from cams_mcp.sandbox.service import SANDBOX_KEY
from cams_mcp.settings import Settings
from cams_mcp.store import FILE_NAME, Store

OFFLINE = {"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}
"""No look at the address where a machine of Alibaba Cloud would tell its role."""
KEY = {"CAMS_MCP_ACCESS_KEY_ID": SANDBOX_KEY.id, "CAMS_MCP_ACCESS_KEY_SECRET": SANDBOX_KEY.secret}
OFFICIAL_KEY = {"ALIBABA_CLOUD_ACCESS_KEY_ID": SANDBOX_KEY.id, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SANDBOX_KEY.secret}

Line = dict[str, str | None]


def doctor(
    home: Path, *arguments: str, env: dict[str, str] | None = None, asks_chain: bool = False
) -> tuple[int, dict[str, Line]]:
    """The exit status, and the checks by their names.

    Args:
        asks_chain: the official chain is asked, which remembers the environment of its process.
    """
    start = run if asks_chain else run_here
    result = start(home, "doctor", "--json", *arguments, env=OFFLINE | (env or {}))
    assert result.stderr == ""
    assert SANDBOX_KEY.secret not in result.stdout
    checks = json.loads(result.stdout)
    assert all(list(check) == ["check", "status", "detail", "action"] for check in checks)
    assert all(check["action"] for check in checks if check["status"] != "ok")
    return result.returncode, {check["check"]: check for check in checks}


def failures(checks: dict[str, Line]) -> set[str | None]:
    return {check["check"] for check in checks.values() if check["status"] == "failure"}


@pytest.fixture
def url(sandbox: Sandbox) -> Generator[str]:
    with serving(sandbox_app(sandbox)) as address:
        yield address


def faulty(fault: str) -> Sandbox:
    return Sandbox(Faults([Fault.parse(fault)]))


# All is well


def test_nothing_fails_with_the_sandbox(tmp_path: Path) -> None:
    status, checks = doctor(tmp_path, "--sandbox")

    assert status == 0
    assert failures(checks) == set()
    assert set(checks) == {
        "python",
        "packages",
        "credentials",
        "endpoint",
        "clock",
        "read",
        "state",
        "approval",
        "clients",
    }
    assert all(check["status"] == "ok" for name, check in checks.items() if name != "clients")


def test_nothing_fails_over_real_http(tmp_path: Path, url: str, sandbox: Sandbox) -> None:
    status, checks = doctor(tmp_path, "--endpoint", url, env=OFFICIAL_KEY, asks_chain=True)

    assert status == 0
    assert all(check["status"] == "ok" for name, check in checks.items() if name != "clients")
    assert "default credential chain (env)" in str(checks["credentials"]["detail"])
    assert checks["read"]["detail"] == "cams:ListInstance is allowed; 240 channel instances."
    assert [call.action for call in sandbox.calls] == ["ListInstance"]


def test_a_person_sees_a_line_a_check_and_what_to_do(tmp_path: Path) -> None:
    result = run_here(tmp_path, "doctor", "--sandbox", env=OFFLINE)

    assert (result.returncode, result.stderr) == (0, "")
    assert "ok       read            cams:ListInstance is allowed" in result.stdout
    assert "-> Run: cams-mcp config CLIENT" in result.stdout


# Credentials


def test_missing_credentials_are_said_and_what_follows_is_not_checked(tmp_path: Path, url: str) -> None:
    status, checks = doctor(tmp_path, "--endpoint", url, asks_chain=True)

    assert status == 1
    assert failures(checks) == {"credentials"}
    assert "aliyun configure" in str(checks["credentials"]["action"])
    assert checks["read"]["status"] == "warning"
    assert "Not checked: credentials failed" in str(checks["read"]["detail"])


def test_a_profile_of_the_official_tool_is_named_as_the_origin(tmp_path: Path, url: str) -> None:
    profile = {"name": "work", "mode": "AK", "access_key_id": SANDBOX_KEY.id, "access_key_secret": SANDBOX_KEY.secret}
    (tmp_path / ".aliyun").mkdir()
    (tmp_path / ".aliyun" / "config.json").write_text(json.dumps({"current": "other", "profiles": [profile]}))

    status, checks = doctor(tmp_path, "--endpoint", url, env={"ALIBABA_CLOUD_PROFILE": "work"}, asks_chain=True)

    assert status == 0
    assert "cli_profile" in str(checks["credentials"]["detail"])


@pytest.mark.parametrize(
    ("key_id", "shown"), [("LTAI5tMadeUpKeyId0001", "LTAI***001"), ("sandbox-id", "sa***"), ("a", "a***")]
)
def test_an_access_key_id_shows_its_ends_only(key_id: str, shown: str) -> None:
    assert mask(key_id) == shown


def test_a_wrong_secret_is_told_by_the_call(tmp_path: Path, url: str) -> None:
    status, checks = doctor(
        tmp_path, "--endpoint", url, "--access-key-id", "LTAI5tMadeUpKeyId0001", "--access-key-secret", "made-up-secret"
    )

    assert status == 1
    assert failures(checks) == {"read"}
    assert "InvalidAccessKeyId.NotFound" in str(checks["read"]["detail"])
    assert "LTAI***001, from --access-key-id" in str(checks["credentials"]["detail"])
    assert "LTAI5tMadeUpKeyId0001" not in json.dumps(checks)
    assert "made-up-secret" not in json.dumps(checks)


# The way to CAMS


def test_offline_says_what_could_not_be_checked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    status, checks = doctor(tmp_path, "--endpoint", f"http://127.0.0.1:{port}", env=KEY)

    assert status == 1
    assert failures(checks) == {"endpoint"}
    assert "HTTPS_PROXY" in str(checks["endpoint"]["action"])
    assert {checks[name]["status"] for name in ("clock", "read")} == {"warning"}
    assert str(checks["clock"]["detail"]).startswith("Not checked")
    assert "Not checked: endpoint failed" in str(checks["read"]["detail"])


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(tmp_path: Path) -> None:
    proxy = {"ALL_PROXY": "socks9://someone:made-up-password@example.com"}
    status, checks = doctor(tmp_path, "--endpoint", "https://cams.example.com", env=KEY | proxy)

    assert status == 1
    assert failures(checks) == {"endpoint"}
    assert "made-up-password" not in json.dumps(checks)


def test_the_requests_go_through_the_proxy_of_the_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with serving(sandbox_app(Sandbox())) as proxy:
        environment = KEY | {"HTTP_PROXY": proxy, "NO_PROXY": ""}
        _, checks = doctor(tmp_path, "--endpoint", f"http://localhost:{port}", env=environment)

    assert checks["endpoint"]["status"] == "ok"


def test_a_self_signed_certificate_fails_and_its_bundle_mends_it(tmp_path: Path, sandbox: Sandbox) -> None:
    certificate, key = self_signed(tmp_path)
    with serving(sandbox_app(sandbox), ssl_certfile=certificate, ssl_keyfile=key) as address:
        endpoint = address.replace("http://127.0.0.1", "https://localhost")
        status, checks = doctor(tmp_path, "--endpoint", endpoint, env=KEY)
        mended, again = doctor(tmp_path, "--endpoint", endpoint, env=KEY | {"SSL_CERT_FILE": str(certificate)})

    assert status == 1
    assert failures(checks) == {"endpoint"}
    assert "untrusted certificate" in str(checks["endpoint"]["detail"])
    assert "SSL_CERT_FILE" in str(checks["endpoint"]["action"])
    assert mended == 0
    assert "its certificate is trusted" in str(again["endpoint"]["detail"])


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost that only its own file vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


# Clock and permission


def test_a_wrong_clock_fails_with_the_difference(tmp_path: Path) -> None:
    with serving(sandbox_app(faulty("clock"))) as address:
        status, checks = doctor(tmp_path, "--endpoint", address, env=KEY)

    assert status == 1
    assert failures(checks) == {"clock", "read"}
    assert "behind the service's" in str(checks["clock"]["detail"])
    assert "Set the clock" in str(checks["clock"]["action"])


@pytest.mark.parametrize(
    ("off", "status"), [(0, "ok"), (60, "ok"), (-60, "ok"), (61, "warning"), (-900, "warning"), (901, "failure")]
)
def test_a_clock_is_judged_by_what_the_service_accepts(off: int, status: str) -> None:
    now = dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC)

    assert check_clock(Settings(), now + dt.timedelta(seconds=off), now).status == status


def test_a_denied_call_names_the_action_and_where_the_policy_is(tmp_path: Path) -> None:
    with serving(sandbox_app(faulty("denied"))) as address:
        status, checks = doctor(tmp_path, "--endpoint", address, env=KEY)

    assert status == 1
    assert failures(checks) == {"read"}
    assert "cams:ListInstance" in str(checks["read"]["detail"])
    assert "cams-mcp ram-policy" in str(checks["read"]["action"])


# The state directory


def test_a_state_directory_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, checks = doctor(tmp_path, "--sandbox", "--state-dir", str(tmp_path / "file" / "state"))

    assert status == 1
    assert failures(checks) == {"state"}
    assert "--state-dir" in str(checks["state"]["action"])


def test_a_link_to_nowhere_is_no_state_directory(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert failures(doctor(tmp_path, "--sandbox", "--state-dir", str(tmp_path / "link"))[1]) == {"state"}


def test_a_state_directory_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    status, checks = doctor(tmp_path, "--sandbox", "--state-dir", str(tmp_path / "deep" / "state"))

    assert status == 0
    assert checks["state"]["detail"] == "~/deep/state will be created when needed."
    assert not (tmp_path / "deep").exists()


def test_a_state_directory_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    state.chmod(0o755)

    checks = doctor(tmp_path, "--sandbox", "--state-dir", str(state))[1]
    assert (checks["state"]["status"], checks["state"]["action"]) == ("warning", "Run: chmod 700 ~/state")


def test_a_record_is_opened(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    store.digest("anything")
    store.close()
    status, checks = doctor(tmp_path, "--sandbox", "--state-dir", str(tmp_path / "state"))
    assert (status, checks["state"]["detail"]) == (0, "~/state is writable.")

    (tmp_path / "state" / FILE_NAME).write_bytes(b"not a database " * 100)
    with pytest.raises(sqlite3.DatabaseError), sqlite3.connect(tmp_path / "state" / FILE_NAME) as database:
        database.execute("SELECT * FROM audit")
    database.close()
    status, checks = doctor(tmp_path, "--sandbox", "--state-dir", str(tmp_path / "state"))
    assert status == 1
    assert failures(checks) == {"state"}


# Clients, Python, packages


def test_clients_that_are_there_are_listed_without_the_users_name(tmp_path: Path) -> None:
    for name, text in ((".cursor/mcp.json", '{"mcpServers": {"x": {"command": "cams-mcp"}}}'), (".claude.json", "{}")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    checks = doctor(tmp_path, "--sandbox")[1]

    assert "clients" not in checks
    assert checks["client cursor"]["detail"] == "~/.cursor/mcp.json mentions cams-mcp."
    assert checks["client claude-code"]["action"] == "To connect it: cams-mcp config claude-code"
    assert str(tmp_path) not in json.dumps(checks)


def test_a_client_file_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / ".cursor" / "mcp.json").mkdir(parents=True)

    first, last = check_clients("linux", {"HOME": str(tmp_path)})

    assert (first.check, first.status) == ("client cursor", "warning")
    assert "Cannot read" in first.detail
    assert last.check == "clients"


def test_without_a_home_directory_clients_are_not_checked() -> None:
    (only,) = check_clients("linux", {})

    assert only.status == "warning"
    assert only.detail.startswith("Not checked")


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), "failure"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok")])
def test_python_is_judged_by_what_the_package_declares(version: tuple[int, ...], status: str) -> None:
    assert check_python(version).status == status


@pytest.mark.parametrize(("version", "status"), [("2.2.9", "failure"), ("3.0", "failure"), ("3.0.0rc1", "failure")])
def test_a_package_out_of_its_range_is_named(version: str, status: str) -> None:
    check = check_packages(lambda name: version if name == "mcp" else importlib.metadata.version(name))

    assert check.status == status
    assert f"mcp {version} does not satisfy" in check.detail


def test_the_packages_of_this_installation_are_as_declared() -> None:
    check = check_packages()

    assert check.status == "ok"
    assert {"cams-mcp", "mcp", "httpx", "pydantic"} <= {part.split(" ")[0] for part in check.detail.split(", ")}


async def test_upload_folders_are_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()

    checks = await examine(Settings(sandbox=True, upload_dirs=(folder,)), "linux", {"HOME": str(tmp_path)})
    left_out = await examine(
        Settings(sandbox=True, upload_dirs=(folder,), read_only=True), "linux", {"HOME": str(tmp_path)}
    )

    assert [(check.status, check.detail) for check in checks if check.check == "uploads"] == [
        ("ok", f"Files in {folder} can be uploaded.")
    ]
    assert [check.status for check in left_out if check.check == "uploads"] == ["warning"]


DESKTOP = {"DISPLAY": ":0"}


@pytest.mark.parametrize(
    ("settings", "platform", "environment", "status", "words"),
    [
        (Settings(), "darwin", {}, "ok", "On a page in the browser"),
        (Settings(confirm="person"), "linux", {"SSH_TTY": "/dev/pts/1"}, "ok", "otherwise with `cams-mcp approve`"),
        (Settings(), "linux", {"SSH_TTY": "/dev/pts/1"}, "ok", "the server runs in an SSH session"),
        (Settings(confirm="page"), "linux", {"SSH_TTY": "/dev/pts/1"}, "warning", "may not open"),
        (Settings(confirm="card"), "linux", DESKTOP, "ok", "On a card"),
        (Settings(confirm="token"), "linux", DESKTOP, "ok", "In two steps"),
        (Settings(confirm="off"), "linux", DESKTOP, "warning", "without approval"),
        (Settings(confirm="off", read_only=True), "linux", DESKTOP, "ok", "No writes"),
    ],
)
def test_it_says_where_a_person_approves(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    platform: str,
    environment: dict[str, str],
    status: str,
    words: str,
) -> None:
    monkeypatch.setattr(browser, "_CONTAINER_FILES", ())

    check = check_approval(settings, platform, environment)

    assert check.status == status
    assert words in check.detail
