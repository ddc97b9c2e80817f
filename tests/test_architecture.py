"""A file imports only from floors below it, and each library is imported in one place."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "volc_moderation"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

#: Each floor: its files, and the libraries that they may import besides the standard one.
FLOORS: list[tuple[tuple[str, ...], set[str]]] = [
    (("errors.py",), set()),
    (("event.py",), {"attrs"}),
    (("action.py",), {"attrs"}),
    (("credentials.py",), {"attrs"}),
    (("wire.py",), {"attrs", "cattrs"}),
    (("codes.py",), {"attrs"}),
    (("callback.py",), set()),
    (("volcengine/actions.py", "zego/actions.py", "volcengine/signing.py", "zego/signing.py"), {"attrs"}),
    (("volcengine/room.py", "volcengine/message.py", "zego/room.py", "zego/media_service.py"), {"attrs"}),
    (("zego/rules.py",), {"attrs"}),
    (("volcengine/protocol.py", "zego/protocol.py"), {"attrs"}),
    (("volcengine/callbacks.py", "zego/callbacks.py"), {"attrs"}),
    (("retry.py",), {"attrs", "tenacity"}),
    (("quotas/permit.py",), {"attrs"}),
    (("quotas/adaptive.py", "quotas/line.py", "quotas/round_trips.py"), set()),
    (("quotas/store.py",), {"attrs"}),
    (("quotas/window.py",), {"aiolimiter", "attrs"}),
    (("redis_client.py",), {"redis"}),
    (("quotas/shared_permit.py",), {"attrs"}),
    (("quotas/asker.py",), {"attrs"}),
    (("quotas/shared.py",), set()),
    (("quotas/__init__.py",), set()),
    (("gate.py",), set()),
    (("transport.py",), {"attrs", "httpx"}),
    (("call.py",), {"attrs"}),
    (("client.py",), {"attrs"}),
    (("volcengine/methods.py", "zego/methods.py"), set()),
    (("volcengine/client.py", "zego/client.py"), {"attrs"}),
    (("volcengine/__init__.py", "zego/__init__.py"), set()),
    (("__init__.py",), set()),
    (("texts.py",), {"attrs"}),
    (("printable.py",), set()),
    (("jobs/job.py",), {"attrs"}),
    (("jobs/schema.py",), set()),
    (("jobs/journal_file.py",), set()),
    (("jobs/journal.py",), {"attrs"}),
    (("jobs/steady_clock.py",), set()),
    (("jobs/outcome.py",), {"attrs"}),
    (("jobs/event.py",), {"attrs"}),
    (("jobs/journal_thread.py",), {"attrs"}),
    (("jobs/clients.py",), {"attrs"}),
    (("jobs/attempt.py",), set()),
    (("jobs/lane.py",), {"attrs"}),
    (("jobs/runner.py",), set()),
    (("jobs/jobs.py",), set()),
    (("jobs/batch.py", "jobs/queue_records.py"), set()),
    (("jobs/queue.py",), {"redis"}),
    (("jobs/worker.py",), set()),
    (("jobs/distributed.py",), set()),
    (("jobs/follow.py",), {"attrs"}),
    (("jobs/sources.py",), {"attrs", "pyarrow"}),
    (("jobs/rows.py",), {"attrs"}),
    (("jobs/load.py",), {"attrs"}),
    (("jobs/charts.py",), {"attrs"}),
    (("jobs/report.py",), {"attrs"}),
    (("jobs/__init__.py",), set()),
    (("webhooks/seen.py",), set()),
    (("webhooks/app.py",), {"attrs", "starlette"}),
    (("webhooks/__init__.py",), set()),
    (("emulator/memory.py",), set()),
    (("emulator/counter.py", "emulator/faults.py"), {"attrs"}),
    (("emulator/vendor.py",), {"attrs"}),
    (("emulator/rooms.py",), {"attrs"}),
    (("emulator/volcengine/parameters.py", "emulator/zego/parameters.py"), set()),
    (("emulator/volcengine/people.py", "emulator/zego/people.py", "emulator/zego/forbidding.py"), {"attrs"}),
    (("emulator/volcengine/moderation.py", "emulator/zego/moderation.py"), {"attrs"}),
    (("emulator/volcengine/webcast.py",), set()),
    (("emulator/volcengine/account.py", "emulator/zego/project.py"), set()),
    (("emulator/volcengine/__init__.py", "emulator/zego/__init__.py"), set()),
    (("emulator/deliveries.py",), {"attrs", "httpx"}),
    (("emulator/request.py", "emulator/guard.py"), {"starlette"}),
    (("emulator/app.py",), {"attrs", "httpx", "starlette"}),
    (("emulator/server.py",), {"attrs", "httpx", "uvicorn"}),
    (("emulator/__init__.py", "emulator/__main__.py"), set()),
    (("testing.py",), {"attrs", "httpx", "pytest"}),
    (("cli/call.py",), {"attrs", "cyclopts"}),
    (("cli/terminal.py",), {"rich"}),
    (("cli/progress.py",), {"attrs", "rich"}),
    (("cli/rate.py",), {"attrs", "cyclopts"}),
    (("cli/environment.py",), {"attrs", "cyclopts"}),
    (("cli/output.py",), set()),
    (("cli/run.py",), {"attrs"}),
    (("cli/files.py",), set()),
    (("cli/bulk.py", "cli/jobs.py", "cli/worker.py"), {"cyclopts", "rich"}),
    (("cli/swept_room.py",), {"attrs"}),
    (("cli/sweep.py",), {"cyclopts", "rich"}),
    (("cli/emulator.py",), {"cyclopts"}),
    (("cli/demo.py",), {"attrs", "cyclopts", "rich"}),
    (("cli/app.py",), {"cyclopts"}),
    (("cli/__init__.py",), set()),
]
LEVEL = {file: level for level, (files, _) in enumerate(FLOORS) for file in files}
LIBRARIES = {"aiolimiter", "attrs", "cattrs", "cyclopts", "httpx", "httpx2", "rich", "starlette", "tenacity", "uvicorn"}
LIBRARIES |= {"fastapi", "pyarrow", "pytest", "redis"}
#: What would make a rule impure.
IO = {"asyncio", "socket", "random", "secrets", "ssl"}
#: What would tell the time.
CLOCKS = re.compile(r"\b(time\.(time|monotonic)|now|utcnow|today)\(")
PURE = LEVEL["retry.py"]


def imports(file: str) -> set[str]:
    """Return the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if own_file(name) else node.module for name in names}
    return found


