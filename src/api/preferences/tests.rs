use super::*;
use serde_json::json;

fn cluster(min: i64, max: Option<i64>, weight: i64) -> ClusterPreferences {
    ClusterPreferences {
        min_replicas: min,
        max_replicas: max,
        weight,
    }
}

#[test]
fn keys_match_in_any_case_and_absent_fields_default() {
    let text = r#"{"Rebalance": true, "Clusters": {"*": {"Weight": 1}, "eu": {"MinReplicas": 2, "maxreplicas": 5}}}"#;
    let preferences = Preferences::parse(text).unwrap();
    assert!(preferences.rebalance);
    assert_eq!(preferences.clusters["*"], cluster(0, None, 1));
    assert_eq!(preferences.clusters["eu"], cluster(2, Some(5), 0));
    assert_eq!(preferences.for_cluster("eu"), Some(&cluster(2, Some(5), 0)));
    assert_eq!(preferences.for_cluster("us"), Some(&cluster(0, None, 1)));
    assert_eq!(preferences.strategy, SplitStrategy::Weights);
}

#[test]
fn cluster_names_keep_their_case() {
    let preferences = Preferences::parse(r#"{"clusters": {"A": {"weight": 1}, "a": {"weight": 2}}}"#).unwrap();
    assert_eq!(preferences.clusters.len(), 2);
    assert_eq!(preferences.for_cluster("b"), None);
}

#[test]
fn null_is_as_good_as_absent() {
    let preferences = Preferences::parse(r#"{"clusters": {"a": {"maxReplicas": null}, "b": null}, "rebalance": null}"#);
    let preferences = preferences.unwrap();
    assert_eq!(preferences.clusters["a"], cluster(0, None, 0));
    assert_eq!(preferences.clusters["b"], cluster(0, None, 0));
    assert_eq!(Preferences::parse("null").unwrap(), Preferences::default());
}

#[test]
fn unknown_keys_are_ignored_and_named() {
    let parsed = parse_with_unknown_keys(r#"{"colour": 1, "clusters": {"eu": {"minReplica": 3}}}"#).unwrap();
    assert_eq!(parsed.unknown_keys, ["colour", "clusters[eu].minReplica"]);
    assert_eq!(parsed.preferences.clusters["eu"], cluster(0, None, 0));
}

#[test]
fn wrong_types_say_where_and_what() {
    let table = [
        ("{", "not valid JSON"),
        ("[]", "preferences: must be an object, not []"),
        (
            r#"{"rebalance": "yes"}"#,
            r#"rebalance: must be true or false, not "yes""#,
        ),
        (r#"{"clusters": []}"#, "clusters: must be an object, not []"),
        (r#"{"clusters": {"a": 1}}"#, "clusters[a]: must be an object, not 1"),
        (
            r#"{"clusters": {"a": {"weight": 1.5}}}"#,
            "clusters[a].weight: must be a whole number, not 1.5",
        ),
        (
            r#"{"clusters": {"a": {"minReplicas": "3"}}}"#,
            r#"clusters[a].minReplicas: must be a whole number, not "3""#,
        ),
        (
            r#"{"strategy": "best"}"#,
            r#"strategy: must be "weights" or "spread", not "best""#,
        ),
        (r#"{"order": [1]}"#, "order: must be a list of cluster names, not [1]"),
        (
            r#"{"minAvailable": "many"}"#,
            r#"minAvailable: must be a whole number or a percentage, not "many""#,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(Preferences::parse(text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_cannot_be_meant_is_a_problem() {
    let table = [
        (
            r#"{"clusters": {"a": {"minReplicas": -1}}}"#,
            "clusters[a].minReplicas",
            "must be greater than or equal to 0",
        ),
        (
            r#"{"clusters": {"a": {"weight": -1}}}"#,
            "clusters[a].weight",
            "must be greater than or equal to 0",
        ),
        (
            r#"{"clusters": {"a": {"minReplicas": 3, "maxReplicas": 2}}}"#,
            "clusters[a].maxReplicas",
            "must be greater than or equal to minReplicas (3)",
        ),
        (
            r#"{"clusters": {"": {"weight": 1}}}"#,
            "clusters",
            "a cluster name must not be empty",
        ),
        (r#"{"minGroups": 2}"#, "minGroups", "needs spreadBy"),
        (
            r#"{"spreadBy": "zone", "minGroups": 0}"#,
            "minGroups",
            "must be greater than or equal to 1",
        ),
        (
            r#"{"spreadBy": "zone", "minGroups": 3, "maxGroups": 2}"#,
            "maxGroups",
            "must be greater than or equal to minGroups (3)",
        ),
        (r#"{"order": ["a", "a"]}"#, "order[1]", "is there twice"),
        (
            r#"{"minAvailable": "120%"}"#,
            "minAvailable",
            "must be between 0% and 100%",
        ),
        (
            r#"{"tolerations": [{"value": "x"}]}"#,
            "tolerations[0].key",
            "an empty key needs operator Exists",
        ),
    ];
    for (text, field, detail) in table {
        let problems = Preferences::parse(text).unwrap().problems();
        let shown: Vec<_> = problems.iter().map(|p| (p.field.as_str(), p.detail.as_str())).collect();
        assert_eq!(shown, [(field, detail)], "{text}");
    }
    assert_eq!(Preferences::equal_shares().problems(), []);
}

#[test]
fn newer_fields_are_read() {
    let text = r#"{"strategy": "spread", "spreadBy": "region", "minGroups": 2, "maxGroups": 3, "order": ["a", "b"],
        "capacityAware": true, "minAvailable": "90%", "waves": "region",
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "require": [{"key": "region", "operator": "in", "values": ["eu"]}]}"#;
    let preferences = Preferences::parse(text).unwrap();
    assert_eq!(preferences.strategy, SplitStrategy::Spread);
    assert_eq!(preferences.spread_by, Some(SpreadBy::Region));
    assert_eq!((preferences.min_groups, preferences.max_groups), (Some(2), Some(3)));
    assert_eq!(preferences.order, ["a", "b"]);
    assert!(preferences.capacity_aware);
    assert_eq!(preferences.min_available.unwrap().of(11), 10);
    assert_eq!(preferences.waves, Some(Waves::Region));
    assert!(preferences.tolerations[0].tolerates("gpu", "any", "NoSchedule"));
    assert!(!preferences.tolerations[0].tolerates("gpu", "any", "NoExecute"));
    assert_eq!(preferences.require.len(), 1);
    assert_eq!(preferences.problems(), []);
}

#[test]
fn the_annotation_depends_on_the_kind() {
    let object = |kind: &str| {
        json!({"kind": kind, "metadata": {"annotations": {
            "federation.kubernetes.io/deployment-preferences": "{\"rebalance\": true}"}}})
    };
    assert!(Preferences::of(&object("Deployment")).unwrap().unwrap().rebalance);
    assert_eq!(Preferences::of(&object("ReplicaSet")).unwrap(), None);
    assert_eq!(Preferences::of(&object("ConfigMap")).unwrap(), None);
}
