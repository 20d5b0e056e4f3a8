"""proxmoxer against the server: logins, users, tokens, rights, datastores, tasks, errors."""

from proxmoxer import AuthenticationError, ProxmoxAPI, ResourceException

from server import HOST, PASSWORD, PORT, STORES, TIMES, USER, ended, equal, refused

GROUP = {"backup-type": "host", "backup-id": "a"}


def connect(user, **secret):
    options = {"service": "PBS", "port": PORT, "verify_ssl": False, "timeout": 60}
    return ProxmoxAPI(HOST, user=user, **options, **secret)


def logins(admin):
    equal("version", admin.version.get()["version"], "4.2")
    equal("ping", admin.ping.get(), {"pong": True})
    # The ticket is a password, too: so it is renewed.
    ticket, csrf = admin.get_tokens()
    assert ticket.startswith(f"PBS:{USER}:") and csrf, ticket
    again = connect(USER, password=ticket)
    equal("renewed", again.access.users(USER).get()["userid"], USER)
    try:
        connect(USER, password="not the password")
    except AuthenticationError as error:
        assert "401" in str(error), error
    else:
        raise AssertionError("any password does")


def users(admin):
    name = "operator@pbs"
    admin.access.users.post(userid=name, password="first-password", comment="to be tried")
    listed = {user["userid"]: user for user in admin.access.users.get()}
    equal("comment", listed[name]["comment"], "to be tried")
    refused(
        ResourceException, 400, "user 'operator@pbs' already exists.",
        lambda: admin.access.users.post(userid=name),
    )
    user = connect(name, password="first-password")
    equal("nothing to see", user.admin.datastore.get(), [])
    user.access.password.put(
        userid=name, password="second-password", **{"confirmation-password": "first-password"}
    )
    user = connect(name, password="second-password")
    admin.access.users(name).put(comment="changed", email="op@example.org")
    equal("changed", admin.access.users(name).get()["email"], "op@example.org")
    admin.access.users(name).put(delete="comment")
    equal("no comment", "comment" in admin.access.users(name).get(), False)

    token = user.access.users(name).token("script").post(comment="by itself")
    equal("token", token["tokenid"], f"{name}!script")
    script = connect(name, token_name="script", token_value=token["value"])
    equal("by token", script.version.get()["version"], "4.2")
    listed = {user["userid"]: user for user in admin.access.users.get(include_tokens=1)}
    equal("listed", [one["tokenid"] for one in listed[name]["tokens"]], [f"{name}!script"])
    rights(admin, user, script, name)

    renewed = user.access.users(name).token("script").put(regenerate=1)
    refused(ResourceException, 401, "authentication failed", script.version.get)
    script = connect(name, token_name="script", token_value=renewed["secret"])
    script.version.get()
    user.access.users(name).token("script").put(enable=0)
    refused(ResourceException, 401, "authentication failed", script.version.get)
    user.access.users(name).token("script").delete()
    equal("no token", user.access.users(name).token.get(), [])
    admin.access.users(name).delete()
    refused(ResourceException, 401, "authentication failed", user.version.get)
    refused(ResourceException, 400, "no such user", admin.access.users(name).get)
    equal("no rights", [one for one in admin.access.acl.get() if name in one["ugid"]], [])


def rights(admin, user, script, name):
    store = user.admin.datastore("dev")
    refused(ResourceException, 403, "permission check failed", store.snapshots.get)
    admin.access.acl.put(path="/datastore/dev", role="DatastoreAudit", **{"auth-id": name})
    equal("seen", [one["store"] for one in user.admin.datastore.get()], ["dev"])
    equal("snapshots", len(store.snapshots.get(**GROUP)), len(TIMES))
    # A token has what it was given, and what its user has.
    equal("not by token", script.admin.datastore.get(), [])
    token = {"auth-id": f"{name}!script"}
    user.access.acl.put(path="/datastore", role="DatastoreAdmin", **token)
    equal("by token", [one["store"] for one in script.admin.datastore.get()], ["dev"])
    found = script.access.permissions.get(path="/datastore/dev")
    equal("permissions", found, {"/datastore/dev": {"Datastore.Audit": True}})
    refused(ResourceException, 403, "permission check failed", script.admin.datastore("dev").gc.post)
    admin.access.acl.put(path="/datastore/dev", role="DatastoreAudit", delete=1, **{"auth-id": name})
    equal("taken back", user.admin.datastore.get(), [])
    refused(
        ResourceException, 400, "invalid acl path",
        lambda: admin.access.acl.put(path="/nowhere", role="Audit", **{"auth-id": name}),
    )


