//! Conflicts: an apply would change fields of other managers.

use super::{
    managers::{Manager, Operation},
    path::Path,
    set::FieldSet,
};
use crate::{
    status::{Status, StatusCause},
    text::go_quote,
};

/// One field of one manager that an apply would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose it is.
    pub manager: Manager,
    /// Which version the manager wrote it in.
    pub api_version: String,
    /// Which field.
    pub path: Path,
}

/// All conflicts of an apply, by manager; never empty in an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    /// The conflicts with managers, given the fields in question of each.
    pub(super) fn of(sets: Vec<(Manager, String, FieldSet)>) -> Self {
        let mut conflicts: Vec<_> = sets
            .into_iter()
            .flat_map(|(manager, api_version, set)| {
                let conflict = move |path| Conflict {
                    manager: manager.clone(),
                    api_version: api_version.clone(),
                    path,
                };
                set.paths().into_iter().map(conflict)
            })
            .collect();
        // By manager; within one the order of the paths stays.
        conflicts.sort_by_key(|conflict| conflict.manager.identifier());
        Self(conflicts)
    }

    /// The fields in question, of all managers.
    pub(super) fn fields(&self) -> FieldSet {
        let mut set = FieldSet::default();
        for conflict in &self.0 {
            set.insert(&conflict.path.0);
        }
        set
    }

    /// The 409 that names every manager and field.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let cause = |conflict: &Conflict| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager_text()),
            field: conflict.path.to_string(),
        };
        Status::apply_conflict(self.to_string(), self.0.iter().map(cause).collect())
    }
}

impl Conflict {
    fn manager_text(&self) -> String {
        let mut text = go_quote(&self.manager.name);
        if !self.manager.subresource.is_empty() {
            text = format!("{text} with subresource {}", go_quote(&self.manager.subresource));
        }
        match self.manager.operation {
            Operation::Apply => text,
            Operation::Update => format!("{text} using {}", self.api_version),
        }
    }
}

impl std::fmt::Display for Conflicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(
                f,
                "Apply failed with 1 conflict: conflict with {}: {}",
                only.manager_text(),
                only.path
            );
        }
        let mut lines = Vec::new();
        for group in self.0.chunk_by(|a, b| a.manager == b.manager) {
            lines.extend(
                group
                    .first()
                    .map(|first| format!("conflicts with {}:", first.manager_text())),
            );
            lines.extend(group.iter().map(|conflict| format!("- {}", conflict.path)));
        }
        write!(f, "Apply failed with {} conflicts: {}", self.0.len(), lines.join("\n"))
    }
}
