//! Names of parts of objects, beyond those of [`apimachinery::names`].

/// What is wrong with a name that only has to fit into a URL path; empty if nothing is.
pub(crate) fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}
