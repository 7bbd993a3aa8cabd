use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::wire::{Reader, Writer};
use super::*;

/// Objects as kube-apiserver wrote them, in both encodings.
fn golden() -> Vec<(String, Value, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protobuf/golden");
    let mut cases: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let bytes = std::fs::read(path.with_extension("pb")).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), json, bytes)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() > 20, "golden files are missing");
    cases
}

#[test]
fn decoding_gives_the_very_json_that_kube_apiserver_writes() {
    for (name, mut json, bytes) in golden() {
        if name == "watchevent" {
            continue;
        }
        // Objects within objects carry no kind in protobuf; kube-apiserver adds it here for JSON.
        for claim in json
            .pointer_mut("/spec/volumeClaimTemplates")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Value::Object(claim) = claim {
                claim.shift_remove("kind");
                claim.shift_remove("apiVersion");
            }
        }
        assert_eq!(decode(&bytes).unwrap().to_string(), json.to_string(), "{name}");
    }
}

#[test]
fn encoding_gives_the_very_bytes_that_kube_apiserver_writes() {
    for (name, json, bytes) in golden() {
        let encoded = if name == "watchevent" {
            encode_watch_event(json["type"].as_str().unwrap(), &json["object"])
        } else {
            encode(&json)
        };
        assert_eq!(encoded.unwrap(), bytes, "{name}");
    }
}

#[test]
fn json_of_kube_apiserver_is_already_canonical() {
    for (name, mut json, _) in golden() {
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind, before) = (text("apiVersion"), text("kind"), json.to_string());
        let report = crate::schema::Schema::global().check(&api_version, &kind, &mut json);
        assert!(
            report.is_none_or(|report| report == crate::schema::Report::default()),
            "{name}"
        );
        assert_eq!(json.to_string(), before, "{name}");
    }
}

#[test]
fn truncated_objects_are_refused_or_read_as_less_but_never_panic() {
    for (_, _, bytes) in golden() {
        for length in 0..bytes.len() {
            let _ = decode(&bytes[..length]);
        }
    }
}

#[test]
fn a_body_without_the_magic_bytes_is_refused_in_kubes_words() {
    assert_eq!(
        decode(b"{}").unwrap_err().to_string(),
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    );
}

#[test]
fn unknown_kinds_are_refused() {
    let object = json!({"apiVersion":"example.com/v1","kind":"Toy"});
    assert!(matches!(encode(&object), Err(ProtobufError::UnknownKind { .. })));
}

#[test]
fn unset_fields_of_plain_type_are_written_as_zero_and_read_as_unset() {
    let object = json!({"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}});
    let bytes = encode(&object).unwrap();
    assert_eq!(decode(&bytes).unwrap(), object);
}

#[test]
fn packed_lists_of_numbers_are_read() {
    let mut writer = Writer::default();
    writer.bytes(1, &[1, 0x96, 1]);
    let mut reader = Reader(&writer.0);
    assert!(matches!(reader.field(), Ok(Some((1, _)))));
    // supplementalGroups is field 4 of PodSecurityContext, which is field 14 of PodSpec, field 2 of Pod.
    let mut pod = Writer::default();
    pod.message(2, |spec| {
        spec.message(14, |context| {
            context.bytes(4, &[1, 0x96, 1]);
            Ok::<_, ProtobufError>(())
        })
    })
    .unwrap();
    let mut envelope = Writer(MAGIC.to_vec());
    envelope
        .message(1, |names| {
            names.bytes(1, b"v1");
            names.bytes(2, b"Pod");
            Ok::<_, ProtobufError>(())
        })
        .unwrap();
    envelope.bytes(2, &pod.0);
    assert_eq!(
        decode(&envelope.0).unwrap()["spec"]["securityContext"]["supplementalGroups"],
        json!([1, 150])
    );
}

fn enveloped(kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut writer = Writer(MAGIC.to_vec());
    let _ = writer.message(1, |names| {
        names.bytes(1, b"v1");
        names.bytes(2, kind.as_bytes());
        Ok::<_, ProtobufError>(())
    });
    writer.bytes(2, raw);
    writer.0
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        for kind in ["Pod", "Secret", "Event", "NodeList", "WatchEvent", "DeleteOptions"] {
            let _ = decode(&enveloped(kind, &bytes));
        }
    }

    #[test]
    fn no_damage_to_an_object_makes_the_decoder_panic(which in 0_usize..100, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let cases = golden();
        let mut bytes = cases[which % cases.len()].2.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(object) = decode(&bytes) {
            // What was read can be written and read again without a change.
            let again = encode(&object).and_then(|bytes| decode(&bytes));
            prop_assert_eq!(again.map(|object| object.to_string()), Ok(object.to_string()));
        }
    }
}
