//! `s3 endpoint ...`: the file that is written, what is shown, what is refused.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::Installation;

const CREATE: [&str; 10] = [
    "s3",
    "endpoint",
    "create",
    "minio",
    "--endpoint",
    "127.0.0.1",
    "--access-key",
    "AKIAEXAMPLE",
    "--secret-key",
    "-topsecret",
];

fn with<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

#[test]
fn an_endpoint_is_created_shown_changed_and_removed() {
    let installation = Installation::new();
    installation.ok(&with(
        &CREATE,
        &[
            "--port",
            "9443",
            "--path-style",
            "--provider-quirks",
            "skip-if-none-match-header",
        ],
    ));
    let file = installation.config("s3.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    let expected = "s3-endpoint: minio\n\taccess-key AKIAEXAMPLE\n\tendpoint 127.0.0.1\n\
                    \tpath-style true\n\tport 9443\n\
                    \tprovider-quirks skip-if-none-match-header\n\tsecret-key -topsecret\n";
    assert_eq!(text, expected);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let shown = json!({
        "id": "minio", "endpoint": "127.0.0.1", "port": 9443, "access-key": "AKIAEXAMPLE",
        "path-style": true, "provider-quirks": ["skip-if-none-match-header"]
    });
    assert_eq!(
        installation.json(&["s3", "endpoint", "show", "minio"]),
        shown
    );
    assert_eq!(
        installation.json(&["s3", "endpoint", "list"]),
        json!([shown])
    );
    let table = installation.ok(&["s3", "endpoint", "list"]).stdout;
    assert!(table.contains("│ minio │ 127.0.0.1 │ 9443 │"), "{table}");

    installation.ok(&[
        "s3",
        "endpoint",
        "update",
        "minio",
        "--region",
        "us-east-1",
        "--delete",
        "port",
        "--delete",
        "provider-quirks",
    ]);
    let shown = installation.json(&["s3", "endpoint", "show", "minio"]);
    let expected = json!({
        "id": "minio", "endpoint": "127.0.0.1", "region": "us-east-1",
        "access-key": "AKIAEXAMPLE", "path-style": true
    });
    assert_eq!(shown, expected);

    installation.ok(&["s3", "endpoint", "remove", "minio"]);
    assert_eq!(installation.json(&["s3", "endpoint", "list"]), json!([]));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
}

#[test]
fn a_secret_comes_from_standard_input_and_is_shown_nowhere() {
    let installation = Installation::new();
    let arguments = with(&CREATE[..8], &["--secret-key-file", "-"]);
    let ran = installation.run_with_input(&arguments, "from-stdin\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = std::fs::read_to_string(installation.config("s3.cfg")).unwrap();
    assert!(text.contains("\tsecret-key from-stdin\n"));
    for format in ["text", "json", "json-pretty"] {
        for command in [&["list"][..], &["show", "minio"]] {
            let arguments = with(
                &with(&["s3", "endpoint"], command),
                &["--output-format", format],
            );
            assert!(!installation.ok(&arguments).stdout.contains("from-stdin"));
        }
    }
    // Not in an error either.
    let bad = with(
        &["s3", "endpoint", "update", "minio"],
        &["--secret-key", "has blanks in it"],
    );
    let message = installation.fails(&bad);
    assert!(
        message.contains("secret key") && !message.contains("blanks"),
        "{message}"
    );
}

#[test]
fn wrong_requests_are_refused_in_upstreams_words() {
    let installation = Installation::new();
    installation.ok(&CREATE);
    let fails = |arguments: &[&str]| {
        installation
            .fails(&with(&["s3", "endpoint"], arguments))
            .trim_end()
            .to_owned()
    };
    assert_eq!(
        fails(&CREATE[2..]),
        "error: s3-endpoint 'minio' already exists."
    );
    assert_eq!(
        fails(&["show", "other"]),
        "error: no such s3-endpoint 'other'"
    );
    assert_eq!(
        fails(&["update", "other", "--port", "1"]),
        "error: no such s3-endpoint 'other'"
    );
    assert_eq!(
        fails(&["remove", "other"]),
        "error: s3 client config 'other' do not exist."
    );
    let stale = ["update", "minio", "--port", "1", "--digest", "00"];
    assert_eq!(
        fails(&stale),
        "error: detected modified configuration - file changed by other user? Try again."
    );
    assert!(fails(&["update", "minio", "--port", "99999"]).contains("port"));
    assert!(fails(&["update", "minio"]).contains("nothing to change"));

    let usage = installation.run(&["s3", "endpoint", "update", "minio", "--delete", "endpoint"]);
    assert_eq!(usage.code, Some(2));
}

#[test]
fn a_refused_change_leaves_the_file_as_it_is() {
    let installation = Installation::new();
    installation.ok(&CREATE);
    let file = installation.config("s3.cfg");
    let before = std::fs::read(&file).unwrap();
    installation.fails(&[
        "s3",
        "endpoint",
        "update",
        "minio",
        "--endpoint",
        "https://x",
    ]);
    installation.fails(&[
        "s3", "endpoint", "update", "minio", "--digest", "00", "--port", "1",
    ]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn an_endpoint_in_use_stays() {
    let installation = Installation::new();
    installation.ok(&CREATE);
    let datastore =
        "datastore: s1a\n\tbackend type=s3,client=minio,bucket=bucket\n\tpath /srv/s1\n";
    std::fs::write(installation.config("datastore.cfg"), datastore).unwrap();
    let message = installation.fails(&["s3", "endpoint", "remove", "minio"]);
    assert_eq!(message, "error: in-use by datastore s1a\n");
    installation.ok(&["s3", "endpoint", "show", "minio"]);
}

#[test]
fn a_damaged_file_is_reported_with_its_line() {
    let installation = Installation::new();
    installation.ok(&CREATE);
    let file = installation.config("s3.cfg");
    std::fs::write(&file, "s3-endpoint: a\n\tendpoint b\n# comment\n").unwrap();
    let message = installation.fails(&["s3", "endpoint", "list"]);
    assert!(message.contains("s3.cfg: line 3: "), "{message}");
    std::fs::write(
        &file,
        "\ns3-endpoint: abc\n\tendpoint b.c\n\tsecret-key xyz\n",
    )
    .unwrap();
    let message = installation.fails(&["s3", "endpoint", "list"]);
    assert!(
        message.contains("line 2: ") && message.contains("access-key"),
        "{message}"
    );
    assert!(!message.contains("xyz"));
}
