"""``volc-moderation doctor``: checks what calls depend on, and says what to do about what is wrong."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from volc_moderation import ConfigurationError, SourceError, __version__
from volc_moderation.cli.environment import AccountNames, AccountsFile, Redis, open_quotas
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.terminal import Terminal, print_error, stderr, stdout
from volc_moderation.doctor.accounts import Account
from volc_moderation.doctor.doctor import Plan, examine
from volc_moderation.doctor.environment_accounts import environment_accounts
from volc_moderation.doctor.file_accounts import file_accounts
from volc_moderation.doctor.finding import Finding, Status, overall, report
from volc_moderation.printable import counted, printable_json
from volc_moderation.quotas.environment import REDIS_SCHEMES

#: How a status is shown: the word, and its style.
MARKS = {
    Status.OK: ("ok", "green"),
    Status.WARNING: ("warn", "yellow"),
    Status.FAILED: ("FAIL", "bold red"),
    Status.SKIPPED: ("skip", "dim"),
}


def doctor(
    *,
    account: AccountNames = (),
    accounts: AccountsFile | None = None,
    redis: Redis | None = None,
    journal: Path | None = None,
    webhook: str | None = None,
    sts: str | None = None,
    json: bool = False,
) -> int:
    """Check keys, clock, network, quotas, Redis, journal and webhook, and say what to do about what is wrong.

    It takes 30 s at most, and changes nothing. The exit code is 1 if a check fails.

    Parameters
    ----------
    account
        An account to check; by default each that has keys. It may be given several times. Without a file of accounts,
        accounts have the names of their vendors.
    accounts
        The file of accounts.
    redis
        The Redis of bulk and worker.
    journal
        A journal; it may be in use.
    webhook
        The address of your app for callbacks. No event is sent to it.
    sts
        Another address of Volcengine's STS, which tells whose the keys are. It is not asked about keys of an emulator.
    json
        Print JSON instead of a table.

    """
    console = stderr()
    try:
        plan = _plan(names=account, file=accounts, redis=redis, journal=journal, webhook=webhook, sts=sts)
    except (SourceError, ConfigurationError) as error:
        return print_error(console, error)
    began = time.monotonic()
    with console.status("Checking …"):
        found = asyncio.run(examine(plan))
    seconds = time.monotonic() - began
    if json:
        print(printable_json(report(found, version=__version__, seconds=seconds), indent=2))  # noqa: T201 - the output
    else:
        show(stdout(), found, seconds)
    return ExitCode.FAILURE if overall(found) is Status.FAILED else ExitCode.SUCCESS


def _plan(
    *,
    names: Sequence[str],
    file: Path | None,
    redis: str | None,
    journal: Path | None,
    webhook: str | None,
    sts: str | None,
) -> Plan:
    """Return what the options ask for. Raises ``SourceError`` and ``ConfigurationError``."""
    if redis and not redis.startswith(REDIS_SCHEMES):
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    return Plan(
        # An empty variable counts as unset.
        accounts=partial(file_accounts, file, names) if file not in {None, Path()} else partial(list, _select(names)),
        open_quotas=lambda: open_quotas(redis),
        redis=redis or None,
        journal=journal,
        webhook=webhook,
        sts_endpoint=sts,
    )


def _select(names: Sequence[str]) -> list[Account]:
    """Return the accounts of the environment with these names, or all of them. Raises ``SourceError``."""
    by_name = {account.name: account for account in environment_accounts()}
    for name in names:
        if name not in by_name:
            raise SourceError(f"--account: there is no account {name!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names or by_name)]


def show(console: Terminal, found: Sequence[Finding], seconds: float) -> None:
    """Print what the checks have found: a table for each subject, and a summary."""
    width = max(len(finding.check) for finding in found)
    for subject, findings in groupby(found, key=lambda finding: finding.subject):
        console.print(Text(subject.removeprefix("account:"), style="bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=6)
        table.add_column(width=width, no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            mark, style = MARKS[finding.status]
            is_quiet = finding.status is Status.SKIPPED
            table.add_row(
                Text(f"  {mark}", style=style),
                finding.check.replace("_", " "),
                console.render_str(finding.detail, style="dim" if is_quiet else ""),
            )
            if finding.next_step:
                table.add_row("", "", console.render_str(f"→ {finding.next_step}", style="cyan"))
        console.print(table)
    console.print(_summary(found, seconds), soft_wrap=True)


def _summary(found: Sequence[Finding], seconds: float) -> str:
    failures = sum(finding.status is Status.FAILED for finding in found)
    warnings = sum(finding.status is Status.WARNING for finding in found)
    words = [counted(failures, "failure")] if failures else []
    words += [counted(warnings, "warning")] if warnings else []
    return f"{' and '.join(words) or 'Nothing is wrong'}, checked in {seconds:.1f} s."
