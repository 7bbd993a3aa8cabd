//! The options of lists, watches and writes, with kube-apiserver's refusals of senseless combinations.

use apimachinery::{
    field::{self, ErrorList},
    status::Status,
};

use super::query::Query;

/// How `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// That version or a newer one.
    NotOlderThan,
    /// Exactly that version.
    Exact,
}

/// Options of list, watch and deletecollection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector as given.
    pub label_selector: String,
    /// Field selector as given.
    pub field_selector: String,
    /// Most items of a page; 0 is all.
    pub limit: usize,
    /// Where the page starts, as a former page told.
    pub token: String,
    /// Version as given; empty if unset.
    pub resource_version: String,
    /// How the version is meant.
    pub resource_version_match: Option<Match>,
    /// Whether bookmarks are wanted (watch).
    pub bookmarks: bool,
    /// Whether the watch starts with everything that is there.
    pub send_initial_events: Option<bool>,
    /// Seconds after which the watch ends; 0 leaves it to the server.
    pub timeout_seconds: u64,
}

impl ListOptions {
    /// Reads and checks the options of a list (`watch` false) or a watch.
    ///
    /// # Errors
    /// 400 for values that cannot be read, 422 for combinations that make no sense.
    pub fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let given = query.text("resourceVersionMatch");
        let options = Self {
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
            limit: query
                .number("limit")?
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(0),
            token: query.text("continue").to_owned(),
            resource_version: query.text("resourceVersion").to_owned(),
            resource_version_match: match given {
                "NotOlderThan" => Some(Match::NotOlderThan),
                "Exact" => Some(Match::Exact),
                _ => None,
            },
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
            timeout_seconds: query
                .number("timeoutSeconds")?
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
        };
        let errors = if watch {
            options.check_watch(given)
        } else {
            options.check_list(given)
        };
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(field::to_status("meta.k8s.io", "ListOptions", "", &errors))
        }
    }

    fn check_list(&self, given: &str) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut forbid = |text: &str| errors.push(field::forbidden("resourceVersionMatch", text));
        if !given.is_empty() {
            if self.resource_version.is_empty() {
                forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.token.is_empty() {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if self.resource_version_match == Some(Match::Exact) && self.resource_version == "0" {
                forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            if self.resource_version_match.is_none() {
                errors.push(field::not_supported(
                    "resourceVersionMatch",
                    &given.into(),
                    &["Exact", "NotOlderThan", ""],
                ));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(field::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
        errors
    }

    fn check_watch(&self, given: &str) -> ErrorList {
        let mut errors = ErrorList::new();
        let newer = self.resource_version_match == Some(Match::NotOlderThan);
        let mut forbid = |text: &str| errors.push(field::forbidden("resourceVersionMatch", text));
        if self.send_initial_events.is_some() && !newer {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !given.is_empty() {
            if self.send_initial_events.is_none() {
                forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if !self.token.is_empty() {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if !newer {
                errors.push(field::not_supported(
                    "resourceVersionMatch",
                    &given.into(),
                    &["NotOlderThan"],
                ));
            }
        }
        errors
    }
}

/// How unknown and duplicate fields of a body are met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped, with a Warning header each.
    #[default]
    Warn,
    /// Refused with 400.
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Whether everything is done but the writing.
    pub dry_run: bool,
    /// Who owns the fields written.
    pub field_manager: String,
    /// Whether the manager was named by the request rather than taken from its User-Agent.
    pub field_manager_given: bool,
    /// Unknown fields.
    pub field_validation: FieldValidation,
    /// Whether apply takes over fields of others.
    pub force: bool,
}

impl WriteOptions {
    /// Reads the options of a write. `kind` is the options kind errors name (`CreateOptions`, …).
    ///
    /// # Errors
    /// 422 for values out of range.
    pub fn parse(query: &Query, user_agent: &str, kind: &str, apply: bool) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        let dry_run = parse_dry_run(query.all("dryRun"), &mut errors);
        let manager = query.text("fieldManager");
        if manager.len() > 128 {
            errors.push(field::too_long("fieldManager", 128));
        }
        for c in manager.chars().filter(|c| c.is_control()) {
            errors.push(field::invalid(
                "fieldManager",
                &manager.into(),
                &format!(
                    "invalid character {:?} (at position {})",
                    c.to_string(),
                    manager.find(c).unwrap_or(0)
                ),
            ));
        }
        let force = query.optional_flag("force");
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                errors.push(field::required("fieldManager", "is required for apply patch"));
            }
            if !apply && force.is_some() {
                errors.push(field::forbidden("force", "may not be specified for non-apply patch"));
            }
        }
        let directive = query.text("fieldValidation");
        let field_validation = match directive {
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            _ => {
                let wrong =
                    field::not_supported("fieldValidation", &directive.into(), &["", "Ignore", "Strict", "Warn"]);
                errors.push(wrong);
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(field::to_status("meta.k8s.io", kind, "", &errors));
        }
        Ok(Self {
            dry_run,
            field_manager: if manager.is_empty() {
                manager_of(user_agent)
            } else {
                manager.to_owned()
            },
            field_manager_given: !manager.is_empty(),
            field_validation,
            force: force.unwrap_or(false),
        })
    }
}

/// Whether `dryRun` values ask for a dry run; anything but `All` is an error.
pub fn parse_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let all: Vec<serde_json::Value> = values.iter().map(|v| (*v).into()).collect();
        errors.push(field::not_supported("dryRun", &all.into(), &["All"]));
    }
    !values.is_empty()
}

/// The manager a client has that names none: its User-Agent up to the first slash.
#[must_use]
pub fn manager_of(user_agent: &str) -> String {
    let name: String = user_agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    name.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_lists_and_watches_are_422() {
        for (query, watch) in [
            ("resourceVersionMatch=Exact", false),
            ("resourceVersion=0&resourceVersionMatch=Exact", false),
            ("resourceVersion=1&resourceVersionMatch=Near", false),
            ("sendInitialEvents=true", false),
            ("sendInitialEvents=true", true),
            ("resourceVersion=1&resourceVersionMatch=NotOlderThan", true),
        ] {
            assert_eq!(
                ListOptions::parse(&Query::parse(query), watch).unwrap_err().code,
                422,
                "{query}"
            );
        }
        let watch_list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        assert!(ListOptions::parse(&Query::parse(watch_list), true).is_ok());
    }

    #[test]
    fn the_manager_is_the_user_agent_up_to_the_slash() {
        let options = WriteOptions::parse(&Query::default(), "kubectl/v1.32 (linux)", "CreateOptions", false).unwrap();
        assert_eq!(options.field_manager, "kubectl");
        assert!(!options.field_manager_given);
    }

    #[test]
    fn an_apply_without_manager_is_refused() {
        let status = WriteOptions::parse(&Query::default(), "x/1", "PatchOptions", true).unwrap_err();
        assert_eq!(
            status.message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
    }
}
