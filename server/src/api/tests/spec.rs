//! Every endpoint that the specification marks P0 or P1 (`rest-api.md`, `auth.md` §6 and §9) is in
//! the table, with every parameter that it names.

use crate::rest::path::components;
use crate::rest::schema::Schema;
use crate::rest::table::{Found, Table};

/// Method, path and the parameters beside those in the path.
const SPECIFIED: &[(&str, &str, &str)] = &[
    // rest-api.md §2, auth.md §6
    ("GET", "/version", ""),
    ("GET", "/ping", ""),
    (
        "POST",
        "/access/ticket",
        "username password path privs port tfa-challenge http-only",
    ),
    ("DELETE", "/access/ticket", ""),
    // auth.md §6.1, §9
    ("GET", "/access/tfa", ""),
    ("GET", "/access/tfa/a@pbs", ""),
    ("GET", "/access/users", "include_tokens"),
    (
        "POST",
        "/access/users",
        "userid password comment enable expire firstname lastname email",
    ),
    ("GET", "/access/users/a@pbs", ""),
    (
        "PUT",
        "/access/users/a@pbs",
        "comment enable expire firstname lastname email password delete digest",
    ),
    ("DELETE", "/access/users/a@pbs", "digest"),
    ("GET", "/access/users/a@pbs/token", ""),
    ("GET", "/access/users/a@pbs/token/t", ""),
    (
        "POST",
        "/access/users/a@pbs/token/t",
        "comment enable expire digest",
    ),
    (
        "PUT",
        "/access/users/a@pbs/token/t",
        "comment enable expire regenerate delete digest",
    ),
    ("DELETE", "/access/users/a@pbs/token/t", "digest"),
    ("PUT", "/access/users/a@pbs/unlock-tfa", ""),
    (
        "PUT",
        "/access/password",
        "userid password confirmation-password",
    ),
    ("GET", "/access/permissions", "auth-id path"),
    ("GET", "/access/acl", "path exact"),
    (
        "PUT",
        "/access/acl",
        "path role propagate auth-id group delete digest",
    ),
    ("GET", "/access/roles", ""),
    ("GET", "/access/domains", ""),
    (
        "POST",
        "/access/domains/r/sync",
        "dry-run remove-vanished enable-new",
    ),
    // §3
    ("GET", "/admin/datastore", ""),
    ("GET", "/admin/datastore/s/status", "verbose"),
    ("GET", "/admin/datastore/s/groups", "ns"),
    (
        "GET",
        "/admin/datastore/s/snapshots",
        "ns backup-type backup-id",
    ),
    (
        "GET",
        "/admin/datastore/s/files",
        "ns backup-type backup-id backup-time",
    ),
    (
        "DELETE",
        "/admin/datastore/s/snapshots",
        "ns backup-type backup-id backup-time",
    ),
    (
        "DELETE",
        "/admin/datastore/s/groups",
        "ns backup-type backup-id error-on-protected",
    ),
    (
        "GET",
        "/admin/datastore/s/notes",
        "ns backup-type backup-id backup-time",
    ),
    (
        "PUT",
        "/admin/datastore/s/notes",
        "ns backup-type backup-id backup-time notes",
    ),
    (
        "GET",
        "/admin/datastore/s/protected",
        "ns backup-type backup-id backup-time",
    ),
    (
        "PUT",
        "/admin/datastore/s/protected",
        "ns backup-type backup-id backup-time protected",
    ),
    (
        "GET",
        "/admin/datastore/s/group-notes",
        "ns backup-type backup-id",
    ),
    (
        "PUT",
        "/admin/datastore/s/group-notes",
        "ns backup-type backup-id notes",
    ),
    (
        "POST",
        "/admin/datastore/s/change-owner",
        "ns backup-type backup-id new-owner",
    ),
    (
        "POST",
        "/admin/datastore/s/prune",
        "ns backup-type backup-id keep-last keep-hourly keep-daily keep-weekly keep-monthly \
         keep-yearly dry-run use-task",
    ),
    (
        "POST",
        "/admin/datastore/s/upload-backup-log",
        "ns backup-type backup-id backup-time",
    ),
    ("GET", "/admin/datastore/s/namespace", "parent max-depth"),
    ("POST", "/admin/datastore/s/namespace", "name parent"),
    (
        "DELETE",
        "/admin/datastore/s/namespace",
        "ns delete-groups error-on-protected",
    ),
    (
        "POST",
        "/admin/datastore/s/move-group",
        "ns backup-type backup-id target-ns merge-group",
    ),
    (
        "POST",
        "/admin/datastore/s/move-namespace",
        "ns target-ns max-depth delete-source merge-groups",
    ),
    (
        "GET",
        "/admin/datastore/s/download",
        "ns backup-type backup-id backup-time file-name",
    ),
    (
        "GET",
        "/admin/datastore/s/download-decoded",
        "ns backup-type backup-id backup-time file-name",
    ),
    (
        "GET",
        "/admin/datastore/s/pxar-file-download",
        "ns backup-type backup-id backup-time filepath tar archive-name",
    ),
    (
        "GET",
        "/admin/datastore/s/catalog",
        "ns backup-type backup-id backup-time filepath archive-name",
    ),
    (
        "POST",
        "/admin/datastore/s/verify",
        "ns backup-type backup-id backup-time ignore-verified outdated-after max-depth \
         read-threads verify-threads",
    ),
    (
        "POST",
        "/admin/datastore/s/prune-datastore",
        "keep-last keep-hourly keep-daily keep-weekly keep-monthly keep-yearly ns max-depth \
         dry-run",
    ),
    ("POST", "/admin/datastore/s/gc", ""),
    ("GET", "/admin/datastore/s/gc", ""),
    ("POST", "/admin/datastore/s/mount", ""),
    ("POST", "/admin/datastore/s/unmount", ""),
    ("PUT", "/admin/datastore/s/s3-refresh", ""),
    ("GET", "/admin/datastore/s/rrd", "timeframe cf"),
    ("GET", "/admin/datastore/s/active-operations", ""),
    // §4
    ("GET", "/admin/gc", "store"),
    ("GET", "/admin/gc/s", ""),
    ("GET", "/admin/prune", "store"),
    ("POST", "/admin/prune/j/run", ""),
    ("GET", "/admin/verify", "store"),
    ("POST", "/admin/verify/j/run", ""),
    ("GET", "/admin/sync", "store sync-direction"),
    ("POST", "/admin/sync/j/run", ""),
    ("GET", "/admin/traffic-control", ""),
    ("GET", "/admin/metrics", ""),
    ("PUT", "/admin/s3/e/check", "bucket store-prefix"),
    ("PUT", "/admin/s3/e/reset-counters", "bucket store-prefix"),
    // §5
    ("GET", "/config/datastore", ""),
    (
        "POST",
        "/config/datastore",
        "name path comment gc-schedule gc-on-unmount prune-schedule keep-last keep-hourly \
         keep-daily keep-weekly keep-monthly keep-yearly verify-new notify-user notify \
         notification-mode tuning maintenance-mode backing-device backend \
         notification-thresholds counter-reset-schedule reuse-datastore overwrite-in-use",
    ),
    ("GET", "/config/datastore/s", ""),
    (
        "PUT",
        "/config/datastore/s",
        "comment gc-schedule gc-on-unmount prune-schedule keep-last keep-hourly keep-daily \
         keep-weekly keep-monthly keep-yearly verify-new notify-user notify notification-mode \
         tuning maintenance-mode notification-thresholds counter-reset-schedule delete digest",
    ),
    (
        "DELETE",
        "/config/datastore/s",
        "keep-job-configs destroy-data digest",
    ),
    ("GET", "/config/s3", ""),
    (
        "POST",
        "/config/s3",
        "id endpoint access-key secret-key port region fingerprint path-style put-rate-limit \
         provider-quirks rate-in burst-in rate-out burst-out",
    ),
    ("GET", "/config/s3/e", ""),
    (
        "PUT",
        "/config/s3/e",
        "endpoint access-key secret-key port region fingerprint path-style put-rate-limit \
         provider-quirks rate-in burst-in rate-out burst-out delete digest",
    ),
    ("DELETE", "/config/s3/e", "digest"),
    ("GET", "/config/s3/e/list-buckets", ""),
    ("GET", "/config/remote", ""),
    (
        "POST",
        "/config/remote",
        "name host port auth-id password fingerprint comment use-node-proxy",
    ),
    ("GET", "/config/remote/r", ""),
    (
        "PUT",
        "/config/remote/r",
        "host port auth-id password fingerprint comment use-node-proxy delete digest",
    ),
    ("DELETE", "/config/remote/r", "digest"),
    ("GET", "/config/remote/r/scan", ""),
    ("GET", "/config/remote/r/scan/s/namespaces", ""),
    ("GET", "/config/remote/r/scan/s/groups", "namespace"),
    ("GET", "/config/prune", ""),
    (
        "POST",
        "/config/prune",
        "id store schedule disable comment ns max-depth keep-last keep-hourly keep-daily \
         keep-weekly keep-monthly keep-yearly",
    ),
    ("GET", "/config/prune/j", ""),
    (
        "PUT",
        "/config/prune/j",
        "store schedule disable comment ns max-depth keep-last keep-hourly keep-daily \
         keep-weekly keep-monthly keep-yearly delete digest",
    ),
    ("DELETE", "/config/prune/j", "digest"),
    ("GET", "/config/verify", ""),
    (
        "POST",
        "/config/verify",
        "id store ns max-depth ignore-verified outdated-after comment schedule read-threads \
         verify-threads",
    ),
    ("GET", "/config/verify/j", ""),
    (
        "PUT",
        "/config/verify/j",
        "store ns max-depth ignore-verified outdated-after comment schedule read-threads \
         verify-threads delete digest",
    ),
    ("DELETE", "/config/verify/j", "digest"),
    ("GET", "/config/sync", "sync-direction"),
    ("POST", "/config/sync", SYNC),
    ("GET", "/config/sync/j", ""),
    ("PUT", "/config/sync/j", SYNC),
    ("DELETE", "/config/sync/j", "digest"),
    ("GET", "/config/traffic-control", ""),
    ("POST", "/config/traffic-control", RULE),
    ("GET", "/config/traffic-control/r", ""),
    ("PUT", "/config/traffic-control/r", RULE),
    ("DELETE", "/config/traffic-control/r", "digest"),
    // §6
    ("POST", "/pull", PULL),
    (
        "POST",
        "/push",
        "store ns remote remote-store remote-ns remove-vanished max-depth group-filter rate-in \
         burst-in rate-out burst-out transfer-last encrypted-only verified-only worker-threads",
    ),
    // §7
    ("GET", "/status/datastore-usage", ""),
    ("GET", "/status/metrics", "start-time history"),
    ("GET", "/nodes/n/rrd", "timeframe cf"),
    // §8, §9
    ("GET", "/nodes", ""),
    ("GET", "/nodes/n/identity", ""),
    (
        "GET",
        "/nodes/n/tasks",
        "start limit store running errors userfilter since until typefilter statusfilter",
    ),
    ("GET", "/nodes/n/tasks/u/status", ""),
    (
        "GET",
        "/nodes/n/tasks/u/log",
        "start limit test-status download",
    ),
    ("DELETE", "/nodes/n/tasks/u", ""),
    ("GET", "/nodes/n/status", ""),
    ("GET", "/nodes/n/time", ""),
    ("PUT", "/nodes/n/time", "timezone"),
    ("GET", "/nodes/n/dns", ""),
    ("PUT", "/nodes/n/dns", "search dns1 dns2 dns3 delete digest"),
    ("GET", "/nodes/n/subscription", ""),
    ("GET", "/nodes/n/certificates/info", ""),
    ("GET", "/nodes/n/config", ""),
    (
        "PUT",
        "/nodes/n/config",
        "acme acmedomain0 acmedomain1 acmedomain2 acmedomain3 acmedomain4 http-proxy email-from \
         ciphers-tls-1.3 ciphers-tls-1.2 default-lang description task-log-max-days \
         consent-text location delete digest",
    ),
    // backup-protocol.md
    ("GET", "/backup", ""),
    ("GET", "/reader", ""),
];
const SYNC: &str = "store ns owner remote remote-store remote-ns remove-vanished max-depth comment \
                    schedule group-filter rate-in burst-in rate-out burst-out transfer-last \
                    resync-corrupt encrypted-only verified-only run-on-mount unmount-on-done \
                    sync-direction worker-threads active-encryption-key associated-key";
