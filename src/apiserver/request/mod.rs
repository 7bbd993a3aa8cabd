//! What a request asks for: path, verb, query and content types, read once before anything acts on them.

pub mod body;
pub mod info;
pub mod negotiate;
pub mod options;
pub mod query;

pub use info::RequestInfo;
pub use negotiate::{Accepted, Format, Transform};
pub use query::Query;
