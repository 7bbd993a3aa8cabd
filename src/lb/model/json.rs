//! Reading objects.

use apimachinery::Object;

pub(super) fn text<'a>(object: &'a Object, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Object::as_str)
}

pub(super) fn list<'a>(object: &'a Object, pointer: &str) -> &'a [Object] {
    object
        .pointer(pointer)
        .and_then(Object::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn annotation<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

pub(super) fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}
