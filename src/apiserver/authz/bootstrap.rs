//! The roles and bindings that every API server has from the start.
//!
//! They are made if missing, and rules and subjects that somebody took away come back at the next start unless the
//! object is annotated otherwise; what was added stays.

use std::collections::BTreeMap;

use apimachinery::{Object, meta};
use serde_json::{Map, Value, json};

use super::{
    rbac::{GROUP, Kind, rules_of},
    rule::{Rule, uncovered},
};

/// Set to `false` on an object to keep it as it is.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// What the policy file says of an object.
#[derive(Default)]
struct Draft {
    kind: &'static str,
    namespace: String,
    name: String,
    role: Option<(String, String)>,
    labels: BTreeMap<String, String>,
    aggregates: Vec<(String, String)>,
    rules: Vec<Rule>,
    subjects: Vec<Value>,
}

/// Every bootstrap object with its kind.
#[must_use]
pub fn objects() -> Vec<(Kind, Object)> {
    let text = include_str!("bootstrap/policy.txt");
    let mut drafts: Vec<Draft> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match (line.strip_prefix("  "), drafts.last_mut()) {
            (Some(line), Some(draft)) => draft.add(line),
            (None, _) => drafts.extend(Draft::begin(line)),
            (Some(_), None) => {}
        }
    }
    drafts.into_iter().map(Draft::finish).collect()
}

fn split(list: &str) -> Vec<String> {
    list.trim()
        .split(',')
        .map(|item| if item == "-" { String::new() } else { item.to_owned() })
        .collect()
}

fn pair(text: &str, separator: char) -> Option<(String, String)> {
    text.trim()
        .split_once(separator)
        .map(|(first, second)| (first.to_owned(), second.to_owned()))
}

impl Draft {
    fn begin(line: &str) -> Option<Self> {
        let (head, role) = line
            .split_once(" -> ")
            .map_or((line, None), |(head, role)| (head, Some(role)));
        let (kind, name) = head.split_once(' ')?;
        let kind = ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
            .into_iter()
            .find(|k| *k == kind)?;
        let (namespace, name) = match kind {
            "Role" | "RoleBinding" => pair(name, '/')?,
            _ => (String::new(), name.to_owned()),
        };
        let role = role.map(|role| pair(role, '/').unwrap_or_else(|| ("ClusterRole".to_owned(), role.to_owned())));
        Some(Self {
            kind,
            namespace,
            name,
            role,
            ..Self::default()
        })
    }

    fn add(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "label" => self.labels.extend(pair(rest, '=')),
            "aggregate" => self.aggregates.extend(pair(rest, '=')),
            "User" | "Group" => self
                .subjects
                .push(json!({"kind": word, "apiGroup": GROUP, "name": rest})),
            "ServiceAccount" => {
                let subject = pair(rest, '/').map(|(ns, name)| json!({"kind": word, "name": name, "namespace": ns}));
                self.subjects.extend(subject);
            }
            "url" => {
                if let Some((verbs, paths)) = rest.split_once(" ; ") {
                    let (verbs, non_resource_urls) = (split(verbs), split(paths));
                    self.rules.push(Rule {
                        verbs,
                        non_resource_urls,
                        ..Rule::default()
                    });
                }
            }
            _ => {
                let mut columns = line.split(" ; ").map(split);
                self.rules.push(Rule {
                    verbs: columns.next().unwrap_or_default(),
                    api_groups: columns.next().unwrap_or_default(),
                    resources: columns.next().unwrap_or_default(),
                    resource_names: columns.next().unwrap_or_default(),
                    non_resource_urls: Vec::new(),
                });
            }
        }
    }

    fn finish(mut self) -> (Kind, Object) {
        self.labels
            .insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
        let mut metadata = json!({"name": self.name});
        if !self.namespace.is_empty() {
            metadata["namespace"] = self.namespace.into();
        }
        metadata["labels"] = json!(self.labels);
        metadata["annotations"] = json!({AUTOUPDATE: "true"});
        let mut object = Map::new();
        object.insert("kind".into(), self.kind.into());
        object.insert("apiVersion".into(), API_VERSION.into());
        object.insert("metadata".into(), metadata);
        if let Some((kind, name)) = self.role {
            object.insert("subjects".into(), self.subjects.into());
            object.insert("roleRef".into(), json!({"apiGroup": GROUP, "kind": kind, "name": name}));
        } else if self.aggregates.is_empty() {
            object.insert("rules".into(), json!(self.rules));
        } else {
            let selector = |(key, value): (String, String)| json!({"matchLabels": {key: value}});
            let selectors: Vec<_> = self.aggregates.into_iter().map(selector).collect();
            object.insert("aggregationRule".into(), json!({"clusterRoleSelectors": selectors}));
            object.insert("rules".into(), Value::Null);
        }
        let kind = match self.kind {
            "ClusterRole" => Kind::ClusterRole,
            "ClusterRoleBinding" => Kind::ClusterRoleBinding,
            "Role" => Kind::Role,
            _ => Kind::RoleBinding,
        };
        (kind, Object::Object(object))
    }
}

