use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::patch::PatchError;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn pod(doc: Value, patch: Value) -> Result<Value, PatchError> {
    let wrap = |spec: Value| json!({"spec": spec});
    strategic_merge(wrap(doc), &wrap(patch), POD).map(|mut object| object["spec"].take())
}

fn error(doc: Value, patch: Value) -> (u16, String) {
    let status = pod(doc, patch).unwrap_err().to_status();
    (status.code, status.message)
}

#[test]
fn lists_with_a_merge_key_are_merged_by_it() {
    let doc = json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b"}]});
    let patch = json!({"containers": [{"name": "a", "image": "2"}]});
    let result = json!({"containers": [{"name": "a", "image": "2", "ports": [{"containerPort": 80}]}, {"name": "b"}]});
    assert_eq!(pod(doc, patch), Ok(result));
}

#[test]
fn new_items_come_first_unless_an_order_is_given() {
    let doc = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let names = |result: Result<Value, PatchError>| {
        let list = result.unwrap()["containers"].take();
        list.as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join("")
    };
    assert_eq!(names(pod(doc.clone(), json!({"containers": [{"name": "c"}]}))), "cab");
    assert_eq!(
        names(pod(doc.clone(), json!({"containers": [{"name": "b"}, {"name": "c"}]}))),
        "abc"
    );
    let order = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
    let patch = json!({"$setElementOrder/containers": order(&["b", "c", "a"]), "containers": [{"name": "c"}]});
    assert_eq!(names(pod(doc.clone(), patch)), "bca");
    assert_eq!(
        names(pod(
            doc.clone(),
            json!({"$setElementOrder/containers": order(&["b", "a"])})
        )),
        "ba"
    );
    let three = json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]});
    assert_eq!(
        names(pod(three, json!({"$setElementOrder/containers": order(&["b", "a"])}))),
        "xba"
    );
}

#[test]
fn items_are_deleted_by_directive() {
    let doc = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch =
        json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"$patch": "delete", "name": "a"}]});
    assert_eq!(pod(doc, patch), Ok(json!({"containers": [{"name": "b"}]})));
}

#[test]
fn a_list_is_replaced_by_directive() {
    let doc = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"containers": [{"name": "c"}, {"$patch": "replace"}]});
    assert_eq!(pod(doc, patch), Ok(json!({"containers": [{"name": "c"}]})));
}

#[test]
fn objects_are_replaced_and_emptied_by_directive() {
    let doc = json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}});
    let replace = json!({"securityContext": {"$patch": "replace", "fsGroup": 3}});
    assert_eq!(
        pod(doc.clone(), replace.clone()),
        Ok(json!({"securityContext": {"fsGroup": 3}}))
    );
    assert_eq!(
        pod(doc, json!({"securityContext": {"$patch": "delete"}})),
        Ok(json!({"securityContext": {}}))
    );
    assert_eq!(pod(json!({}), replace), Ok(json!({})));
}

#[test]
fn lists_without_a_strategy_are_replaced() {
    let doc = json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["1", "2"]}]});
    let patch = json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]});
    let result = json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["3"]}]});
    assert_eq!(pod(doc, patch), Ok(result));
}

#[test]
fn lists_of_scalars_are_sets() {
    let metadata = |patch: Value| {
        let doc = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
        strategic_merge(doc, &json!({"metadata": patch}), POD).map(|mut o| o["metadata"]["finalizers"].take())
    };
    assert_eq!(
        metadata(json!({"finalizers": ["d", "b"]})),
        Ok(json!(["d", "a", "b", "c"]))
    );
    assert_eq!(
        metadata(json!({"$deleteFromPrimitiveList/finalizers": ["b", "x"]})),
        Ok(json!(["a", "c"]))
    );
    let both = json!({"$setElementOrder/finalizers": ["c", "d", "a"], "$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d"]});
    assert_eq!(metadata(both), Ok(json!(["c", "d", "a"])));
    assert_eq!(metadata(json!({"finalizers": null})), Ok(json!(null)));
}

