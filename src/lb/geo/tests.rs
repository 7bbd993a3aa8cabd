//! Databases of several layouts, broken ones, and reloading.

use super::*;
use std::collections::BTreeMap;
use traffic::locate::Source;

/// A value of a MaxMind DB.
enum Value {
    Text(&'static str),
    Double(f64),
    Number(u16),
    Map(Vec<(&'static str, Value)>),
}

impl Value {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.push(0x40 | u8::try_from(text.len()).expect("short"));
                out.extend(text.as_bytes());
            }
            Self::Double(number) => {
                out.push(0x68);
                out.extend(number.to_be_bytes());
            }
            Self::Number(number) => {
                out.push(0xa2);
                out.extend(number.to_be_bytes());
            }
            Self::Map(fields) => {
                out.push(0xe0 | u8::try_from(fields.len()).expect("few"));
                for (key, value) in fields {
                    Self::Text(key).encode(out);
                    value.encode(out);
                }
            }
        }
    }
}

/// A database with IPv4 networks and a 24-bit search tree.
fn database(built: u32, records: &[(&str, Value)]) -> Vec<u8> {
    let (mut data, mut leaves) = (Vec::new(), BTreeMap::new());
    for (network, value) in records {
        leaves.insert(network.parse::<ipnet::Ipv4Net>().expect("a network"), data.len());
        value.encode(&mut data);
    }
    // Nodes hold children: a node's index, or a leaf.
    let mut nodes: Vec<[Option<Result<usize, usize>>; 2]> = vec![[None, None]];
    for (network, offset) in leaves {
        let (bits, length) = (u32::from(network.network()), usize::from(network.prefix_len()));
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (31 - depth) & 1) as usize;
            if depth + 1 == length {
                nodes[node][side] = Some(Err(offset));
            } else if let Some(Ok(next)) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([None, None]);
                let next = nodes.len() - 1;
                nodes[node][side] = Some(Ok(next));
                node = next;
            }
        }
    }
    let count = nodes.len();
    let mut file = Vec::new();
    for child in nodes.iter().flatten() {
        let value = match child {
            None => count,
            Some(Ok(node)) => *node,
            Some(Err(offset)) => count + 16 + offset,
        };
        file.extend(&u32::try_from(value).expect("small").to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    let mut metadata = Vec::new();
    // Field by field, for numbers have types of their own there.
    metadata.push(0xe0 | 9);
    let mut field = |key: &'static str, encoded: &[u8]| {
        Value::Text(key).encode(&mut metadata);
        metadata.extend(encoded);
    };
    field("binary_format_major_version", &[0xa1, 2]);
    field("binary_format_minor_version", &[0xa1, 0]);
    field("build_epoch", &[&[0x04, 0x02][..], &built.to_be_bytes()].concat());
    field("database_type", b"\x44Test");
    field("description", b"\xe1\x42en\x44Test");
    field("ip_version", &[0xa1, 4]);
    field("languages", &[0x00, 0x04]);
    field(
        "node_count",
        &[&[0xc4][..], &u32::try_from(count).expect("small").to_be_bytes()].concat(),
    );
    field("record_size", &[0xa1, 24]);
    file.extend(metadata);
    file
}

fn city(latitude: f64, longitude: f64, radius: u16, country: &'static str) -> Value {
    Value::Map(vec![
        ("country", Value::Map(vec![("iso_code", Value::Text(country))])),
        (
            "location",
            Value::Map(vec![
                ("latitude", Value::Double(latitude)),
                ("longitude", Value::Double(longitude)),
                ("accuracy_radius", Value::Number(radius)),
            ]),
        ),
    ])
}

fn flat(country: &'static str) -> Value {
    Value::Map(vec![("country_code", Value::Text(country))])
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (path, next) = (self.dir.path().join(name), self.dir.path().join("next"));
        std::fs::write(&next, bytes)
            .and_then(|()| std::fs::rename(&next, &path))
            .expect("a file");
        path
    }
}

fn locate(geo: &Geo, address: &str) -> (Source, Option<String>) {
    let location = geo.locate(address.parse().expect("an address"), None);
    (location.source, location.country)
}

#[test]
fn maxminds_layout_and_flat_records_are_understood() {
    let bytes = database(
        1,
        &[
            ("81.2.69.0/24", city(51.5, -0.09, 10, "GB")),
            ("198.18.0.0/15", city(37.0, -97.0, 1000, "US")),
            ("192.0.2.0/24", flat("JP")),
        ],
    );
    let path = Files::new();
    let geo = Geo::load(Some(path.write("db", &bytes)), None, false, None).expect("a sound database");
    assert_eq!(
        geo.locate("81.2.69.142".parse().expect("an address"), None).point,
        Some(Point::new(51.5, -0.09))
    );
    assert_eq!(locate(&geo, "198.18.0.1"), (Source::Country, Some("US".to_owned())));
    assert_eq!(locate(&geo, "192.0.2.1"), (Source::Country, Some("JP".to_owned())));
    assert_eq!(locate(&geo, "8.8.8.8"), (Source::ConfigurationOrder, None));
    assert_eq!(locate(&geo, "::1"), (Source::ConfigurationOrder, None));
}

