use super::*;

#[test]
fn the_applier_owns_what_it_applies() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1"})));
    assert_eq!(
        meta::get(world.live(), "managedFields").unwrap(),
        &json!([{"manager": "a", "operation": "Apply", "apiVersion": "v1", "time": "2023-11-14T22:13:21Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:k": {}}}}])
    );
}

#[test]
fn fields_no_longer_applied_go_unless_others_own_them() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"mine": "1", "shared": "2"})));
    world.apply("b", config_map(json!({"shared": "2"})));
    world.apply("a", config_map(json!({})));
    assert_eq!(world.live()["data"], json!({"shared": "2"}));
    assert_eq!(world.managers(), ["b/Apply", "a/Apply"]);
    world.apply(
        "b",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}}),
    );
    assert!(
        world.live()["data"].as_object().is_none_or(serde_json::Map::is_empty),
        "{}",
        world.live()
    );
}

#[test]
fn changing_fields_of_others_is_a_conflict_that_names_them() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1", "l": "1"})));
    assert_eq!(
        world.conflict("b", config_map(json!({"k": "2"}))),
        "Apply failed with 1 conflict: conflict with \"a\": .data.k"
    );
    world.update("kubectl-edit", |object| object["data"]["m"] = "1".into());
    assert_eq!(
        world.conflict("b", config_map(json!({"k": "2", "l": "2", "m": "2"}))),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.k\n- .data.l\nconflicts with \"kubectl-edit\" using v1:\n- .data.m"
    );
}

#[test]
fn a_conflict_is_409_with_a_cause_per_field() {
    let mut world = World::new();
    world.update_at("m", "", |object| *object = deployment(json!({"replicas": 1})));
    world.update_at("s", "status", |object| object["status"]["replicas"] = 1.into());
    let error = world
        .try_apply("b", &deployment(json!({"replicas": 2})), false)
        .unwrap_err();
    let status = error.to_status();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"m\" using apps/v1: .spec.replicas"
    );
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("FieldManagerConflict", ".spec.replicas")
    );
    assert_eq!(cause.message, "conflict with \"m\" using apps/v1");
}

#[test]
fn force_takes_fields_over() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1", "l": "1"})));
    world.force("b", config_map(json!({"k": "2"})));
    assert_eq!(world.live()["data"], json!({"k": "2", "l": "1"}));
    assert_eq!(
        (world.owned_by("a"), world.owned_by("b")),
        (vec![".data.l".into()], vec![".data.k".into()])
    );
    // Who lost a field does not remove it by no longer applying it.
    world.apply("a", config_map(json!({"l": "1"})));
    assert_eq!(world.live()["data"], json!({"k": "2", "l": "1"}));
}

#[test]
fn applying_an_equal_value_shares_ownership() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1"})));
    world.apply("b", config_map(json!({"k": "1"})));
    assert_eq!(world.owned_by("b"), [".data.k"]);
    world.conflict("a", config_map(json!({"k": "2"})));
}

#[test]
fn items_of_keyed_lists_are_owned_one_by_one() {
    let mut world = World::new();
    world.apply("a", containers(json!([{"name": "one", "image": "i:1"}])));
    world.apply(
        "b",
        containers(json!([{"name": "two", "image": "i:2", "ports": [{"containerPort": 80}]}])),
    );
    let names = |world: &World| {
        let list = world
            .live()
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array)
            .cloned();
        list.unwrap_or_default()
            .iter()
            .map(|c| c["name"].as_str().unwrap_or("").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&world), ["one", "two"]);
    let prefix = ".spec.template.spec.containers";
    assert_eq!(
        world.owned_by("b"),
        [
            format!("{prefix}[name=\"two\"]"),
            format!("{prefix}[name=\"two\"].image"),
            format!("{prefix}[name=\"two\"].name"),
            format!("{prefix}[name=\"two\"].ports[containerPort=80,protocol=\"TCP\"]"),
            format!("{prefix}[name=\"two\"].ports[containerPort=80,protocol=\"TCP\"].containerPort"),
        ]
    );
    world.apply("b", deployment(json!({})));
    assert_eq!(names(&world), ["one"]);
}

#[test]
fn an_item_goes_with_its_owner_even_if_others_own_fields_in_it() {
    let mut world = World::new();
    world.apply("a", containers(json!([{"name": "c", "image": "i:1"}])));
    world.update("editor", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["workingDir"] = "/x".into();
    });
    world.apply("a", deployment(json!({})));
    let containers = world.live().pointer("/spec/template/spec/containers").unwrap();
    assert!(containers.as_array().is_none_or(Vec::is_empty), "{containers}");
    // An item that somebody else applies as well stays, with what they own.
    let mut world = World::new();
    world.apply("a", containers_of("c", json!({"image": "i:1", "tty": true})));
    world.apply("b", containers_of("c", json!({"image": "i:1"})));
    world.apply("a", deployment(json!({})));
    let container = world.live().pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!((container["image"].as_str(), container.get("tty")), (Some("i:1"), None));
}

