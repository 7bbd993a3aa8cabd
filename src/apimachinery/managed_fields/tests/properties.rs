use proptest::prelude::*;

use super::*;

fn configurations() -> impl Strategy<Value = Value> {
    let data = prop::collection::btree_map("[abc]", "[12]", 0..4);
    let labels = prop::collection::btree_map("[ab]", "[12]", 0..3);
    let finalizers = prop::collection::btree_set("x/[abc]", 0..3);
    (data, labels, finalizers).prop_map(|(data, labels, finalizers)| {
        // Empty maps are not stored, so that applying one is a change every time; kube does the same.
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"}});
        if !data.is_empty() {
            object["data"] = json!(data);
        }
        if !labels.is_empty() {
            object["metadata"]["labels"] = json!(labels);
        }
        object["metadata"]["finalizers"] = json!(finalizers);
        object
    })
}

fn deployments() -> impl Strategy<Value = Value> {
    let container = prop::collection::btree_map("[abc]", ("[12]", prop::collection::btree_set(80..83_i64, 0..3)), 1..4);
    (
        container
            .prop_map(|map| map.into_iter().collect::<Vec<_>>())
            .prop_shuffle(),
        prop::option::of(0..3_i64),
    )
        .prop_map(|(list, replicas)| {
            let containers: Value = list
                .into_iter()
                .map(|(name, (image, ports))| {
                    let ports: Vec<_> = ports
                        .into_iter()
                        .map(|port| json!({"containerPort": port, "protocol": "TCP"}))
                        .collect();
                    json!({"name": name, "image": image, "ports": ports})
                })
                .collect();
            let mut object = super::containers(containers);
            if let Some(replicas) = replicas {
                object["spec"]["replicas"] = replicas.into();
            }
            object
        })
}

fn any_config() -> impl Strategy<Value = Vec<(bool, Value)>> {
    prop_oneof![
        prop::collection::vec((any::<bool>(), configurations()), 1..5),
        prop::collection::vec((any::<bool>(), deployments()), 1..5),
    ]
}

/// Two managers apply by turns, forced.
fn history(steps: &[(bool, Value)]) -> World {
    let mut world = World::new();
    for (first, config) in steps {
        world.force(if *first { "a" } else { "b" }, config.clone());
    }
    world
}

proptest! {
    // Each case is a whole history of applies.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applying_the_same_twice_is_applying_it_once(steps in any_config()) {
        let mut world = history(&steps);
        let (first, config) = steps.last().unwrap();
        let before = world.live().clone();
        world.force(if *first { "a" } else { "b" }, config.clone());
        prop_assert_eq!(world.live(), &before);
    }

    #[test]
    fn a_forced_apply_owns_everything_it_names(steps in any_config()) {
        let world = history(&steps);
        let (first, config) = steps.last().unwrap();
        let ty = shape::TypeRef::of_type(type_of(config));
        let named = field_set_of::field_set_of(config, ty).difference(system_fields::system_fields());
        let owned = world.owned_by(if *first { "a" } else { "b" });
        let named: Vec<_> = named.paths().iter().map(ToString::to_string).collect();
        prop_assert_eq!(owned, named);
    }

    #[test]
    fn what_an_apply_names_is_in_the_object(steps in any_config()) {
        let world = history(&steps);
        let (_, config) = steps.last().unwrap();
        let ty = shape::TypeRef::of_type(type_of(config));
        let named = field_set_of::field_set_of(&canonical(config.clone()), ty);
        let there = field_set_of::field_set_of(world.live(), ty);
        prop_assert!(named.difference(&there).is_empty(), "{:?}", named.difference(&there).paths());
    }

    #[test]
    fn when_all_managers_give_up_nothing_of_theirs_is_left(steps in any_config()) {
        let mut world = history(&steps);
        let (_, config) = steps.last().unwrap();
        let bare = json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": {"name": "x", "namespace": "n"}});
        for manager in ["a", "b"] {
            world.force(manager, bare.clone());
            // An object that nobody owns anything of starts anew with the next apply.
            prop_assume!(!world.managers().contains(&"before-first-apply/Update".to_owned()));
        }
        prop_assert_eq!(world.managers(), Vec::<String>::new());
        let ty = shape::TypeRef::of_type(type_of(config));
        let left = compare::Comparison::of(&canonical(bare), &without_managed_fields(world.live()), ty);
        // Empty maps may stay where the last entry went.
        let leaves = left.set().paths().iter().filter(|path| !empty_at(world.live(), path)).count();
        prop_assert_eq!(leaves, 0, "{}", world.live());
    }

    #[test]
    fn without_force_an_apply_conflicts_or_leaves_the_fields_of_others_alone(steps in any_config(), config in any_config()) {
        let mut world = history(&steps);
        let config = config[0].1.clone();
        prop_assume!(meta::kind(&config) == meta::kind(&steps[0].1));
        let (before, owned) = (world.live().clone(), world.owned_by("a"));
        if world.try_apply("c", &config, false).is_ok() {
            prop_assert_eq!(world.owned_by("a"), owned);
        } else {
            prop_assert_eq!(world.live(), &before);
        }
    }

    #[test]
    fn managed_fields_of_any_shape_are_read_or_refused(text in "(f:|k:|v:|i:|\\.)?[a-z\\{\\}\":1]{0,8}") {
        let _ = FieldSet::decode(&json!({text: {}}));
    }
}

fn empty_at(object: &Value, path: &Path) -> bool {
    let mut at = object;
    for element in &path.0 {
        match element {
            PathElement::Field(name) => at = at.get(name).unwrap_or(&Value::Null),
            _ => return false,
        }
    }
    at.is_null() || at.as_object().is_some_and(serde_json::Map::is_empty) || at.as_array().is_some_and(Vec::is_empty)
}
