use serde_json::{Value, json};

use super::*;

fn check(kind: (&str, &str), mut object: Value) -> (Value, Report) {
    let report = Schema::global().check(kind.0, kind.1, &mut object).unwrap();
    (object, report)
}

#[test]
fn both_tables_are_read_without_problems() {
    let mut builder = table::Builder::default();
    builder.read(include_str!("kubernetes.txt"));
    builder.read(include_str!("federation.txt"));
    assert_eq!(builder.problems, Vec::<String>::new());
    let schema = builder.finish();
    for (gv, kind, ty) in schema.kinds() {
        assert!(!ty.fields.is_empty(), "{gv} {kind} has no fields");
    }
    for ty in &schema.types {
        assert!(!ty.fields.is_empty(), "{} is used and not described", ty.name);
        for field in &ty.fields {
            for key in &field.list_keys {
                let element = field.shape.element_type();
                assert!(
                    element.is_some_and(|e| e.index.contains_key(key)),
                    "{}.{} has no key {key}",
                    ty.name,
                    field.name
                );
            }
        }
    }
}

#[test]
fn every_kind_starts_with_kind_and_version() {
    for (gv, kind, ty) in Schema::global().kinds().filter(|(_, kind, _)| *kind != "WatchEvent") {
        let names: Vec<_> = ty.fields.iter().map(|field| field.name).take(2).collect();
        assert_eq!(names, ["kind", "apiVersion"], "{gv} {kind}");
    }
}

#[test]
fn fields_come_out_in_the_order_of_the_type_and_structs_are_always_written() {
    let (object, report) = check(
        ("apps/v1", "Deployment"),
        json!({"spec":{"template":{"spec":{"containers":[{"image":"i","name":"a"}]},"metadata":{"labels":{"b":"1","a":"2"}}},"selector":{"matchLabels":{"a":"2"}}},"metadata":{"name":"x"},"apiVersion":"apps/v1","kind":"Deployment"}),
    );
    assert_eq!(report, Report::default());
    assert_eq!(
        object.to_string(),
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x"},"spec":{"selector":{"matchLabels":{"a":"2"}},"template":{"metadata":{"labels":{"a":"2","b":"1"}},"spec":{"containers":[{"name":"a","image":"i","resources":{}}]}},"strategy":{}},"status":{}}"#
    );
}

#[test]
fn unknown_fields_are_dropped_and_told_with_their_paths() {
    let (object, report) = check(
        ("apps/v1", "Deployment"),
        json!({"foo":1,"spec":{"replcias":1,"template":{"spec":{"containers":[{"name":"a"},{"name":"b","Image":"x"}]}}}}),
    );
    let told: Vec<String> = report.strict_errors().collect();
    assert_eq!(
        told,
        [
            r#"unknown field "foo""#,
            r#"unknown field "spec.replcias""#,
            r#"unknown field "spec.template.spec.containers[1].Image""#
        ]
    );
    assert!(object.get("foo").is_none());
}

