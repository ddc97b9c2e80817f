"""The command ``doctor``, as people and programs see it."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.findings import statuses
from tests.doubles import KEYS, environment, free_port
from tests.volcengine.credentials.http_double import HANG, HTTPDouble
from volc_moderation.cli.app import run
from volc_moderation.doctor import doctor
from volc_moderation.doctor.finding import Finding, Status
from volc_moderation.jobs.journal import Journal
from volc_moderation.testing import ModerationEmulator

pytestmark = pytest.mark.slow  # hundreds of one kind

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def run_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Return a function that runs the command, and returns its exit code and output."""
    monkeypatch.setenv("COLUMNS", "120")

    def run_doctor(*options: str) -> tuple[int, str]:
        code = run(["doctor", *options])
        output, errors = capsys.readouterr()
        return code, output + errors

    return run_doctor


def findings(output: str) -> dict[str, dict[str, str]]:
    """Return the status of each check by subject, as the JSON has it."""
    found: dict[str, dict[str, str]] = {}
    for one in json.loads(output)["checks"]:
        finding = Finding(**one | {"status": Status(one["status"])})
        assert statuses([finding])
        assert finding.check not in found.setdefault(finding.subject, {})
        found[finding.subject][finding.check] = finding.status.value
    return found


def test_nothing_is_wrong(moderation_emulator: ModerationEmulator, run_doctor: Doctor, tmp_path: Path) -> None:
    journal = tmp_path / "calls.journal"
    Journal(journal).close()
    code, output = run_doctor("--journal", str(journal))
    assert code == 0, output
    subjects = [line for line in output.splitlines() if not line.startswith(" ")]
    assert subjects[:-1] == ["package", "volcengine", "zego", "quotas", "journal"]
    assert subjects[-1].startswith("Nothing is wrong, checked in ")
    assert KEYS.secret_key not in output.split()
    code, output = run_doctor("--account", "volcengine", "--account", "volcengine", "--json")
    assert code == 0
    assert list(findings(output)) == ["package", "account:volcengine", "quotas"]
    assert json.loads(output)["status"] == "ok"


