"""Runs all benchmarks, one after the other, in about a hundred minutes: ``python -m benchmarks``.

Each writes its JSON and its picture to ``results/``. Fails if any of them misses a goal.
"""

import subprocess
import sys

BENCHMARKS = (
    "signing",
    "telemetry",
    "startup",
    "throughput",
    "webhooks",
    "quota",
    "burst",
    "idle",
    "routes",
    "waiters",
    "shared",
    "recovery",
    "web",
    "jobs",
    "submits",
    "lead",
    "web_jobs",
    "distributed",
    "fleet",
    "fleet_simulation",
)


def main() -> None:
    failed = [
        name
        for name in BENCHMARKS
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode  # noqa: S603 - our own
    ]
    if failed:
        raise SystemExit(f"missed a goal: {', '.join(failed)}")


if __name__ == "__main__":
    main()
