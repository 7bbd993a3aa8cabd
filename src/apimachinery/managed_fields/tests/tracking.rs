use super::*;

#[test]
fn a_creator_owns_what_it_creates_with_the_fields_around_it() {
    let mut world = World::new();
    world.update("kubectl-create", |object| *object = config_map(json!({"k": "1"})));
    assert_eq!(
        meta::get(world.live(), "managedFields").unwrap(),
        &json!([{"manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": "2023-11-14T22:13:21Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}, "f:k": {}}}}])
    );
}

#[test]
fn a_writer_takes_what_it_changes_from_all_others() {
    let mut world = World::new();
    world.apply("a", config_map(json!({"k": "1", "l": "1"})));
    world.update("b", |object| {
        object["data"]["k"] = "2".into();
        object["data"]["m"] = "2".into();
    });
    assert_eq!(world.owned_by("a"), [".data.l"]);
    assert_eq!(world.owned_by("b"), [".data.k", ".data.m"]);
}

#[test]
fn fields_that_go_are_nobodys() {
    let mut world = World::new();
    world.update("a", |object| *object = config_map(json!({"k": "1", "l": "1"})));
    world.update("b", |object| {
        object["data"].as_object_mut().unwrap().remove("k");
    });
    assert_eq!(world.managers(), ["a/Update"]);
    assert_eq!(world.owned_by("a"), [".data", ".data.l"]);
}

#[test]
fn writing_the_same_again_keeps_the_time() {
    let mut world = World::new();
    world.update("a", |object| *object = config_map(json!({"k": "1"})));
    let before = world.live().clone();
    world.update("a", |_| {});
    world.update("b", |_| {});
    assert_eq!(world.live(), &before);
}

#[test]
fn subresources_are_managers_of_their_own() {
    let mut world = World::new();
    world.update("m", |object| *object = deployment(json!({"replicas": 1})));
    world.update_at("m", "status", |object| object["status"]["replicas"] = 1.into());
    assert_eq!(world.managers(), ["m/Update", "m/Update/status"]);
    // The main resource does not write the status, nor the other way round.
    world.update("n", |object| object["status"]["replicas"] = 2.into());
    world.update_at("n", "status", |object| object["spec"]["replicas"] = 2.into());
    assert_eq!(world.managers(), ["m/Update", "m/Update/status"]);
}

#[test]
fn an_empty_list_of_managed_fields_gives_ownership_up() {
    for reset in [json!([]), json!([{}])] {
        let mut world = World::new();
        world.update("a", |object| *object = config_map(json!({"k": "1"})));
        world.update("a", |object| object["metadata"]["managedFields"] = reset);
        assert_eq!(world.managers(), Vec::<String>::new());
        world.update("a", |object| object["data"]["k"] = "2".into());
        assert_eq!(world.managers(), Vec::<String>::new());
    }
}

#[test]
fn managed_fields_of_the_client_count_unless_they_are_unreadable() {
    let mut world = World::new();
    world.update("a", |object| *object = config_map(json!({"k": "1"})));
    world.update("b", |object| {
        object["metadata"]["managedFields"][0]["manager"] = "renamed".into()
    });
    assert_eq!(world.managers(), ["renamed/Update"]);
    world.update("b", |object| {
        object["metadata"]["managedFields"][0]["operation"] = "Guess".into()
    });
    assert_eq!(world.managers(), ["renamed/Update"]);
    world.update("b", |object| {
        meta::remove(object, "managedFields");
    });
    assert_eq!(world.managers(), ["renamed/Update"]);
}

#[test]
fn many_updaters_become_ancient_changes() {
    let mut world = World::new();
    world.update("m00", |object| *object = config_map(json!({"k00": "1"})));
    for i in 1..12 {
        world.update(&format!("m{i:02}"), |object| {
            object["data"][format!("k{i:02}")] = "1".into()
        });
    }
    let managers = world.managers();
    assert_eq!(managers.len(), 10);
    assert_eq!(managers[0], "ancient-changes/Update");
    assert_eq!(
        world.owned_by("ancient-changes"),
        [".data", ".data.k00", ".data.k01", ".data.k02"]
    );
}

#[test]
fn times_alone_do_not_make_a_write() {
    let old = json!({"metadata": {"managedFields": [{"manager": "a", "time": "1"}]}, "data": {"k": 1}});
    let mut new = json!({"metadata": {"managedFields": [{"manager": "a", "time": "2"}]}, "data": {"k": 1}});
    keep_times_if_unchanged(&mut new, &old);
    assert_eq!(new, old);
    let mut new = json!({"metadata": {"managedFields": [{"manager": "a", "time": "2"}]}, "data": {"k": 2}});
    let before = new.clone();
    keep_times_if_unchanged(&mut new, &old);
    assert_eq!(new, before);
}

#[test]
fn ownership_of_replicas_goes_through_the_scale_and_back() {
    let replicas = Path::of_fields(&["spec", "replicas"]);
    let entry = |manager: &str, operation: &str, version: &str, fields: Value| json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": fields});
    let parent = [
        entry(
            "a",
            "Apply",
            "apps/v1",
            json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}),
        ),
        entry("b", "Update", "apps/v1", json!({"f:spec": {"f:minReadySeconds": {}}})),
    ];
    let scale = scale_to_subresource(&parent, &replicas).unwrap();
    assert_eq!(
        scale,
        [entry(
            "a",
            "Apply",
            "autoscaling/v1",
            json!({"f:spec": {"f:replicas": {}}})
        )]
    );
    assert_eq!(scale_to_parent(&parent, &scale, "apps/v1", &replicas).unwrap(), parent);
    // Somebody scales: the replicas are theirs.
    let mut scaler = entry("hpa", "Update", "autoscaling/v1", json!({"f:spec": {"f:replicas": {}}}));
    scaler["subresource"] = "scale".into();
    let after = scale_to_parent(&parent, &[scaler.clone()], "apps/v1", &replicas).unwrap();
    scaler["apiVersion"] = "apps/v1".into();
    let paused = entry("a", "Apply", "apps/v1", json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(after, [paused, parent[1].clone(), scaler]);
}

#[test]
fn an_updater_that_keeps_the_replicas_has_them_apart() {
    let replicas = Path::of_fields(&["spec", "replicas"]);
    let entry = |version: &str, fields: Value| {
        json!({"manager": "m", "operation": "Update", "apiVersion": version, "time": "2026-01-02T03:04:05Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}})
    };
    let parent = [entry("apps/v1", json!({"f:paused": {}, "f:replicas": {}}))];
    let scale = scale_to_subresource(&parent, &replicas).unwrap();
    let after = scale_to_parent(&parent, &scale, "apps/v1", &replicas).unwrap();
    let mut apart = entry("apps/v1", json!({"f:replicas": {}}));
    apart.as_object_mut().unwrap().shift_remove("time");
    assert_eq!(after, [apart, entry("apps/v1", json!({"f:paused": {}}))]);
}
