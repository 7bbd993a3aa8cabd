//! RBAC rules: what they allow, and whether one set of them covers another.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Attributes, Target};

const ALL: &str = "*";

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs; `*` is all.
    #[serde(deserialize_with = "null_is_empty")]
    pub verbs: Vec<String>,
    /// API groups; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, as `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub resources: Vec<String>,
    /// Names of objects; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub resource_names: Vec<String>,
    /// Paths outside of the API; `*` at the end is any rest.
    #[serde(
        rename = "nonResourceURLs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == ALL || item == wanted)
}

impl Rule {
    /// Whether it allows what is asked for.
    #[must_use]
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        match attributes.target {
            Target::Path(path) => self.non_resource_urls.iter().any(|pattern| path_matches(pattern, path)),
            Target::Resource(wanted) => {
                has(&self.api_groups, wanted.group)
                    && self.resource_matches(wanted.resource, wanted.subresource)
                    && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == wanted.name))
            }
        }
    }

    fn resource_matches(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|pattern| {
            if pattern == ALL {
                return true;
            }
            match pattern.split_once('/') {
                None => subresource.is_empty() && pattern == resource,
                Some((wanted, sub)) => sub == subresource && !sub.is_empty() && (wanted == resource || wanted == ALL),
            }
        })
    }

    /// The rule as rules of one group, one resource and one name (or one path) each; verbs apart too.
    fn singles(&self) -> impl Iterator<Item = Single<'_>> {
        let names: Vec<&str> = if self.resource_names.is_empty() {
            vec![""]
        } else {
            self.resource_names.iter().map(|n| &**n).collect()
        };
        let paths = self.verbs.iter().flat_map(|verb| {
            self.non_resource_urls.iter().map(move |path| Single {
                verb,
                what: What::Path(path),
            })
        });
        let resources = self.verbs.iter().flat_map(move |verb| {
            let names = names.clone();
            self.api_groups.iter().flat_map(move |group| {
                let names = names.clone();
                self.resources.iter().flat_map(move |resource| {
                    let names = names.clone();
                    names.into_iter().map(move |name| Single {
                        verb,
                        what: What::Resource { group, resource, name },
                    })
                })
            })
        });
        paths.chain(resources)
    }

    /// Whether it allows all of a single rule, wildcards included.
    fn covers(&self, single: &Single<'_>) -> bool {
        has(&self.verbs, single.verb)
            && match single.what {
                What::Path(path) => self.non_resource_urls.iter().any(|pattern| {
                    pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
                }),
                What::Resource { group, resource, name } => {
                    let (main, sub) = resource.split_once('/').unwrap_or((resource, ""));
                    has(&self.api_groups, group)
                        && (self
                            .resources
                            .iter()
                            .any(|pattern| pattern == ALL || pattern == resource)
                            || (!sub.is_empty() && self.resource_matches(main, sub)))
                        && (self.resource_names.is_empty()
                            || (!name.is_empty() && self.resource_names.iter().any(|own| own == name)))
                }
            }
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[derive(Clone, Copy)]
struct Single<'a> {
    verb: &'a str,
    what: What<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum What<'a> {
    Path(&'a str),
    Resource {
        group: &'a str,
        resource: &'a str,
        name: &'a str,
    },
}

/// What of `wanted` is not covered by `held`: one rule per group, resource and name, with the verbs that miss.
/// Empty if everything is covered.
#[must_use]
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<(What<'_>, Rule)> = Vec::new();
    for single in wanted.iter().flat_map(Rule::singles) {
        if held.iter().any(|rule| rule.covers(&single)) {
            continue;
        }
        let verb = single.verb.to_owned();
        if let Some((_, rule)) = missing.iter_mut().find(|(what, _)| *what == single.what) {
            if !rule.verbs.contains(&verb) {
                rule.verbs.push(verb);
            }
            continue;
        }
        let verbs = vec![verb];
        let rule = match single.what {
            What::Path(path) => Rule {
                verbs,
                non_resource_urls: vec![path.to_owned()],
                ..Rule::default()
            },
            What::Resource { group, resource, name } => Rule {
                verbs,
                api_groups: vec![group.to_owned()],
                resources: vec![resource.to_owned()],
                resource_names: if name.is_empty() {
                    Vec::new()
                } else {
                    vec![name.to_owned()]
                },
                non_resource_urls: Vec::new(),
            },
        };
        missing.push((single.what, rule));
    }
    let mut rules: Vec<Rule> = missing.into_iter().map(|(_, rule)| rule).collect();
    rules.sort_by_cached_key(ToString::to_string);
    rules
}

impl fmt::Display for Rule {
    /// As kube-apiserver shows rules in its errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = fields.iter().filter(|(_, values)| !values.is_empty());
        let shown: Vec<_> = shown
            .map(|(name, values)| format!("{name}:{}", quoted(values)))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list as Go's `%q` shows it.
#[must_use]
pub fn quoted(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", values.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{authn::UserInfo, authz::Resource};

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Rule {
            verbs: split(verbs),
            api_groups: split(groups),
            resources: split(resources),
            resource_names: if names.is_empty() { Vec::new() } else { split(names) },
            non_resource_urls: Vec::new(),
        }
    }

    fn allows(rule: &Rule, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        let user = UserInfo::default();
        let target = Target::Resource(Resource {
            group,
            resource,
            subresource,
            name,
            ..Resource::default()
        });
        rule.allows(&Attributes {
            user: &user,
            verb,
            target,
        })
    }

    #[test]
    fn rules_match_verb_group_resource_and_name() {
        let pods = rule("get,list", "", "pods", "");
        assert!(allows(&pods, "get", "", "pods", "", "a"));
        assert!(!allows(&pods, "delete", "", "pods", "", "a"));
        assert!(!allows(&pods, "get", "apps", "pods", "", "a"));
        assert!(!allows(&pods, "get", "", "pods", "log", "a"));
        let named = rule("get", "", "secrets", "a");
        assert!(allows(&named, "get", "", "secrets", "", "a"));
        assert!(!allows(&named, "get", "", "secrets", "", "b"));
        assert!(!allows(&named, "get", "", "secrets", "", ""));
    }

    #[test]
    fn wildcards_match_subresources() {
        let scales = rule("*", "*", "*/scale", "");
        assert!(allows(&scales, "patch", "apps", "deployments", "scale", "a"));
        assert!(!allows(&scales, "patch", "apps", "deployments", "", "a"));
        assert!(allows(&rule("*", "*", "*", ""), "x", "y", "z", "w", ""));
    }

    #[test]
    fn paths_match_exactly_or_by_prefix() {
        let rule = Rule {
            verbs: vec!["get".into()],
            non_resource_urls: vec!["/api".into(), "/apis/*".into()],
            ..Rule::default()
        };
        let user = UserInfo::default();
        let allows = |path| {
            rule.allows(&Attributes {
                user: &user,
                verb: "get",
                target: Target::Path(path),
            })
        };
        assert!(allows("/api") && allows("/apis/apps/v1") && !allows("/apis") && !allows("/api/v1"));
    }

    #[test]
    fn what_is_not_held_is_told_per_resource() {
        let held = [rule("get", "", "pods", ""), rule("*", "apps", "*", "")];
        assert!(
            uncovered(
                &held,
                &[
                    rule("get", "", "pods", "a"),
                    rule("delete", "apps", "deployments/scale", "")
                ]
            )
            .is_empty()
        );
        let missing = uncovered(&held, &[rule("get,list", ",apps", "pods,secrets", "a")]);
        let texts: Vec<_> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["list"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get" "list"]}"#,
            ]
        );
    }

    #[test]
    fn a_rule_for_names_does_not_cover_all_names() {
        let held = [rule("get", "", "pods", "a")];
        assert_eq!(uncovered(&held, &[rule("get", "", "pods", "")]).len(), 1);
        assert_eq!(uncovered(&held, &[rule("*", "", "pods", "a")]).len(), 1);
    }
}