/// What an existing object should become so that nothing of `wanted` is missing; `None` if it is fine.
#[must_use]
pub fn reconciled(existing: &Object, wanted: &Object) -> Option<Object> {
    if meta::annotation(existing, AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut updated = existing.clone();
    for (key, value) in meta::labels(wanted) {
        if meta::label(existing, key).is_none() {
            meta::set_label(&mut updated, key, value);
        }
    }
    if let Some(selectors) = wanted.get("aggregationRule") {
        if existing.get("aggregationRule") != Some(selectors) {
            updated["aggregationRule"] = selectors.clone();
        }
    } else if wanted.get("rules").is_some() {
        let missing = uncovered(&rules_of(existing), &rules_of(wanted));
        append(&mut updated, "rules", missing.into_iter().map(|rule| json!(rule)));
    }
    let subjects = |object: &Object| {
        object
            .get("subjects")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let present = subjects(existing);
    let missing = subjects(wanted)
        .into_iter()
        .filter(|subject| !present.contains(subject));
    append(&mut updated, "subjects", missing);
    (updated != *existing).then_some(updated)
}

fn append(object: &mut Object, field: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return;
    }
    let mut list = object.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    list.extend(items);
    object[field] = list.into();
}

/// The rules an aggregating ClusterRole should have: those of every other role its selectors match, by name, each once.
/// `None` if the role does not aggregate, or has them already.
#[must_use]
pub fn aggregated(role: &Object, all: &[Object]) -> Option<Vec<Value>> {
    let selectors = role.pointer("/aggregationRule/clusterRoleSelectors")?.as_array()?;
    let selectors: Vec<_> = selectors
        .iter()
        .filter_map(|s| apimachinery::selector::LabelSelector::from_object(Some(s)).ok())
        .collect();
    let mut sources: Vec<&Object> = all
        .iter()
        .filter(|source| meta::name(source) != meta::name(role))
        .filter(|source| selectors.iter().any(|selector| selector.matches_object(source)))
        .collect();
    sources.sort_by_key(|source| meta::name(source));
    let mut rules: Vec<Value> = Vec::new();
    for rule in sources.iter().flat_map(|source| rules_of(source)) {
        let rule = json!(rule);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    let current: Vec<_> = rules_of(role).into_iter().map(|rule| json!(rule)).collect();
    (current != rules || role.get("rules").is_none_or(Value::is_null)).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: Kind, name: &str) -> Object {
        objects()
            .into_iter()
            .find(|(k, o)| *k == kind && meta::name(o) == name)
            .unwrap()
            .1
    }

    #[test]
    fn the_policy_file_is_read_whole() {
        let objects = objects();
        let count = |kind| objects.iter().filter(|(k, _)| *k == kind).count();
        let lines = include_str!("bootstrap/policy.txt").lines();
        assert_eq!(
            objects.len(),
            lines.filter(|l| !l.is_empty() && !l.starts_with([' ', '#'])).count()
        );
        assert!(count(Kind::ClusterRole) > 60 && count(Kind::ClusterRoleBinding) > 50);
        assert!(count(Kind::Role) > 5 && count(Kind::RoleBinding) > 5);
        for (kind, object) in &objects {
            match kind {
                Kind::ClusterRole | Kind::Role => {
                    assert!(
                        object["aggregationRule"].is_object() || !rules_of(object).is_empty(),
                        "{object}"
                    );
                }
                // Nodes are bound by whoever adds them.
                _ if meta::name(object) == "system:node" => {}
                _ => assert!(!object["subjects"].as_array().unwrap().is_empty(), "{object}"),
            }
        }
        let admin = find(Kind::ClusterRoleBinding, "cluster-admin");
        assert_eq!(admin["subjects"][0]["name"], "system:masters");
        assert_eq!(rules_of(&find(Kind::ClusterRole, "cluster-admin")).len(), 2);
    }

    #[test]
    fn what_was_taken_away_comes_back_and_what_was_added_stays() {
        let wanted = find(Kind::ClusterRole, "system:discovery");
        assert_eq!(reconciled(&wanted, &wanted), None);
        let mut changed = wanted.clone();
        changed["rules"] = json!([{"verbs": ["get"], "nonResourceURLs": ["/mine"]}]);
        let restored = reconciled(&changed, &wanted).unwrap();
        assert!(uncovered(&rules_of(&restored), &rules_of(&wanted)).is_empty());
        assert_eq!(restored["rules"][0]["nonResourceURLs"][0], "/mine");
        meta::set_annotation(&mut changed, AUTOUPDATE, "false");
        assert_eq!(reconciled(&changed, &wanted), None);
    }

    #[test]
    fn edit_gathers_the_rules_of_its_parts() {
        let all: Vec<_> = objects()
            .into_iter()
            .filter(|(k, _)| *k == Kind::ClusterRole)
            .map(|(_, o)| o)
            .collect();
        let mut edit = find(Kind::ClusterRole, "edit");
        let rules = aggregated(&edit, &all).unwrap();
        assert!(rules.len() > 10);
        edit["rules"] = rules.into();
        assert_eq!(aggregated(&edit, &all), None);
        assert_eq!(aggregated(&find(Kind::ClusterRole, "cluster-admin"), &all), None);
    }
}