def own_file(module: str) -> str | None:
    """Return the file of a module of this package."""
    path = module.removeprefix("volc_moderation").lstrip(".").replace(".", "/")
    return next((one for one in (f"{path}.py", f"{path}/__init__.py".lstrip("/")) if one in FILES), None)


def test_every_file_has_a_floor() -> None:
    assert sorted(LEVEL) == FILES


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down(file: str) -> None:
    for module in imports(file):
        if module.split(".")[0] == "volc_moderation":
            imported = own_file(module)
            assert imported is not None
            assert LEVEL[imported] < LEVEL[file], f"{file} imports {module}"
        elif module.split(".")[0] in LIBRARIES:
            assert module.split(".")[0] in FLOORS[LEVEL[file]][1], f"{file} imports {module}"


@pytest.mark.parametrize("file", [file for file in FILES if LEVEL[file] <= PURE])
def test_rules_are_pure(file: str) -> None:
    assert not {module.split(".")[0] for module in imports(file)} & IO
    assert not CLOCKS.search((PACKAGE / file).read_text())


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("emulator/")])
def test_the_judge_shares_nothing_with_the_judged(file: str) -> None:
    """The emulator's signatures, quotas and rules are code of its own."""
    own = {module for module in imports(file) if module.startswith("volc_moderation")}
    assert all(module.startswith("volc_moderation.emulator") for module in own)


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file: str) -> None:
    assert len((PACKAGE / file).read_text().splitlines()) <= 400