fn containers_of(name: &str, mut container: Value) -> Value {
    container["name"] = name.into();
    containers(json!([container]))
}

#[test]
fn merged_lists_follow_the_configuration_and_keep_the_items_of_others_in_place() {
    let order = |live: &[&str], config: &[&str]| {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|n| json!({"name": n, "image": "i"}))
                .collect::<Value>()
        };
        let mut world = World::new();
        world.apply("a", containers(list(live)));
        world.apply("b", containers(list(config)));
        let merged = world
            .live()
            .pointer("/spec/template/spec/containers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap();
        merged
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect::<String>()
    };
    for (live, config, merged) in [
        (vec!["a", "b"], vec!["a", "b"], "ab"),
        (vec!["a", "b"], vec!["b", "a"], "ba"),
        (vec!["a", "b", "c"], vec!["c", "a"], "bca"),
        (vec!["a", "x", "b"], vec!["a", "b"], "axb"),
        (vec!["a", "x", "b"], vec!["b", "a"], "xba"),
        (vec!["a", "b"], vec!["c"], "abc"),
        (vec!["a", "b"], vec!["c", "a"], "cab"),
        (vec!["a", "b"], vec!["a", "c"], "abc"),
        (vec![], vec!["b", "a"], "ba"),
    ] {
        assert_eq!(order(&live, &config), merged, "{live:?} {config:?}");
    }
}

#[test]
fn atomic_values_are_owned_whole() {
    let mut world = World::new();
    world.apply("a", deployment(json!({"selector": {"matchLabels": {"a": "1"}}})));
    assert_eq!(world.owned_by("a"), [".spec.selector"]);
    let conflict = world.conflict("b", deployment(json!({"selector": {"matchLabels": {"b": "1"}}})));
    assert_eq!(
        conflict,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.selector"
    );
    world.force("b", deployment(json!({"selector": {"matchLabels": {"b": "1"}}})));
    assert_eq!(world.live()["spec"]["selector"], json!({"matchLabels": {"b": "1"}}));
}

#[test]
fn sets_are_owned_by_value() {
    let finalizers =
        |list: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "finalizers": list}});
    let mut world = World::new();
    world.apply("a", finalizers(json!(["x/a", "x/b"])));
    world.apply("b", finalizers(json!(["x/c"])));
    assert_eq!(world.owned_by("b"), [".metadata.finalizers[=\"x/c\"]"]);
    world.apply("a", finalizers(json!(["x/b"])));
    assert_eq!(world.live()["metadata"]["finalizers"], json!(["x/b", "x/c"]));
}

#[test]
fn empty_maps_are_owned_and_empty_merged_lists_are_not() {
    let mut world = World::new();
    world.apply(
        "a",
        deployment(json!({"template": {"metadata": {"labels": {}}, "spec": {"containers": []}}})),
    );
    assert_eq!(world.owned_by("a"), [".spec.template.metadata.labels"]);
}

#[test]
fn an_apply_that_changes_nothing_changes_nothing() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1"})));
    let before = world.live().clone();
    world.apply("a", config_map(json!({"k": "1"})));
    assert_eq!(world.live(), &before);
}

#[test]
fn what_was_never_tracked_belongs_to_before_first_apply() {
    let mut world = World::new();
    world.live = Some(canonical(config_map(json!({"k": "1", "l": "1"}))));
    let conflict = world.conflict("a", config_map(json!({"k": "2"})));
    assert_eq!(
        conflict,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
    );
    world.apply("a", config_map(json!({"k": "1"})));
    assert_eq!(world.managers(), ["a/Apply", "before-first-apply/Update"]);
    assert_eq!(world.owned_by("before-first-apply"), [".data", ".data.k", ".data.l"]);
}

#[test]
fn what_kubectl_applied_client_side_is_no_conflict_for_it() {
    let annotated = |data: Value, applied: Value| {
        let mut object = config_map(data);
        let text = config_map(applied).to_string();
        object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": text});
        object
    };
    let mut world = World::new();
    world.update("kubectl-client-side-apply", |object| {
        *object = annotated(json!({"k": "1"}), json!({"k": "1"}))
    });
    world.conflict("other", config_map(json!({"k": "2"})));
    world.apply("kubectl", config_map(json!({"k": "2"})));
    assert_eq!(world.live()["data"], json!({"k": "2"}));
    let annotation = meta::annotation(world.live(), "kubectl.kubernetes.io/last-applied-configuration").unwrap();
    assert_eq!(
        annotation,
        "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"2\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\",\"namespace\":\"n\"}}\n"
    );
    // What somebody else changed since is a conflict all the same.
    let mut world = World::new();
    world.update("kubectl-client-side-apply", |object| {
        *object = annotated(json!({"k": "1"}), json!({"k": "0"}))
    });
    world.conflict("kubectl", config_map(json!({"k": "2"})));
}