#[test]
fn a_new_file_is_taken_and_a_broken_or_older_one_is_not() {
    let files = Files::new();
    let path = files.write("db", &database(10, &[("192.0.2.0/24", flat("JP"))]));
    let geo = Geo::load(Some(path), None, false, None).expect("a sound database");
    assert!(!geo.reload().expect("nothing changed"));

    let newer = database(20, &[("192.0.2.0/24", flat("FR")), ("198.51.100.0/24", flat("BE"))]);
    files.write("db", &newer);
    assert!(geo.reload().expect("a sound database"));
    assert_eq!(
        (
            locate(&geo, "192.0.2.1").1.as_deref(),
            geo.build_epoch(),
            geo.generation()
        ),
        (Some("FR"), Some(20), 2)
    );

    files.write("db", &newer[..newer.len() / 2]);
    assert!(matches!(geo.reload(), Err(Error::Database { .. })));
    let mut dangling = newer.clone();
    dangling[0..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    files.write("db", &dangling);
    assert!(
        matches!(geo.reload(), Err(Error::Database { .. })),
        "a pointer out of the file"
    );
    files.write("db", &database(15, &[("192.0.2.0/24", flat("US"))]));
    assert!(matches!(
        geo.reload(),
        Err(Error::Older {
            built: 15,
            in_use: 20,
            ..
        })
    ));
    std::fs::remove_file(files.dir.path().join("db")).expect("removed");
    assert!(matches!(geo.reload(), Err(Error::Read { .. })));
    assert_eq!(locate(&geo, "192.0.2.1").1.as_deref(), Some("FR"), "the old one stays");
}

#[test]
fn a_broken_file_at_the_start_is_an_error() {
    let files = Files::new();
    assert!(matches!(
        Geo::load(Some(files.write("db", b"nonsense")), None, false, None),
        Err(Error::Database { .. })
    ));
    assert!(matches!(
        Geo::load(Some(files.dir.path().join("missing")), None, false, None),
        Err(Error::Read { .. })
    ));
}

#[test]
fn the_local_federations_clients_are_known_and_can_be_switched_off() {
    let geo = Geo::load(None, None, true, None).expect("no files");
    let countries: Vec<_> = (1..=5)
        .map(|n| locate(&geo, &format!("127.{n}.0.1")).1.expect("a country"))
        .collect();
    assert_eq!(countries, ["US", "BE", "JP", "AU", "BR"]);
    assert_eq!(locate(&geo, "127.0.0.1").0, Source::ConfigurationOrder);
    let geo = Geo::load(None, None, false, None).expect("no files");
    assert_eq!(locate(&geo, "127.2.0.1").0, Source::ConfigurationOrder);
}

#[test]
fn a_client_map_is_read_reloaded_and_checked() {
    let files = Files::new();
    let path = files.write(
        "map",
        b"# offices\n10.0.0.0/8 50.47,3.82;BE  # Mons\n10.1.0.0/16\ttok, us\n192.0.2.7 1,2\n",
    );
    let geo = Geo::load(None, Some(path.clone()), true, None).expect("a sound map");
    assert_eq!(locate(&geo, "10.2.0.1"), (Source::Map, Some("BE".to_owned())));
    assert_eq!(
        geo.locate("10.1.2.3".parse().expect("an address"), None).clusters,
        ["tok", "us"]
    );
    assert_eq!(locate(&geo, "127.2.0.1").1.as_deref(), Some("BE"));
    files.write("map", b"10.0.0.0/8 JP-less nonsense\n");
    let error = geo.reload().expect_err("nonsense").to_string();
    assert!(
        error.ends_with("map:1: \"JP-less nonsense\" is neither coordinates nor clusters"),
        "{error}"
    );
    assert_eq!(locate(&geo, "10.2.0.1").0, Source::Map, "the old one stays");
    for (line, reason) in [
        ("10.0.0.0/8", "expected a network and a value"),
        ("10/8 us", "\"10/8\" is not a network"),
        ("10.0.0.0/8 91,0", "\"91,0\" is neither coordinates nor clusters"),
    ] {
        let error = parse_map(&path, line).expect_err(line).to_string();
        assert!(error.ends_with(reason), "{error}");
    }
}