def test_everything_is_wrong(run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure says what to do, and nothing shows a secret."""
    port = free_port()
    for name, value in environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "AKLTsecret-word")
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "secret-word")
    monkeypatch.setenv("ZEGO_SERVER_SECRET", "secret-word")
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", f"redis://:secret-word@127.0.0.1:{port}/1")
    options = [
        *("--redis", f"redis://user:secret-word@127.0.0.1:{port}"),
        *("--journal", "/nonexistent/calls.journal"),
        *("--webhook", f"http://127.0.0.1:{port}/secret-path"),
        *("--sts", f"http://127.0.0.1:{port}"),
    ]
    code, output = run_doctor(*options)
    assert code == 1
    assert output.count("  FAIL  ") + output.count("  warn  ") == output.count("→")
    assert "failures and 1 warning, checked in" in output
    assert "secret" not in output.replace("ZEGO_SERVER_SECRET", "")
    code, output = run_doctor(*options, "--json")
    assert code == 1
    found = findings(output)
    failed = {subject for subject, checks in found.items() if "failed" in checks.values()}
    assert failed == {"account:volcengine", "account:zego", "quotas", "redis", "journal", "webhook"}
    assert found["quotas"] == {"store": "failed", "connection": "failed"}
    assert "secret-word" not in output


def test_no_keys_at_all(run_doctor: Doctor) -> None:
    code, output = run_doctor("--json")
    assert code == 1
    found = findings(output)
    assert found["account:volcengine"] == found["account:zego"] == {"keys": "skipped"}
    assert found["accounts"] == {"keys": "failed"}


def test_warnings_do_not_fail(moderation_emulator: ModerationEmulator, run_doctor: Doctor, tmp_path: Path) -> None:
    journal = tmp_path / "calls.journal"
    Journal(journal).close()
    journal.chmod(0o644)
    code, output = run_doctor("--account", "zego", "--journal", str(journal), "--json")
    assert (code, json.loads(output)["status"]) == (0, "warning")


def test_accounts_of_a_file(
    moderation_emulator: ModerationEmulator, run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "accounts.toml"
    account = '[accounts.{}]\nvendor = "zego"\napp_id = {}\nserver_secret = {{ env = "ZEGO_SERVER_SECRET" }}\n'
    url = f'base_url = "{moderation_emulator.base_url}"\n'
    file.write_text(account.format("eu", KEYS.app_id) + url + account.format("us", 5) + url)
    monkeypatch.setenv("VOLC_MODERATION_ACCOUNTS", str(file))
    code, output = run_doctor("--json")
    found = findings(output)
    assert code == 1
    assert found["account:eu"]["signed_read"] == "ok"
    assert found["account:us"]["signed_read"] == "failed"
    assert run_doctor("--account", "eu")[0] == 0
    monkeypatch.setenv("VOLC_MODERATION_ACCOUNTS", "")
    assert "account:volcengine" in findings(run_doctor("--json")[1])
    code, output = run_doctor("--json", "--accounts", str(tmp_path / "none.toml"))
    assert code == 1
    assert findings(output)["accounts"] == {"file": "failed"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--account", "other"], "there is no account 'other'; there are volcengine, zego"),
        (["--redis", "localhost:6379"], "--redis must be an address such as"),
    ],
)
def test_options_that_are_wrong(run_doctor: Doctor, options: list[str], text: str) -> None:
    code, output = run_doctor(*options)
    assert code == 2
    assert text in output


def test_a_lookup_that_hangs_holds_up_nothing(run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> Any:
        ended.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(doctor, "TOTAL_TIMEOUT", 0.2)
    for name, value in environment("http://localhost:9").items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    try:
        code, output = run_doctor("--json", "--webhook", "http://localhost:9/")
    finally:
        ended.set()
    assert code == 1
    assert time.monotonic() - began < 2
    found = findings(output)
    assert found["webhook"] == found["account:zego"] == {"time": "failed"}


def test_a_check_that_breaks_hides_no_other(run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(*_: Any) -> Any:
        raise RuntimeError("a secret")

    monkeypatch.setattr(doctor, "check_journal", check)
    code, output = run_doctor("--json", "--journal", "calls.journal")
    assert code == 1
    assert findings(output)["journal"] == {"file": "failed"}
    assert "the check itself failed: RuntimeError" in output
    assert "a secret" not in output


def test_certificates_that_cannot_be_read(run_doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    monkeypatch.setenv("VOLCENGINE_RTC_BASE_URL", "https://localhost:9")
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "key")
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"https://127.0.0.1:{listening.getsockname()[1]}"
        code, output = run_doctor("--json", "--webhook", address, "--account", "volcengine")
    assert code == 1
    found = findings(output)
    assert found["webhook"] == {"response": "failed"}
    assert found["account:volcengine"]["http_client"] == found["package"]["http_client"] == "failed"
    assert output.count("httpx cannot use the proxies or certificates of the environment") == 3


@pytest.mark.slow
async def test_an_interrupt_ends_it_at_once() -> None:
    async with HTTPDouble(lambda _: HANG) as double:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "volc_moderation", "doctor"),
            env=os.environ | environment(double.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        while not double.requests:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(process.communicate(), 3)
    assert (process.returncode, output, errors) == (130, b"", b"")


def test_text_of_others_cannot_control_the_terminal(
    moderation_emulator: ModerationEmulator, run_doctor: Doctor, tmp_path: Path
) -> None:
    code, output = run_doctor("--account", "zego", "--journal", str(tmp_path / "\x1b[2Jcalls[red]\n"))
    assert code == 1
    assert "\x1b" not in output
    assert "\\x1b[2Jcalls[red]\\n" in output.replace(" ", "").replace("\n", "")