#[test]
fn values_of_the_wrong_type_are_refused_in_the_decoders_words() {
    let cases = [
        (
            json!({"spec":{"replicas":"3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec":{"replicas":1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec":{"paused":"true"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            json!({"metadata":{"labels":{"a":1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"spec":[]}),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!({"spec":{"template":{"spec":{"containers":{"name":"a"}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec":{"template":{"spec":{"restartPolicy":1}}}}),
            "json: cannot unmarshal number into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
        ),
    ];
    for (object, message) in cases {
        let (_, report) = check(("apps/v1", "Deployment"), object);
        assert_eq!(report.error.as_deref(), Some(message));
    }
}

#[test]
fn nulls_and_zeros_count_as_unset_unless_the_field_is_a_pointer() {
    let (object, _) = check(
        ("apps/v1", "Deployment"),
        json!({"metadata":{"labels":null,"annotations":{}},"spec":{"replicas":0,"minReadySeconds":0,"paused":false}}),
    );
    assert_eq!(object["metadata"], json!({}));
    assert_eq!(object["spec"]["replicas"], json!(0));
    assert!(object["spec"].get("minReadySeconds").is_none());
    let (object, _) = check(("v1", "ConfigMap"), json!({"data":{"a":null}}));
    assert_eq!(object["data"], json!({"a":""}));
}

#[test]
fn times_are_brought_to_utc_and_bad_ones_refused() {
    let (object, report) = check(
        ("v1", "ConfigMap"),
        json!({"metadata":{"creationTimestamp":"2024-05-06T07:08:09.5+02:00"}}),
    );
    assert_eq!(
        (object["metadata"]["creationTimestamp"].clone(), report.error),
        (json!("2024-05-06T05:08:09Z"), None)
    );
    let (_, report) = check(
        ("v1", "ConfigMap"),
        json!({"metadata":{"creationTimestamp":"yesterday"}}),
    );
    assert_eq!(
        report.error.as_deref(),
        Some(r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#)
    );
    let (object, report) = check(
        ("coordination.k8s.io/v1", "Lease"),
        json!({"spec":{"renewTime":"2024-05-06T07:08:09.123456Z"}}),
    );
    assert_eq!(
        (object["spec"]["renewTime"].clone(), report.error),
        (json!("2024-05-06T07:08:09.123456Z"), None)
    );
}

#[test]
fn bytes_must_be_base64() {
    let (_, report) = check(("v1", "Secret"), json!({"data":{"a":"a*c="}}));
    assert_eq!(report.error.as_deref(), Some("illegal base64 data at input byte 1"));
}

#[test]
fn checking_twice_changes_nothing() {
    let (once, _) = check(
        ("v1", "Pod"),
        json!({"spec":{"containers":[{"name":"a","env":[{"name":"x","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}}]}]}}),
    );
    let (twice, report) = check(("v1", "Pod"), once.clone());
    assert_eq!((twice.to_string(), report), (once.to_string(), Report::default()));
}

#[test]
fn duplicate_keys_are_noted_and_the_last_one_counts() {
    let raw = decode_json(br#"{"a":1,"b":{"c":[{"d":1,"d":2}]},"a":3}"#).unwrap();
    assert_eq!(raw.value, json!({"a":3,"b":{"c":[{"d":2}]}}));
    assert_eq!(raw.duplicates, ["b.c[0].d", "a"]);
}

#[test]
fn syntax_errors_are_told_in_the_scanners_words() {
    let cases: [(&[u8], &str); 8] = [
        (b"{", "unexpected end of JSON input"),
        (
            b"{a",
            "invalid character 'a' looking for beginning of object key string",
        ),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"{\"a\" 1}", "invalid character '1' after object key"),
        (b"{\"a\":1]", "invalid character ']' after object key:value pair"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b"trux", "invalid character 'x' in literal true (expecting 'e')"),
        (b"", "unexpected end of JSON input"),
    ];
    for (bytes, message) in cases {
        assert_eq!(decode_json(bytes).unwrap_err().to_string(), message);
    }
}

#[test]
fn yaml_is_read_like_json() {
    let raw = decode_yaml(b"kind: ConfigMap\ndata:\n  a: \"1\"\n  n: 2\n  t: yes\n").unwrap();
    assert_eq!(raw.value["data"]["a"], json!("1"));
    assert_eq!(raw.value["data"]["n"], json!(2));
}

#[test]
fn lengths_of_time_are_read_and_written_as_go_does() {
    for (text, canonical) in [
        ("90s", "1m30s"),
        ("1h", "1h0m0s"),
        ("1.5s", "1.5s"),
        ("100ms", "100ms"),
        ("-2m", "-2m0s"),
        ("0", "0s"),
        ("1500us", "1.5ms"),
    ] {
        assert_eq!(scalar::duration(text), Ok(canonical.to_owned()), "{text}");
    }
    assert_eq!(
        scalar::duration("10"),
        Err("time: missing unit in duration \"10\"".to_owned())
    );
}

#[test]
fn quantities_are_brought_into_canonical_form_and_bad_ones_refused() {
    let requests = |cpu: Value| json!({"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":cpu}}}]}});
    for (given, canonical) in [
        (json!("1000m"), "1"),
        (json!("0.5Gi"), "512Mi"),
        (json!(1.5), "1500m"),
        (json!(2), "2"),
        (json!("1024Ki"), "1Mi"),
    ] {
        let (object, report) = check(("v1", "Pod"), requests(given));
        assert_eq!(
            object["spec"]["containers"][0]["resources"]["requests"]["cpu"],
            canonical
        );
        assert_eq!(report.error, None);
    }
    for (given, message) in [
        (
            json!("a lot"),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!(true),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!("1x"),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(check(("v1", "Pod"), requests(given)).1.error.as_deref(), Some(message));
    }
}

#[test]
fn json_that_nests_without_end_is_refused_and_not_followed() {
    for (opening, wanted) in [
        ("[", "exceeded max depth"),
        ("{\"a\":", "exceeded max depth"),
        ("[{\"a\":", "exceeded max depth"),
    ] {
        let error = decode_json(opening.repeat(100_000).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    let error = decode_json(br#"{"a":[1,{"b":2}}"#).unwrap_err();
    assert_eq!(error.to_string(), "invalid character '}' after array element");
    let error = decode_json(br#"{"a":[],}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid character '}' looking for beginning of object key string"
    );
}

#[test]
fn documents_that_would_grow_too_much_in_memory_are_refused() {
    let items = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
    let refused = |body: String, yaml: bool| {
        let read = if yaml { decode_yaml } else { decode_json };
        read(body.as_bytes()).unwrap_err().to_string()
    };
    assert!(refused(items("{}", MAX_LISTED + 1), false).contains("more than 12000 objects in lists"));
    assert!(refused(items("1", MAX_VALUES), false).contains("more than 100000 values"));
    let again = format!("a: &a {}\nb: {}", "x".repeat(1 << 20), items("*a", 20));
    assert!(refused(again, true).contains("more than 8388608 bytes of text"));
    assert!(decode_json(items("{}", MAX_LISTED).as_bytes()).is_ok());
}
