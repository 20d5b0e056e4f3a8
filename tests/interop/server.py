"""The server under test, as its environment describes it, and a few helpers."""

import os
import time

HOST = "127.0.0.1"
PORT = int(os.environ["COFFER_PORT"])
USER = "admin@pbs"
PASSWORD = os.environ["PBS_PASSWORD"]
# Snapshots of the group host/a in each datastore, oldest first.
TIMES = [int(time) for time in os.environ["COFFER_TIMES"].split()]
STORES = ["dev", "local"]


def equal(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, expected {expected!r}")


def refused(error, status, text, call):
    """The call must raise this error with this status and text."""
    try:
        answer = call()
    except error as problem:
        equal("status", problem.status_code, status)
        if text not in str(problem):
            raise AssertionError(f"refused with {problem}, expected {text!r}") from problem
        return
    raise AssertionError(f"not refused, expected {text!r}: {answer!r}")


def ended(api, upid, expected="OK"):
    """Waits for the end of a task."""
    for _ in range(1200):
        status = api.nodes("localhost").tasks(upid).status.get()
        if status["status"] == "stopped":
            equal(f"end of {upid}", status["exitstatus"], expected)
            return status
        time.sleep(0.1)
    raise AssertionError(f"{upid} does not end")