#[test]
fn identity_is_never_owned() {
    let mut world = World::new();
    world.apply("a", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n", "labels": {"l": "1"}}}));
    assert_eq!(world.owned_by("a"), [".metadata.labels.l"]);
    world.apply(
        "b",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}}),
    );
    assert_eq!(world.managers(), ["a/Apply"]);
}

#[test]
fn the_main_resource_does_not_own_the_status() {
    let mut world = World::new();
    let mut config = deployment(json!({"replicas": 1}));
    config["status"] = json!({"replicas": 5});
    world.apply("a", config);
    assert_eq!(world.owned_by("a"), [".spec.replicas"]);
}

#[test]
fn configurations_that_do_not_fit_are_refused_in_kubes_words() {
    let refused = |config: Value| World::new().try_apply("a", &config, false).unwrap_err().to_status();
    let mut with_managed_fields = config_map(json!({}));
    with_managed_fields["metadata"]["managedFields"] = json!([]);
    let status = refused(with_managed_fields);
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "metadata.managedFields must be nil")
    );
    let status = refused(deployment(json!({"replicaz": 1})));
    let prefix = "failed to create typed patch object (/d; apps/v1, Kind=Deployment): ";
    assert_eq!(
        (status.code, status.message),
        (500, format!("{prefix}.spec.replicaz: field not declared in schema"))
    );
    let status = refused(deployment(json!({"replicas": "1"})));
    assert_eq!(
        status.message,
        format!("{prefix}.spec.replicas: expected numeric (int or float), got string")
    );
    let status = refused(containers(json!([{"name": "a"}, {"name": "a"}])));
    assert_eq!(
        status.message,
        format!("{prefix}.spec.template.spec.containers: duplicate entries for key [name=\"a\"]")
    );
    let status = refused(containers(json!([{"name": "a", "resources": {"limits": {"cpu": {}}}}])));
    assert_eq!(
        status.message,
        format!(
            "{prefix}.spec.template.spec.containers[name=\"a\"].resources.limits.cpu: expected any scalar, got &{{map[]}}"
        )
    );
    let status = refused(deployment(
        json!({"template": {"spec": {"topologySpreadConstraints": [null]}}}),
    ));
    assert_eq!(
        status.message,
        format!(
            "{prefix}.spec.template.spec.topologySpreadConstraints: element 0: associative list with keys may not have a null element"
        )
    );
    let mut world = World::new();
    world.apply("a", config_map(json!({})));
    let error = world.try_apply("a", &deployment(json!({})), false).unwrap_err();
    assert_eq!(error.to_string(), "invalid object type: apps/v1, Kind=Deployment");
}

#[test]
fn duplicates_in_stored_lists_are_tolerated() {
    let mut world = World::new();
    let ports = |list: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": list}});
    world.update("m", |object| {
        *object =
            ports(json!([{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 80, "protocol": "TCP"}]));
    });
    world.apply(
        "a",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"x": "y"}}}),
    );
    assert_eq!(world.live()["spec"]["ports"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.owned_by("a"), [".metadata.labels.x"]);
}

#[test]
fn objects_without_a_schema_are_merged_as_they_look() {
    let custom =
        |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec});
    let mut world = World::new();
    world.apply("a", custom(json!({"map": {"a": 1}, "list": [1, 2]})));
    world.apply("b", custom(json!({"map": {"b": {"c": true}}})));
    assert_eq!(
        world.live()["spec"],
        json!({"map": {"a": 1, "b": {"c": true}}, "list": [1, 2]})
    );
    assert_eq!(
        world.conflict("b", custom(json!({"list": [3]}))),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.list"
    );
    world.force("b", custom(json!({"map": "text"})));
    assert_eq!(world.live()["spec"]["map"], "text");
}

#[test]
fn a_missing_key_is_its_default() {
    let mut world = World::new();
    world.apply(
        "a",
        containers(json!([{"name": "c", "ports": [{"containerPort": 80}]}, {"image": "i"}])),
    );
    let prefix = ".spec.template.spec.containers";
    let owned = world.owned_by("a");
    for path in [
        "[name=\"\"]",
        "[name=\"\"].image",
        "[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"]",
    ] {
        assert!(owned.contains(&format!("{prefix}{path}")), "{path} {owned:?}");
    }
}

#[test]
fn big_lists_take_no_quadratic_time() {
    let ports = |from: usize| {
        (from..from + 4_000)
            .map(|i| json!({"containerPort": i}))
            .collect::<Value>()
    };
    let started = std::time::Instant::now();
    let mut world = World::new();
    world.apply("a", containers(json!([{"name": "c", "ports": ports(0)}])));
    world.apply("b", containers(json!([{"name": "c", "ports": ports(2_000)}])));
    let ports = world.live().pointer("/spec/template/spec/containers/0/ports").unwrap();
    assert_eq!(ports.as_array().map(Vec::len), Some(6_000));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
