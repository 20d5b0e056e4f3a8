use api_types::access::Privilege;

use super::*;

fn tree(text: &str) -> AclTree {
    AclTree::parse(text).unwrap()
}

fn id(text: &str) -> Authid {
    text.parse().unwrap()
}

fn may(tree: &AclTree, who: &str, path: &str, wanted: Privilege) -> bool {
    let path: AclPath = path.parse().unwrap();
    let names: Vec<_> = path.components().collect();
    tree.granted(&id(who), &names).here.has_all(wanted.into())
}

const AUDIT: Privilege = Privilege::DatastoreAudit;
const BACKUP: Privilege = Privilege::DatastoreBackup;

#[test]
fn the_nearest_node_with_roles_replaces_those_above() {
    let tree = tree(
        "acl:1:/:a@pbs:DatastoreAudit\n\
         acl:1:/datastore/s1:a@pbs:DatastoreBackup\n",
    );
    assert!(may(&tree, "a@pbs", "/datastore", AUDIT));
    assert!(may(&tree, "a@pbs", "/datastore/s2/x", AUDIT));
    assert!(may(&tree, "a@pbs", "/datastore/s1/ns/deeper", BACKUP));
    assert!(
        !may(&tree, "a@pbs", "/datastore/s1", AUDIT),
        "not added to it"
    );
    assert!(!may(&tree, "b@pbs", "/", AUDIT));
}

#[test]
fn what_does_not_propagate_counts_at_its_path_only() {
    let tree = tree("acl:0:/datastore/s1:a@pbs:DatastoreAudit\nacl:1:/:a@pbs:DatastoreBackup\n");
    assert!(may(&tree, "a@pbs", "/datastore/s1", AUDIT));
    assert!(!may(&tree, "a@pbs", "/datastore/s1", BACKUP));
    assert!(!may(&tree, "a@pbs", "/datastore/s1/ns", AUDIT));
    assert!(may(&tree, "a@pbs", "/datastore/s1/ns", BACKUP));
    let granted = tree.granted(&id("a@pbs"), &["datastore", "s1"]);
    assert!(granted.below.is_empty());
}

#[test]
fn no_access_stands_alone() {
    let mut tree = tree("acl:1:/:a@pbs:Admin\nacl:1:/datastore/s1:a@pbs:NoAccess\n");
    assert!(!may(&tree, "a@pbs", "/datastore/s1/x", AUDIT));
    let path: AclPath = "/datastore/s1".parse().unwrap();
    tree.insert(&path, id("a@pbs"), Role::DatastoreAudit, true);
    assert!(may(&tree, "a@pbs", "/datastore/s1/x", AUDIT));
    tree.insert(&path, id("a@pbs"), Role::NoAccess, true);
    assert_eq!(
        tree.write(),
        "acl:1:/:a@pbs:Admin\nacl:1:/datastore/s1:a@pbs:NoAccess\n"
    );
}

#[test]
fn a_token_may_what_both_it_and_its_user_may() {
    let tree = tree(
        "acl:1:/:a@pbs:DatastoreAudit\n\
         acl:1:/datastore:a@pbs!t:DatastoreAdmin\n\
         acl:1:/datastore:root@pam!t:DatastoreBackup\n",
    );
    assert!(may(&tree, "a@pbs!t", "/datastore/s1", AUDIT));
    assert!(
        !may(&tree, "a@pbs!t", "/datastore/s1", BACKUP),
        "its user may not"
    );
    assert!(
        !may(&tree, "a@pbs!t", "/", AUDIT),
        "nothing is inherited from the user"
    );
    assert!(!may(&tree, "a@pbs!other", "/datastore", AUDIT));
    assert!(may(&tree, "root@pam", "/anything", Privilege::SysModify));
    assert!(may(&tree, "root@pam!t", "/datastore/s1", BACKUP));
    assert!(!may(&tree, "root@pam!t", "/datastore/s1", AUDIT));
    assert!(!may(&tree, "root@pam!other", "/", AUDIT));
}

#[test]
fn something_below_makes_a_datastore_visible() {
    let tree = tree(
        "acl:0:/datastore/s1/ns1:a@pbs:DatastoreBackup\n\
         acl:1:/datastore/s2:b@pbs:DatastoreAudit\n\
         acl:0:/datastore/s3:b@pbs:DatastoreAudit\n",
    );
    let visible = |who: &str, store: &str| {
        tree.has_any_below(&id(who), &["datastore", store], Privileges::NAMESPACE)
    };
    assert!(visible("a@pbs", "s1") && !visible("a@pbs", "s2") && !visible("a@pbs", "s9"));
    assert!(visible("b@pbs", "s2") && !visible("b@pbs", "s1"));
    assert!(visible("b@pbs", "s3"), "its own node counts as it is");
}

