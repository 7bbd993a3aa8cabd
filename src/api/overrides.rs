//! Differences between clusters: the JSON of the overrides annotation.
//!
//! A list of `{"clusterSelector", "clusters", "patch"}`: `patch` is a JSON Patch (RFC 6902) for the copies of the object in
//! the clusters that are named in `clusters` or whose labels meet every requirement of `clusterSelector` (in the form of
//! the cluster selector annotation). With neither, it is for every cluster. Patches apply in order.

use apimachinery::{Object, patch::PatchError};
use serde_json::Value;

use crate::{
    cluster_selector::{self, Requirement},
    json::{items, text},
    kinds, well_known,
};

/// Why overrides cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// The JSON is not a list of overrides.
    #[error("{path}: must be {expected}")]
    Shape {
        /// Path inside the annotation.
        path: String,
        /// What must be there.
        expected: &'static str,
    },
    /// A cluster selector is not a good one.
    #[error("[{index}].clusterSelector")]
    Selector {
        /// Position in the list.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: cluster_selector::Error,
    },
    /// A patch does not apply to the object.
    #[error("[{index}].patch does not apply")]
    Apply {
        /// Position in the list.
        index: usize,
        /// Why not.
        #[source]
        source: PatchError,
    },
    /// A patch changes what makes an object the one it is.
    #[error("[{index}].patch must not change {field}")]
    Identity {
        /// Position in the list.
        index: usize,
        /// The field.
        field: &'static str,
    },
    /// The patched object is not a valid one.
    #[error("[{index}].patch makes the object invalid: {problem}")]
    Invalid {
        /// Position in the list.
        index: usize,
        /// The first error of the object.
        problem: String,
    },
}

/// A patch for some clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Names of clusters.
    pub clusters: Vec<String>,
    /// Requirements on labels of clusters.
    pub requirements: Vec<Requirement>,
    /// Whether requirements were given at all: an empty list meets every cluster, none at all meets those named.
    selective: bool,
    /// Operations of a JSON Patch.
    pub patch: Vec<Value>,
}

impl Override {
    /// Whether the patch is for a cluster with this name and these labels (a JSON object of strings).
    #[must_use]
    pub fn is_for(&self, name: &str, labels: &Value) -> bool {
        let named = self.clusters.iter().any(|n| n == name);
        let unrestricted = self.clusters.is_empty() && !self.selective;
        named || unrestricted || (self.selective && self.requirements.iter().all(|r| r.matches(labels)))
    }

    fn apply(&self, index: usize, object: Object) -> Result<Object, Error> {
        let identity = |o: &Object| {
            let metadata = &o["metadata"];
            [&o["apiVersion"], &o["kind"], &metadata["name"], &metadata["namespace"]].map(Value::clone)
        };
        let before = identity(&object);
        let body = Value::from(self.patch.clone()).to_string();
        let patched = apimachinery::patch::json_patch(object, body.as_bytes())
            .map_err(|source| Error::Apply { index, source })?;
        let fields = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];
        match identity(&patched).iter().zip(&before).position(|(new, old)| new != old) {
            Some(changed) => Err(Error::Identity {
                index,
                field: fields[changed],
            }),
            None => Ok(patched),
        }
    }
}

/// All differences between clusters of one object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides(pub Vec<Override>);

impl Overrides {
    /// Reads the value of the annotation.
    ///
    /// # Errors
    /// The text is not JSON, not a list of overrides, or a selector is not a good one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(text).map_err(Error::Syntax)?;
        let Value::Array(list) = value else {
            return Err(Error::Shape {
                path: "overrides".into(),
                expected: "a list",
            });
        };
        list.iter()
            .enumerate()
            .map(|(index, item)| one(index, item))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The overrides an object carries; none without the annotation.
    ///
    /// # Errors
    /// As [`Overrides::parse`].
    pub fn of(object: &Object) -> Result<Self, Error> {
        match object["metadata"]["annotations"][well_known::OVERRIDES].as_str() {
            Some(text) => Self::parse(text),
            None => Ok(Self::default()),
        }
    }

    /// The object as it is meant for a cluster.
    ///
    /// # Errors
    /// A patch does not apply or changes what makes an object the one it is.
    pub fn apply(&self, object: Object, cluster: &str, labels: &Value) -> Result<Object, Error> {
        let meant = self.0.iter().enumerate().filter(|(_, o)| o.is_for(cluster, labels));
        meant
            .into_iter()
            .try_fold(object, |object, (index, one)| one.apply(index, object))
    }

    /// Applies every patch by itself and checks what comes out, as admission does.
    ///
    /// # Errors
    /// A patch does not apply, or makes the object another one or an invalid one.
    pub fn try_each(&self, object: &Object) -> Result<(), Error> {
        for (index, one) in self.0.iter().enumerate() {
            let mut patched = one.apply(index, object.clone())?;
            if let Some(problem) = first_problem(&mut patched) {
                return Err(Error::Invalid { index, problem });
            }
        }
        Ok(())
    }
}

