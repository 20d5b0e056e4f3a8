//! Settings that upstream has and that are kept here, but do nothing yet: nobody is to rely on them
//! without having been told.

use crate::config::{Config, Entity as _};

/// Of `node.cfg`.
const NODE: &[&str] = &[
    "acme",
    "acmedomain0",
    "acmedomain1",
    "acmedomain2",
    "acmedomain3",
    "acmedomain4",
    "consent-text",
    "default-lang",
    "email-from",
];
/// Of datastores.
const DATASTORE: &[&str] = &[
    "counter-reset-schedule",
    "gc-on-unmount",
    "notification-mode",
    "notification-thresholds",
    "notify",
    "notify-user",
];

/// Of sync jobs.
const SYNC: &[&str] = &["associated-key", "run-on-mount", "unmount-on-done"];

/// Says at the start what is set and does nothing.
pub fn log_ignored(config: &Config) {
    for line in ignored(config) {
        tracing::warn!("{line}");
    }
}

fn ignored(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok((node, _)) = config.node().load() {
        let set = NODE.iter().filter(|key| node.get(key).is_some());
        lines.extend(set.map(|key| format!("the setting '{key}' of the node has no effect")));
    }
    if let Ok(stores) = config.datastores().load() {
        for store in stores.entries {
            let keys = store.to_section().into_iter().map(|(key, _)| key);
            let set = keys.filter(|key| DATASTORE.contains(&key.as_str()));
            lines.extend(set.map(|key| {
                format!(
                    "the setting '{key}' of datastore '{}' has no effect",
                    store.name
                )
            }));
        }
    }
    if let Ok(jobs) = config.sync_jobs().load() {
        for job in jobs.entries {
            let keys = job.to_section().into_iter().map(|(key, _)| key);
            let set = keys.filter(|key| SYNC.contains(&key.as_str()));
            let line = |key| format!("the setting '{key}' of sync job '{}' has no effect", job.id);
            lines.extend(set.map(line));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use s3_client::env::Env;

    use super::*;
    use crate::paths::Paths;

    #[test]
    fn what_does_nothing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        paths.create().unwrap();
        let config = Config::new(&paths, &Env::system());
        assert!(ignored(&config).is_empty());
        let write = |name: &str, text: &str| std::fs::write(paths.config.join(name), text).unwrap();
        let node =
            "http-proxy: http://proxy\nlocation: here\nconsent-text: ask\ndefault-lang: de\n";
        write("node.cfg", node);
        write(
            "datastore.cfg",
            "datastore: store1\n\tpath /s\n\tnotify-user root@pam\n\tgc-schedule daily\n",
        );
        write(
            "sync.cfg",
            "sync: job1\n\tstore store1\n\tremote-store store2\n\trun-on-mount true\n",
        );
        assert_eq!(
            ignored(&config),
            [
                "the setting 'consent-text' of the node has no effect",
                "the setting 'default-lang' of the node has no effect",
                "the setting 'notify-user' of datastore 'store1' has no effect",
                "the setting 'run-on-mount' of sync job 'job1' has no effect"
            ]
        );
    }
}