#[test]
fn one_gap_below_is_found() {
    let tree = tree(
        "acl:1:/datastore:a@pbs,b@pbs:DatastoreReader\n\
         acl:1:/datastore/s1/x/secret:a@pbs:NoAccess\n\
         acl:0:/datastore/s2:a@pbs:DatastoreReader\n\
         acl:0:/datastore/s3/x:a@pbs:DatastoreBackup\n\
         acl:0:/datastore/s4/x:a@pbs:DatastoreReader\n\
         acl:1:/datastore/s4/x:a@pbs:DatastoreAudit\n\
         acl:1:/datastore:a@pbs!t:DatastoreReader\n\
         acl:0:/remote/r:a@pbs:DatastoreReader\n",
    );
    let lacking = |who: &str, path: &[&str]| {
        let wanted = Privilege::DatastoreRead.into();
        let names = tree.lacking_below(&id(who), path, wanted);
        names.map(|names| names.join("/"))
    };
    let at = |path: &str| Some(path.to_owned());
    let secret = at("datastore/s1/x/secret");
    assert_eq!(lacking("a@pbs", &["datastore", "s1"]), secret);
    assert_eq!(
        lacking("a@pbs!t", &["datastore", "s1"]),
        secret,
        "of the user"
    );
    assert_eq!(lacking("a@pbs", &["datastore", "s1", "y"]), None);
    assert_eq!(
        lacking("a@pbs", &["datastore", "s2"]),
        None,
        "from above, below"
    );
    assert_eq!(lacking("a@pbs", &["datastore", "s3"]), at("datastore/s3/x"));
    assert_eq!(
        lacking("a@pbs", &["datastore", "s4"]),
        at("datastore/s4/x"),
        "below it"
    );
    assert_eq!(lacking("a@pbs", &["remote", "r"]), at("remote/r"));
    assert_eq!(lacking("b@pbs", &["datastore"]), None);
    assert_eq!(lacking("c@pbs", &["datastore", "s9"]), at("datastore/s9"));
    assert_eq!(lacking("root@pam", &["datastore"]), None);
}

#[test]
fn files_are_written_as_upstream_writes_them() {
    let text = "acl:1:/:a@pbs:Admin\n\
                acl:0:/datastore:a@pbs,b@pbs:DatastoreAudit,DatastoreBackup\n\
                acl:1:/datastore:c@pbs:DatastoreAudit\n\
                acl:1:/datastore/s1:a@pbs!t:DatastoreAdmin\n";
    assert_eq!(tree(text).write(), text);
    let scattered = "acl:1:/datastore/s1:a@pbs!t:DatastoreAdmin\n\n\
                     acl:0:/datastore:b@pbs,a@pbs:DatastoreBackup,DatastoreAudit\n\
                     acl:1:/datastore:c@pbs:DatastoreAudit\n\
                     acl:1:/:a@pbs,root@pam:Admin\n";
    assert_eq!(tree(scattered).write(), text);
    assert_eq!(AclTree::default().write(), "");
}

#[test]
fn lines_that_are_no_entries_are_refused() {
    for (bad, line) in [
        ("acl:1:/:a@pbs\n", 1),
        ("\nacl:2:/:a@pbs:Admin\n", 2),
        ("acl:1:/:a@pbs:Root\n", 1),
        ("acl:1:datastore:a@pbs:Admin\n", 1),
        ("acl:1:/:@group:Admin\n", 1),
        ("rule:1:/:a@pbs:Admin\n", 1),
        ("acl:1:/:a@pbs:Admin:x\n", 1),
    ] {
        assert_eq!(AclTree::parse(bad).unwrap_err().line, line, "{bad:?}");
    }
}

#[test]
fn removals() {
    let mut tree = tree("acl:1:/datastore/s1:a@pbs:Admin\nacl:1:/datastore/s1/ns:b@pbs:Audit\n");
    let path: AclPath = "/datastore/s1".parse().unwrap();
    assert!(!tree.remove(&path, &id("a@pbs"), Role::Audit));
    assert!(tree.remove(&path, &id("a@pbs"), Role::Admin));
    assert_eq!(tree.entries().len(), 1);
    tree.remove_auth_id(&id("b@pbs"));
    assert!(tree.entries().is_empty());
    tree.insert(&path, id("a@pbs"), Role::Admin, true);
    tree.remove_below(&"/datastore".parse().unwrap());
    assert!(tree.entries().is_empty());
}