const PULL: &str = "store ns remote remote-store remote-ns remove-vanished max-depth group-filter rate-in \
                    burst-in rate-out burst-out transfer-last encrypted-only verified-only \
                    resync-corrupt worker-threads decryption-keys";
const RULE: &str = "name network comment rate-in burst-in rate-out burst-out timeframe users";

/// What `delete` can unset.
const DELETABLE: &[(&str, &str)] = &[
    ("/access/users/a@pbs", "comment firstname lastname email"),
    ("/access/users/a@pbs/token/t", "comment"),
    (
        "/config/datastore/s",
        "comment gc-schedule gc-on-unmount prune-schedule keep-last keep-hourly keep-daily \
         keep-weekly keep-monthly keep-yearly verify-new notify-user notify notification-mode \
         tuning maintenance-mode notification-thresholds counter-reset-schedule",
    ),
    (
        "/config/s3/e",
        "port region fingerprint path-style rate-in burst-in rate-out burst-out provider-quirks",
    ),
    (
        "/config/remote/r",
        "comment fingerprint port use-node-proxy",
    ),
    (
        "/config/prune/j",
        "comment disable ns max-depth keep-last keep-hourly keep-daily keep-weekly keep-monthly \
         keep-yearly",
    ),
    (
        "/config/verify/j",
        "ignore-verified comment schedule outdated-after ns max-depth read-threads verify-threads",
    ),
    (
        "/config/sync/j",
        "remote owner comment schedule remove-vanished group-filter rate-in burst-in rate-out \
         burst-out ns remote-ns max-depth transfer-last encrypted-only verified-only run-on-mount \
         unmount-on-done sync-direction worker-threads active-encryption-key associated-key",
    ),
    (
        "/config/traffic-control/r",
        "rate-in burst-in rate-out burst-out comment timeframe users",
    ),
    ("/nodes/n/dns", "dns1 dns2 dns3"),
    (
        "/nodes/n/config",
        "acme acmedomain0 acmedomain1 acmedomain2 acmedomain3 acmedomain4 http-proxy email-from \
         ciphers-tls-1.3 ciphers-tls-1.2 default-lang description task-log-max-days \
         consent-text location",
    ),
];