fn first_problem(object: &mut Object) -> Option<String> {
    let api_version = text(&object["apiVersion"]).to_owned();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = kinds::by_kind(group, version, text(&object["kind"]))?;
    let report = apimachinery::schema::Schema::global().check(&api_version, kind.kind, object);
    if let Some(error) = report.and_then(|report| report.error) {
        return Some(error);
    }
    kind.strategy.default(object);
    kind.strategy.validate(object).first().map(ToString::to_string)
}

fn one(index: usize, item: &Value) -> Result<Override, Error> {
    let shape = |field: &str, expected: &'static str| Error::Shape {
        path: format!("[{index}]{field}"),
        expected,
    };
    let Some(map) = item.as_object() else {
        return Err(shape("", "an object with `patch` and `clusterSelector` or `clusters`"));
    };
    if let Some(unknown) = map
        .keys()
        .find(|key| !["clusterSelector", "clusters", "patch"].contains(&key.as_str()))
    {
        return Err(shape(
            &format!(".{unknown}"),
            "absent: only `clusterSelector`, `clusters` and `patch` are known",
        ));
    }
    let clusters = &item["clusters"];
    if !(clusters.is_null() || clusters.is_array()) || items(clusters).iter().any(|name| !name.is_string()) {
        return Err(shape(".clusters", "a list of cluster names"));
    }
    let Some(patch) = item["patch"].as_array() else {
        return Err(shape(".patch", "a list of JSON Patch operations"));
    };
    let selector = &item["clusterSelector"];
    Ok(Override {
        clusters: items(clusters).iter().map(|name| text(name).to_owned()).collect(),
        requirements: cluster_selector::requirements(selector).map_err(|source| Error::Selector { index, source })?,
        selective: !selector.is_null(),
        patch: patch.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = r#"[
        {"clusterSelector": [{"key": "region", "operator": "in", "values": ["eu"]}],
         "patch": [{"op": "replace", "path": "/data/greeting", "value": "bonjour"}]},
        {"clusters": ["us"], "patch": [{"op": "add", "path": "/data/extra", "value": "1"}]}
    ]"#;

    fn config_map() -> Object {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n"},
            "data": {"greeting": "hello"}})
    }

    #[test]
    fn every_cluster_gets_the_patches_meant_for_it() {
        let overrides = Overrides::parse(TEXT).unwrap();
        let data =
            |cluster: &str, labels: Value| overrides.apply(config_map(), cluster, &labels).unwrap()["data"].take();
        assert_eq!(data("fr", json!({"region": "eu"})), json!({"greeting": "bonjour"}));
        assert_eq!(data("us", json!({})), json!({"greeting": "hello", "extra": "1"}));
        assert_eq!(
            data("us", json!({"region": "eu"})),
            json!({"greeting": "bonjour", "extra": "1"})
        );
        assert_eq!(data("jp", json!({})), json!({"greeting": "hello"}));
    }

    #[test]
    fn an_override_for_nobody_in_particular_is_for_everybody() {
        let overrides = Overrides::parse(r#"[{"patch": []}, {"clusterSelector": [], "patch": []}]"#).unwrap();
        assert!(overrides.0.iter().all(|o| o.is_for("any", &Value::Null)));
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let table = [
            ("{", "not valid JSON"),
            ("{}", "overrides: must be a list"),
            (
                "[1]",
                "[0]: must be an object with `patch` and `clusterSelector` or `clusters`",
            ),
            (
                r#"[{"patch": {}}]"#,
                "[0].patch: must be a list of JSON Patch operations",
            ),
            (
                r#"[{"patch": [], "clusters": "a"}]"#,
                "[0].clusters: must be a list of cluster names",
            ),
            (
                r#"[{"patch": [], "cluster": []}]"#,
                "[0].cluster: must be absent: only `clusterSelector`, `clusters` and `patch` are known",
            ),
            (
                r#"[{"patch": [], "clusterSelector": [{"key": "a", "operator": "x"}]}]"#,
                "[0].clusterSelector",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(Overrides::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn patches_are_tried_on_the_object() {
        let tried = |patch: &str| {
            let overrides = Overrides::parse(&format!(r#"[{{"patch": {patch}}}]"#)).unwrap();
            overrides.try_each(&config_map()).map_err(|e| e.to_string())
        };
        assert_eq!(tried(r#"[{"op": "add", "path": "/data/a", "value": "b"}]"#), Ok(()));
        let absent = tried(r#"[{"op": "replace", "path": "/spec/replicas", "value": 1}]"#);
        assert_eq!(absent.unwrap_err(), "[0].patch does not apply");
        let renamed = tried(r#"[{"op": "replace", "path": "/metadata/name", "value": "y"}]"#);
        assert_eq!(renamed.unwrap_err(), "[0].patch must not change metadata.name");
        let invalid = tried(r#"[{"op": "add", "path": "/data/a b", "value": "c"}]"#).unwrap_err();
        assert!(
            invalid.starts_with("[0].patch makes the object invalid: data[a b]: Invalid value: \"a b\": "),
            "{invalid}"
        );
    }
}
