//! What the generic apiserver must know of a kind.

use apimachinery::{Object, field::ErrorList};

/// Which of the two API servers a kind is served by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The federation API.
    Federation,
    /// A member cluster: nodes and pods as well.
    Member,
}

/// A subresource that a kind has besides itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subresource {
    /// `/status`: GET, PUT, PATCH of the status alone.
    Status,
    /// `/scale`: autoscaling/v1 Scale.
    Scale,
    /// `/finalize` of namespaces.
    Finalize,
    /// `/approval`-like and connect subresources are served by the server itself: token, eviction, binding, log, exec…
    Other(&'static str),
}

/// One column of a kind's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer`, `date`…
    pub kind: &'static str,
    /// OpenAPI format: `name` for the first column, else empty.
    pub format: &'static str,
    /// One sentence for tools.
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// A served kind.
pub struct KindDef {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version it is stored and served in.
    pub version: &'static str,
    /// Kind, as `Deployment`.
    pub kind: &'static str,
    /// Plural resource name, as `deployments`.
    pub resource: &'static str,
    /// Singular resource name.
    pub singular: &'static str,
    /// Short names, as `deploy`.
    pub short_names: &'static [&'static str],
    /// Categories, as `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs in discovery order (`create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`).
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: &'static [Subresource],
    /// Where it is served.
    pub profiles: &'static [Profile],
    /// Name of its type in the schema table.
    pub type_name: &'static str,
    /// Whether PUT may create an object that does not exist.
    pub create_on_update: bool,
    /// Whether an update without a resourceVersion is refused (Lease).
    pub requires_resource_version: bool,
    /// Fields beyond metadata.name and metadata.namespace that field selectors may use.
    pub selectable_fields: &'static [&'static str],
    /// Columns of the table.
    pub columns: &'static [Column],
    /// Behaviour.
    pub strategy: &'static dyn Strategy,
}

/// The behaviour of a kind. All functions are pure; names and order are those of kube-apiserver's registry
/// (`PrepareForCreate`, `Validate`, `WarningsOnCreate`, …). Default methods suit a plain stored kind.
pub trait Strategy: Send + Sync {
    /// Fills in defaults, on every decode of this kind (create, update, patch result).
    fn default(&self, _object: &mut Object) {}
    /// Clears what a client may not set on create (status), sets generation 1 where the kind has one.
    fn prepare_for_create(&self, _object: &mut Object) {}
    /// Errors of a new object; object meta is validated by the caller.
    fn validate(&self, _object: &Object) -> ErrorList {
        ErrorList::new()
    }
    /// Warnings for a new or changed object.
    fn warnings(&self, _object: &Object, _old: Option<&Object>) -> Vec<String> {
        Vec::new()
    }
    /// Keeps what an update of the main resource may not change (status), grows generation when it must.
    fn prepare_for_update(&self, _object: &mut Object, _old: &Object) {}
    /// Errors of a changed object: validity and immutability.
    fn validate_update(&self, object: &Object, _old: &Object) -> ErrorList {
        self.validate(object)
    }
    /// Keeps everything but the status on an update of `/status`.
    fn prepare_for_status_update(&self, _object: &mut Object, _old: &Object) {}
    /// Errors of a changed status.
    fn validate_status_update(&self, _object: &Object, _old: &Object) -> ErrorList {
        ErrorList::new()
    }
    /// Whether the name is acceptable: the messages of what is wrong with it.
    fn validate_name(&self, name: &str) -> Vec<String> {
        apimachinery::names::dns1123_subdomain(name)
    }
    /// Values of [`KindDef::selectable_fields`], in that order.
    fn selectable_values(&self, _object: &Object) -> Vec<String> {
        Vec::new()
    }
    /// Cells of the table, one per column.
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<serde_json::Value>;
}
