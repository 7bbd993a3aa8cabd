//! Kubernetes objects in protobuf: what clients send when they are in a hurry.
//!
//! A body is four magic bytes and an envelope that names the object's kind; the object's own
//! message is in it. The transcoder between that and JSON is driven by the schema table, so
//! every kind of the table works without code of its own. Bytes are hostile: decoding bounds
//! depth and size and never panics.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod wire;

use crate::schema::{Schema, Type};

pub use decode::decode;
pub use encode::{encode, encode_watch_event};
pub use wire::Writer;

/// First bytes of every encoded object.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Bytes or objects that have no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The magic bytes are missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes end inside a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number or tag that protobuf does not have, or a field with another type than its own.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    Wire {
        /// Number of the field.
        field: u32,
        /// Type on the wire.
        wire: u8,
    },
    /// Messages nest too deeply.
    #[error("proto: nested too deeply")]
    Depth,
    /// More values than a body of the permitted size sensibly has.
    #[error("proto: too many values")]
    Size,
    /// The table does not have the kind.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// Group and version.
        api_version: String,
        /// Kind.
        kind: String,
    },
    /// A value that its field does not accept.
    #[error("{0}")]
    Value(String),
}

/// What an envelope can hold.
enum Message {
    Object(&'static Type),
    List { items: &'static Type, meta: &'static Type },
}

impl Message {
    fn find(api_version: &str, kind: &str) -> Result<Self, ProtobufError> {
        let schema = Schema::global();
        if let Some(ty) = schema.type_of(api_version, kind) {
            return Ok(Self::Object(ty));
        }
        let items = kind
            .strip_suffix("List")
            .and_then(|kind| schema.type_of(api_version, kind));
        let meta = schema.type_by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta");
        match (items, meta) {
            (Some(items), Some(meta)) => Ok(Self::List { items, meta }),
            _ => Err(ProtobufError::UnknownKind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            }),
        }
    }
}

/// The envelope: 1 type (1 apiVersion, 2 kind), 2 message, 3 encoding, 4 media type.
mod envelope {
    pub(super) const TYPE: u32 = 1;
    pub(super) const RAW: u32 = 2;
    pub(super) const ENCODING: u32 = 3;
    pub(super) const MEDIA_TYPE: u32 = 4;
    pub(super) const API_VERSION: u32 = 1;
    pub(super) const KIND: u32 = 2;
}
