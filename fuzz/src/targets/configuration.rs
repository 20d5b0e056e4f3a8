//! Configuration files: sections, the entities in them, and the property strings in those.

use api_types::datastore::{
    DatastoreBackend, DatastoreConfig, DatastoreTuning, MaintenanceMode, NotificationThresholds,
};
use api_types::property::{format_property_string, parse_property_string};
use api_types::s3::S3EndpointConfig;
use server::config::Entity;
use server::config::section::{Section, SectionConfig};
use server::config::users::UserEntry;

use super::text::{check_error, round_trip, settles};
use crate::Target;

pub const SECTION_CONFIG: Target = Target {
    name: "section_config",
    max_len: 2048,
    check: check_sections,
    seeds: section_seeds,
    words: &[
        "datastore: ",
        "s3-endpoint: ",
        "\n\t",
        "\n\n",
        "\tpath /",
        "\tbackend ",
        "\ttuning ",
        "\tcomment ",
        "\tmaintenance-mode ",
        "\tkeep-last ",
        "\tnotification-thresholds ",
        "\tendpoint ",
        "\taccess-key ",
        "\tsecret-key ",
        "\tport ",
        "\tregion ",
        "\tpath-style ",
        "\tfingerprint ",
        "\trate-in ",
        "\tburst-in ",
        "\tprovider-quirks ",
        "\r\n",
        "\u{0}",
    ],
    memory: 1 << 20,
};

pub const PROPERTY_STRING: Target = Target {
    name: "property_string",
    max_len: 1024,
    check: check_property_string,
    seeds: property_seeds,
    words: &[
        "type=",
        "s3",
        "client=",
        "bucket=",
        "max-cache-size=",
        "filesystem",
        "read-only",
        "offline",
        "message=",
        "%20",
        "chunk-order=",
        "inode",
        "sync-level=",
        "gc-atime-cutoff=",
        "delete-quarantine=",
        "list-concurrency=",
        "s3-get=",
        "s3-upload=",
        " GiB",
        "\\\"",
        "\\\\",
        "\\n",
        "\"",
        ",",
        "=",
        "true",
        "false",
    ],
    memory: 1 << 20,
};

fn section_seeds() -> Vec<Vec<u8>> {
    let stores = "datastore: store1\n\tbackend type=s3,client=minio,bucket=pbs1\n\tcomment a b\n\
                  \tgc-schedule daily\n\tkeep-last 3\n\tpath /mnt/store1\n\
                  \ttuning sync-level=file,delete-quarantine=30\n\ndatastore: two-2\n\
                  \tmaintenance-mode type=offline,message=disk%20swap\n\tpath /mnt/b\n";
    let endpoints = "s3-endpoint: minio\n\taccess-key AK\n\tendpoint 127.0.0.1\n\tport 9000\n\
                     \tpath-style true\n\tprovider-quirks delete-404-ok\n\
                     \tprovider-quirks no-content-md5\n\trate-in 10 MiB\n\tregion us-east-1\n\
                     \tsecret-key SK\n";
    let loose = "a: b\n  key  value \n\n\nc:\td\r\n\tk v\r\n";
    [stores, endpoints, loose, ""]
        .map(|text| text.into())
        .into()
}

fn check_sections(data: &[u8]) -> bool {
    let config = match SectionConfig::parse(data) {
        Ok(config) => config,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= data.len() + 1);
            return false;
        }
    };
    let mut ids: Vec<&str> = config.sections.iter().map(|s| s.id.as_str()).collect();
    ids.sort_unstable();
    assert!(ids.is_sorted_by(|a, b| a < b), "a name stands twice");
    let mut line = 0;
    for section in &config.sections {
        assert!(
            section.line > line,
            "the sections are in the order of the file"
        );
        line = section.line;
        check_entity::<DatastoreConfig>(section);
        check_entity::<S3EndpointConfig>(section);
        check_entity::<UserEntry>(section);
    }
    match config.write() {
        Ok(text) => {
            let again = SectionConfig::parse(text.as_bytes()).expect("what we write we read");
            assert_eq!(normalized(again.clone()), normalized(config));
            assert_eq!(again.write().expect("as before"), text);
        }
        // What was read may have control characters in a value; they are not passed on.
        Err(_) => assert!(config.sections.iter().any(has_control)),
    }
    true
}

fn has_control(section: &Section) -> bool {
    let mut values = section.properties.iter().map(|(_, value)| value);
    values.any(|value| value.chars().any(char::is_control))
}

/// As it is written: keys in order, lines not counted.
fn normalized(mut config: SectionConfig) -> SectionConfig {
    for section in &mut config.sections {
        section.line = 0;
        section.properties.sort_by(|a, b| a.0.cmp(&b.0));
    }
    config
}

/// An entity that is accepted is written as properties that are accepted, and then stays so.
fn check_entity<T: Entity>(section: &Section) {
    for kind in T::TYPES {
        check_entity_of::<T>(kind, section);
    }
}

fn check_entity_of<T: Entity>(kind: &str, section: &Section) {
    let entity = match T::from_section(kind, &section.id, &section.properties) {
        Ok(entity) => entity,
        Err(error) => return check_error(&error),
    };
    assert_eq!(
        (entity.section_type(), entity.id()),
        (kind, section.id.as_str())
    );
    let written = entity.to_section();
    let again = T::from_section(kind, entity.id(), &written)
        .unwrap_or_else(|error| panic!("{written:?} is refused: {error}"));
    assert_eq!(again.to_section(), written);
    let config = SectionConfig {
        sections: vec![Section {
            section_type: kind.into(),
            id: entity.id().into(),
            properties: written.clone(),
            line: 0,
        }],
    };
    let text = config.write().expect("an entity can be written");
    let read = SectionConfig::parse(text.as_bytes()).expect("what we write we read");
    let section = read.sections.first().expect("there is one");
    assert_eq!(section.properties, written);
}

fn property_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "type=s3,client=minio,bucket=pbs1,max-cache-size=10 GiB",
        "filesystem",
        "type=offline,message=\"disk swap, \\\"soon\\\"\"",
        "read-only",
        "chunk-order=none,sync-level=filesystem,gc-atime-cutoff=1445,delete-quarantine=16",
        "s3-get=100000,s3-upload=1.5 TiB",
        " a = 1 , b = \"x\\n\" ,",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn check_property_string(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let mut accepted = false;
    for default_key in [None, Some("type")] {
        match parse_property_string(text, default_key) {
            Err(error) => check_error(&error),
            Ok(pairs) => {
                accepted = true;
                let written = format_property_string(&pairs);
                assert_eq!(
                    parse_property_string(&written, default_key).as_ref(),
                    Ok(&pairs)
                );
            }
        }
    }
    settles::<DatastoreBackend>(text);
    settles::<NotificationThresholds>(text);
    round_trip::<DatastoreTuning>(text);
    round_trip::<MaintenanceMode>(text);
    accepted
}
