use serde_json::json;

use super::*;
use crate::selector::{as_match_labels, validate_label_selector};

fn selects(selector: &str, labels: Value) -> bool {
    LabelSelector::parse(selector).unwrap().matches_labels(Some(&labels))
}

#[test]
fn every_form_is_read_and_printed_in_order_of_keys() {
    for (text, printed) in [
        ("", ""),
        ("a", "a"),
        ("!a", "!a"),
        ("a=b", "a=b"),
        ("a==b", "a==b"),
        ("a != b", "a!=b"),
        ("a in (c,b,c)", "a in (b,c)"),
        ("a notin(b)", "a notin (b)"),
        ("a in (b,)", "a in (,b)"),
        ("a in (,)", "a in ()"),
        ("a in ()", "a in ()"),
        ("a in (,,b)", "a in (,b)"),
        ("a>1,b<2", "a>1,b<2"),
        ("z,a=,m in (x)", "a=,m in (x),z"),
        (" a = b , c ", "a=b,c"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin=in", "notin=in"),
        ("example.com/a=b", "example.com/a=b"),
        ("a=b,a=c", "a=b,a=c"),
    ] {
        assert_eq!(
            LabelSelector::parse(text).map(|s| s.to_string()),
            Ok(printed.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn errors_have_kubes_words() {
    for (text, message) in [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        (
            "a in (",
            "unable to parse requirement: found '', expected: ',', ')' or identifier",
        ),
        (
            "a in (b c)",
            "unable to parse requirement: found 'c', expected: ',' or ')'",
        ),
        ("a=!b", "unable to parse requirement: found '!', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    let error = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(
        error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of"),
        "{error}"
    );
    let error = LabelSelector::parse("a=b_").unwrap_err().to_string();
    assert!(
        error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"b_\": a valid label must be"),
        "{error}"
    );
}

#[test]
fn absent_labels_meet_negative_requirements_only() {
    for (selector, present, absent) in [
        ("a", true, false),
        ("!a", false, true),
        ("a=b", true, false),
        ("a!=b", false, true),
        ("a in (b,c)", true, false),
        ("a notin (b,c)", false, true),
        ("a=", false, false),
    ] {
        assert_eq!(selects(selector, json!({"a": "b"})), present, "{selector}");
        assert_eq!(selects(selector, json!({"x": "y"})), absent, "{selector}");
    }
    assert!(selects("a>1,a<3", json!({"a": "2"})));
    assert!(!selects("a>1", json!({"a": "x"})));
}

#[test]
fn an_absent_selector_selects_nothing_and_an_empty_one_everything() {
    let object = json!({"metadata": {"labels": {"a": "b"}}});
    assert!(!LabelSelector::from_object(None).unwrap().matches_object(&object));
    assert!(
        !LabelSelector::from_object(Some(&json!(null)))
            .unwrap()
            .matches_object(&object)
    );
    assert!(
        LabelSelector::from_object(Some(&json!({})))
            .unwrap()
            .matches_object(&object)
    );
    assert!(LabelSelector::everything().is_everything() && !LabelSelector::nothing().is_everything());
}

#[test]
fn selectors_in_objects_join_labels_and_expressions() {
    let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "c", "operator": "DoesNotExist"},
        {"key": "d", "operator": "NotIn", "values": ["z"]},
    ]});
    let read = LabelSelector::from_object(Some(&selector)).unwrap();
    assert_eq!(read.to_string(), "a in (x,y),b=1,!c,d notin (z)");
    assert_eq!(read.required_value("b"), Some("1"));
    assert_eq!(read.required_value("a"), None);
    let wrong = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
    let error = LabelSelector::from_object(Some(&wrong)).unwrap_err();
    assert_eq!(error.to_string(), "\"Near\" is not a valid label selector operator");
}

#[test]
fn validation_names_the_field() {
    let selector = json!({"matchLabels": {"-": "ok"}, "matchExpressions": [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "Near"},
        {"key": "a", "operator": "In", "values": ["-"]},
    ]});
    let fields: Vec<_> = validate_label_selector(&selector, "spec.selector")
        .into_iter()
        .map(|e| (e.field, e.reason))
        .collect();
    let expected = [
        ("spec.selector.matchLabels", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[0].values", "FieldValueRequired"),
        ("spec.selector.matchExpressions[1].values", "FieldValueForbidden"),
        ("spec.selector.matchExpressions[2].operator", "FieldValueInvalid"),
        ("spec.selector.matchExpressions[3].values[0]", "FieldValueInvalid"),
    ];
    assert_eq!(fields, expected.map(|(field, reason)| (field.to_owned(), reason)));
}

#[test]
fn single_values_convert_to_labels() {
    let single =
        json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]});
    assert_eq!(
        as_match_labels(&single).unwrap().into_iter().collect::<Vec<_>>(),
        [("a".into(), "b".into()), ("c".into(), "d".into())]
    );
    assert!(as_match_labels(&json!({"matchExpressions": [{"key": "c", "operator": "Exists"}]})).is_err());
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics_and_printing_reads_back(text in "[abin!=<>(), \\-1\0é]{0,16}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            proptest::prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }

    #[test]
    fn a_requirement_and_its_negation_split_all_objects(value in proptest::option::of("[ab]{0,2}"), values in "[ab]{0,2}(,[ab]{0,2}){0,2}") {
        let labels = value.map_or(json!({}), |v| json!({"k": v}));
        proptest::prop_assert_ne!(selects(&format!("k in ({values})"), labels.clone()), selects(&format!("k notin ({values})"), labels));
    }
}
