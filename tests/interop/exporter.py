"""Prometheus exporters against the server, with a token that may only look.

pbs-exporter (PyPI) is started and scraped. The Go exporter natrontech/pbs-exporter cannot be had
from the Go module proxy ("This module version is not available"): what it asks is asked, and its
strict types are checked, which is what makes it fail.
"""

import os
import threading

import requests
from pbs_exporter import create_app
from proxmoxer import ProxmoxAPI
from prometheus_client.parser import text_string_to_metric_families
from werkzeug.serving import make_server

from server import HOST, PASSWORD, PORT, STORES, TIMES, USER, equal

BASE = f"https://{HOST}:{PORT}"


def token_that_may_look(api):
    """Of a user who may look, as the token needs it; `Audit` is what exporters ask for."""
    name = "prometheus@pbs"
    api.access.users.post(userid=name, password="never-used-again")
    token = api.access.users(name).token("exporter").post()
    for who in [name, token["tokenid"]]:
        api.access.acl.put(path="/", role="Audit", **{"auth-id": who})
    return f"{token['tokenid']}:{token['value']}"


def samples(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(api, token):
    """The exporter as a server on a port of its own."""
    server = make_server(HOST, 0, create_app(BASE, token))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        answer = requests.get(f"http://{HOST}:{server.port}/metrics", timeout=60)
    finally:
        server.shutdown()
        thread.join()
    equal("status", (answer.status_code, answer.text[:300] if answer.status_code != 200 else ""), (200, ""))
    found = samples(answer.text)
    node = (("node", "localhost"),)
    status = api.nodes("localhost").status.get()
    for kind in ["memory", "swap"]:
        equal(kind, found[f"pbs_node_{kind}_total", node], status[kind]["total"])
    assert 0 < found["pbs_node_memory_used", node] < status["memory"]["total"]
    assert 0 < found["pbs_node_uptime", node] <= status["uptime"]
    assert 0 <= found["pbs_node_cpu", node] <= 1
    assert all(found[f"pbs_node_loadavg_{minutes}", node] >= 0 for minutes in [1, 5, 15])
    tasks = {dict(labels)["upid"]: dict(labels) for name, labels in found if name == "pbs_task_status"}
    backups = [task for task in tasks.values() if task["worker_type"] == "backup"]
    equal("backups", len(backups), len(TIMES) * len(STORES))
    for task in backups:
        equal("status", task["status"], "OK")
        equal("user", task["user"], USER)
        assert task["worker_id"] in [f"{store}:host/a" for store in STORES], task


def go_exporter(api, token):
    """The Go exporter's requests; integers must have no fraction, texts be texts."""

    def get(path):
        headers = {"Authorization": f"PBSAPIToken={token}", "User-Agent": "Go-http-client/1.1"}
        answer = requests.get(f"{BASE}/api2/json/{path}", headers=headers, verify=False, timeout=60)
        equal(path, answer.status_code, 200)
        return answer.json()["data"]

    def typed(what, value, members):
        for name, kind in members.items():
            assert type(value[name]) is kind, f"{what}: {name} is {value[name]!r}"

    typed("version", get("version"), {"version": str, "release": str, "repoid": str})
    usage = {one["store"]: one for one in get("status/datastore-usage")}
    equal("datastores", sorted(usage), STORES)
    for store in STORES:
        typed(store, usage[store], {"avail": int, "total": int, "used": int})
        status = api.admin.datastore(store).status.get()
        equal("total", usage[store]["total"], status["total"])
        namespaces = [one["ns"] for one in get(f"admin/datastore/{store}/namespace")]
        equal("namespaces", namespaces, [""])
        snapshots = get(f"admin/datastore/{store}/snapshots?ns=")
        equal("snapshots", sorted(one["backup-time"] for one in snapshots), TIMES)
        for one in snapshots:
            typed(store, one, {"backup-id": str, "backup-time": int})
            equal("comment", type(one.get("comment", "")), str)
            equal("verification", one.get("verification", {}).get("state", ""), "")
    node = get("nodes/localhost/status")
    for kind, last in [("memory", "free"), ("swap", "free"), ("root", "avail")]:
        typed(kind, node[kind], {"total": int, "used": int, last: int})
    typed("node", node, {"uptime": int})
    equal("loads", [type(load) for load in node["loadavg"]], [float] * 3)
    typed("numbers", {name: float(node[name]) for name in ["cpu", "wait"]}, {"cpu": float, "wait": float})
    equal("subscription", get("nodes/localhost/subscription")["status"], "notfound")


def main():
    # Its own logging is of no interest, and verbose.
    os.environ["PYTHONWARNINGS"] = "ignore"
    options = {"service": "PBS", "port": PORT, "verify_ssl": False, "timeout": 60}
    api = ProxmoxAPI(HOST, user=USER, password=PASSWORD, **options)
    token = token_that_may_look(api)
    for part in [scraped, go_exporter]:
        part(api, token)
        print(f"exporter: {part.__name__}: ok", flush=True)


main()
