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
    /// OpenAPI format: `name` for the column that names the object, else empty.
    pub format: &'static str,
    /// One sentence for tools.
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

impl Column {
    const fn new(name: &'static str, kind: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind,
            format: "",
            description,
            priority: 0,
        }
    }

    /// The column that names the object.
    #[must_use]
    pub const fn object_name() -> Self {
        Self {
            format: "name",
            ..Self::new("Name", "string", "Name of the object, unique in its namespace.")
        }
    }

    /// The time since the object was created.
    #[must_use]
    pub const fn age() -> Self {
        Self::new("Age", "string", "Time since the object was created.")
    }

    /// A column of text.
    #[must_use]
    pub const fn text(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "string", description)
    }

    /// A column of whole numbers.
    #[must_use]
    pub const fn integer(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "integer", description)
    }

    /// A column of truth values.
    #[must_use]
    pub const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "boolean", description)
    }

    /// A column of points in time.
    #[must_use]
    pub const fn date(name: &'static str, description: &'static str) -> Self {
        Self::new(name, "date", description)
    }

    /// The same column, shown with `-o wide` only.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

/// How a kind that is stored under another group or version gets there and back.
///
/// The server decodes and defaults in the requested version (the [`Strategy::default`] of the kind that has this
/// conversion), converts with [`Conversion::to_storage`], and from there on uses the strategy, the columns and the
/// rows of the storage kind. Answers are converted back with [`Conversion::from_storage`].
pub struct Conversion {
    /// Group it is stored under.
    pub group: &'static str,
    /// Version it is stored as.
    pub version: &'static str,
    /// Rewrites an object of the served version, with `apiVersion`, to the stored one.
    pub to_storage: fn(&mut Object),
    /// Rewrites a stored object, with `apiVersion`, to the served version.
    pub from_storage: fn(&mut Object),
    /// Further errors of a new object in storage form that only this version has.
    pub validate: fn(&Object) -> ErrorList,
    /// Text of the `Warning` header of every request to this version; `None` for versions that are not deprecated.
    pub deprecation: Option<&'static str>,
}

/// A served kind.
pub struct KindDef {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version it is served in, and stored in unless [`KindDef::conversion`] says otherwise.
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
    /// Whether an update without a resourceVersion is refused (Lease, PodDisruptionBudget).
    pub requires_resource_version: bool,
    /// Whether a DELETE that names no propagation policy orphans dependents (Job, ReplicationController).
    pub orphans_by_default: bool,
    /// Text of the `Warning` header of every request to the kind; `None` for kinds that are not deprecated.
    pub deprecation: Option<&'static str>,
    /// Whether a deletion answers with the object that is gone, instead of a Status.
    pub answers_deleted: bool,
    /// Fields beyond metadata.name and metadata.namespace that field selectors may use.
    pub selectable_fields: &'static [&'static str],
    /// Columns of the table.
    pub columns: &'static [Column],
    /// How it is stored under another version; `None` if it is stored as it is served.
    pub conversion: Option<&'static Conversion>,
    /// Behaviour.
    pub strategy: &'static dyn Strategy,
}

/// Every verb a stored kind has, in discovery order.
pub const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Served by both API servers.
pub const EVERYWHERE: &[Profile] = &[Profile::Federation, Profile::Member];

/// Served by members only.
pub const MEMBER: &[Profile] = &[Profile::Member];

impl KindDef {
    /// A namespaced kind served everywhere with every verb, to be completed with struct update syntax.
    pub const NAMESPACED: Self = Self {
        group: "",
        version: "v1",
        kind: "",
        resource: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: ALL_VERBS,
        subresources: &[],
        profiles: EVERYWHERE,
        type_name: "",
        create_on_update: false,
        requires_resource_version: false,
        orphans_by_default: false,
        answers_deleted: false,
        deprecation: None,
        selectable_fields: &[],
        columns: &[Column::object_name(), Column::age()],
        conversion: None,
        strategy: &Plain,
    };

    /// The same at cluster scope.
    pub const CLUSTER_SCOPED: Self = Self {
        namespaced: false,
        ..Self::NAMESPACED
    };

    /// `v1`, `apps/v1`: what objects of this kind carry as `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether the kind has this subresource.
    #[must_use]
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }
}

/// A kind without any behaviour of its own: stored as it came, shown by name and age.
pub(crate) struct Plain;

impl Strategy for Plain {
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<serde_json::Value> {
        vec![crate::printers::name(object), crate::printers::age(object, now)]
    }
}

/// Columns of kinds that kube-apiserver has no table of its own for.
pub(crate) const CREATED_AT: &[Column] = &[
    Column::object_name(),
    Column::date("Created At", "When the object was created."),
];

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
    fn prepare_for_status_update(&self, object: &mut Object, old: &Object) {
        crate::strategy::keep_all_but_status(object, old);
    }
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
    /// Seconds a deleted object lives on before it is removed, given what the client asked for; `None` removes at once.
    fn grace_period(&self, _object: &Object, _requested: Option<i64>) -> Option<i64> {
        None
    }
    /// Cells of the table, one per column.
    fn row(&self, object: &Object, now: jiff::Timestamp) -> Vec<serde_json::Value>;
    /// Conditions of the table row (`Completed` for pods that ended), as JSON.
    fn row_conditions(&self, _object: &Object) -> Vec<serde_json::Value> {
        Vec::new()
    }
}