/// What is not here, and why.
const ABSENT: &[(&str, &str, &str)] = &[(
    "POST",
    "/access/domains/r/sync",
    "there are no LDAP and AD realms",
)];

fn missing(method: &str, path: &str, parameters: &str) -> Option<String> {
    let method = method.parse().unwrap();
    let Found::Endpoint(endpoint, _) = Table::global().find(&method, &components(path).unwrap())
    else {
        return Some(format!("{method} {path}"));
    };
    let lacking: Vec<&str> = parameters
        .split_whitespace()
        .filter(|name| endpoint.params.iter().all(|param| param.name != *name))
        .collect();
    (!lacking.is_empty()).then(|| format!("{method} {path}: {}", lacking.join(" ")))
}

#[test]
fn everything_specified_is_there() {
    let is_absent = |method: &str, path: &str| {
        let mut absent = ABSENT.iter();
        absent.any(|(other, place, _)| *other == method && *place == path)
    };
    let lacking: Vec<String> = SPECIFIED
        .iter()
        .filter(|(method, path, _)| !is_absent(method, path))
        .filter_map(|(method, path, parameters)| missing(method, path, parameters))
        .collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
    // What has come is no longer to be excused.
    for (method, path, why) in ABSENT {
        assert!(
            missing(method, path, "").is_some(),
            "{method} {path} is there: {why}"
        );
        assert!(SPECIFIED.iter().any(|(m, p, _)| m == method && p == path));
    }
}

#[test]
fn what_can_be_unset_is_what_is_specified() {
    for (path, specified) in DELETABLE {
        let found = Table::global().find(&hyper::Method::PUT, &components(path).unwrap());
        let Found::Endpoint(endpoint, _) = found else {
            panic!("PUT {path} is not there");
        };
        let delete = endpoint.params.iter().find(|param| param.name == "delete");
        let Some(Schema::Array(Schema::Choice(names))) = delete.map(|param| param.schema) else {
            panic!("PUT {path} unsets nothing");
        };
        for name in specified.split_whitespace() {
            assert!(names.contains(&name), "PUT {path} does not unset {name}");
        }
    }
}