#[test]
fn retained_keys_push_out_the_others() {
    let doc = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]});
    assert_eq!(
        pod(doc, patch),
        Ok(json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}))
    );
    let strategy = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let result = json!({"spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(strategic_merge(strategy, &patch, DEPLOYMENT), Ok(result));
}

#[test]
fn null_deletes_and_is_dropped_from_what_is_new() {
    assert_eq!(
        pod(json!({"nodeName": "x"}), json!({"nodeName": null, "hostname": null})),
        Ok(json!({}))
    );
    let patch = json!({"affinity": {"nodeAffinity": null, "podAffinity": {}}});
    assert_eq!(pod(json!({}), patch), Ok(json!({"affinity": {"podAffinity": {}}})));
}

#[test]
fn maps_of_strings_are_merged() {
    let doc = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}}});
    assert_eq!(
        strategic_merge(doc, &patch, POD),
        Ok(json!({"metadata": {"labels": {"b": "2", "c": "3"}}}))
    );
}

#[test]
fn errors_have_kubes_words_and_codes() {
    let two = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
    for (patch, code, message) in [
        (
            json!({"containers": [{"image": "x"}]}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"$patch": "merge", "name": "a"}]}),
            500,
            "merging lists cannot yet be specified in the patch",
        ),
        (
            json!({"containers": [{"$patch": "x", "name": "a"}]}),
            500,
            "unknown patch type: x in map: map[$patch:x name:a]",
        ),
        (
            json!({"$patch": "merge"}),
            500,
            "unknown patch type: merge in map: map[$patch:merge]",
        ),
        (json!({"$retainKeys": "x"}), 400, "invalid patch format of retainKeys"),
        (
            json!({"$retainKeys": ["x"], "y": 1}),
            400,
            "invalid patch format of retainKeys",
        ),
        (
            json!({"$setElementOrder": []}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"$setElementOrder/containers": "x"}),
            500,
            "expected a []interface {}, but received a string",
        ),
        (
            json!({"$deleteFromPrimitiveList": []}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "c"}]}),
            500,
            "The order in patch list:\n[map[name:c]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(error(two(), patch), (code, message.to_owned()));
    }
    let unknown = strategic_merge(json!({"x": {}}), &json!({"x": {}}), POD).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "unable to find api field in struct Pod for the json field \"x\""
    );
    assert_eq!(
        strategic_merge(json!({}), &json!([]), POD)
            .unwrap_err()
            .to_status()
            .code,
        400
    );
    assert_eq!(
        strategic_merge(json!({}), &json!({}), "no.such.Type")
            .unwrap_err()
            .to_status()
            .code,
        400
    );
}

fn items() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[abc]", "[12]", 0..4).prop_shuffle_values()
}

/// Containers in any order, each name once.
trait ShuffledContainers {
    fn prop_shuffle_values(self) -> BoxedStrategy<Value>;
}

impl<S: Strategy<Value = std::collections::BTreeMap<String, String>> + 'static> ShuffledContainers for S {
    fn prop_shuffle_values(self) -> BoxedStrategy<Value> {
        self.prop_flat_map(|map| Just(map.into_iter().collect::<Vec<_>>()).prop_shuffle())
            .prop_map(|list| {
                list.into_iter()
                    .map(|(name, image)| json!({"name": name, "image": image}))
                    .collect()
            })
            .boxed()
    }
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(doc in items(), patch in items()) {
        let patch = json!({"containers": patch});
        let once = pod(json!({"containers": doc}), patch.clone()).unwrap();
        prop_assert_eq!(pod(once.clone(), patch).unwrap(), once);
    }

    #[test]
    fn every_item_of_the_patch_is_in_the_result_in_its_order(doc in items(), patch in items()) {
        let result = pod(json!({"containers": doc}), json!({"containers": patch.clone()})).unwrap();
        let result = result["containers"].as_array().cloned().unwrap_or_default();
        let named: Vec<_> = result.iter().filter(|item| patch.as_array().unwrap().contains(item)).cloned().collect();
        prop_assert_eq!(Value::Array(named), patch);
    }

    #[test]
    fn the_empty_patch_changes_nothing(doc in items()) {
        let doc = json!({"containers": doc});
        prop_assert_eq!(pod(doc.clone(), json!({})).unwrap(), doc);
    }
}

#[test]
fn big_lists_take_no_quadratic_time() {
    let containers = |from: usize| {
        (from..from + 20_000)
            .map(|i| json!({"name": i.to_string()}))
            .collect::<Value>()
    };
    let started = std::time::Instant::now();
    let result = pod(
        json!({"containers": containers(0)}),
        json!({"containers": containers(10_000)}),
    )
    .unwrap();
    assert_eq!(result["containers"].as_array().map(Vec::len), Some(30_000));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