def datastores(admin):
    listed = {one["store"]: one["backend-type"] for one in admin.admin.datastore.get()}
    equal("datastores", listed, {"dev": "s3", "local": "filesystem"})
    for name in STORES:
        store = admin.admin.datastore(name)
        status = store.status.get(verbose=1)
        assert 0 < status["avail"] < status["total"], status
        equal("counts", status["counts"]["host"]["snapshots"], len(TIMES))
        groups = store.groups.get()
        equal("groups", [(one["backup-id"], one["backup-count"]) for one in groups], [("a", len(TIMES))])
        listed = store.snapshots.get(**GROUP)
        equal("times", sorted(one["backup-time"] for one in listed), TIMES)
        snapshot = {**GROUP, "backup-time": TIMES[0]}
        files = {one["filename"]: one.get("crypt-mode") for one in store.files.get(**snapshot)}
        equal("files", files["disk.img.fidx"], "none")
        store.notes.put(notes="first line\nsecond line", **snapshot)
        equal("notes", store.notes.get(**snapshot), "first line\nsecond line")
        oldest = min(store.snapshots.get(**GROUP), key=lambda one: one["backup-time"])
        equal("comment", oldest["comment"], "first line")
        namespaces(store)
        prune(store, snapshot)
        tasks(admin, store, name)


def namespaces(store):
    equal("created", store.namespace.post(name="outer"), "outer")
    equal("nested", store.namespace.post(name="inner", parent="outer"), "outer/inner")
    found = [one["ns"] for one in store.namespace.get()]
    equal("namespaces", found, ["", "outer", "outer/inner"])
    store.namespace.delete(ns="outer")
    equal("gone", [one["ns"] for one in store.namespace.get()], [""])


def prune(store, oldest):
    store.protected.put(protected=1, **oldest)
    refused(
        ResourceException, 400, "cannot remove protected snapshot",
        lambda: store.snapshots.delete(**oldest),
    )
    keep = {**GROUP, "keep-last": 1}
    kept = lambda answer: [one["keep"] for one in sorted(answer, key=lambda one: one["backup-time"])]
    plan = [False] * (len(TIMES) - 1) + [True]
    equal("protected", store.prune.post(**keep, **{"dry-run": 1})[0]["protected"], True)
    store.protected.put(protected=0, **oldest)
    equal("plan", kept(store.prune.post(**keep, **{"dry-run": 1})), plan)
    equal("all there", len(store.snapshots.get(**GROUP)), len(TIMES))
    equal("pruned", kept(store.prune.post(**keep)), plan)
    equal("one left", [one["backup-time"] for one in store.snapshots.get(**GROUP)], TIMES[-1:])


def tasks(admin, store, name):
    upid = store.gc.post()
    assert f":garbage_collection:{name}:{USER}:" in upid, upid
    ended(admin, upid)
    status = store.gc.get()
    equal("gc", (status["upid"], status["last-run-state"]), (upid, "OK"))
    log = admin.nodes("localhost").tasks(upid).log.get(limit=0)
    equal("end of the log", log[-1]["t"].split(": ", 1)[1], "TASK OK")
    verify = store.verify.post(**{"ignore-verified": 0})
    ended(admin, verify)
    state = store.snapshots.get(**GROUP)[0]["verification"]
    equal("verified", state, {"upid": verify, "state": "ok"})
    listed = admin.nodes("localhost").tasks.get(store=name, limit=2)
    equal("tasks", [one["upid"] for one in listed], [verify, upid])
    equal("its worker", listed[0]["worker_type"], "verify")
    # An end that is long over is no error.
    admin.nodes("localhost").tasks(upid).delete()


def errors(admin):
    missing = admin.admin.datastore("missing")
    refused(ResourceException, 400, "no such datastore 'missing'", missing.groups.get)
    refused(ResourceException, 404, "Path '/nowhere' not found.", admin.nowhere.get)
    store = admin.admin.datastore("dev")
    refused(
        ResourceException, 400, "schema does not allow additional properties.",
        lambda: store.groups.get(unknown=1),
    )
    refused(
        ResourceException, 400, "parameter is missing and it is not optional.",
        lambda: store.namespace.post(),
    )
    refused(ResourceException, 400, "", lambda: store.snapshots.get(ns="no/such"))


def main():
    admin = connect(USER, password=PASSWORD)
    for part in [logins, users, datastores, errors]:
        part(admin)
        print(f"proxmoxer: {part.__name__}: ok", flush=True)


main()
