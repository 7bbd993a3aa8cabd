//! Watches over HTTP: one frame per event, until the time is over or the server stops.

use std::{sync::Arc, time::Duration};

use apimachinery::{Object, protobuf::encode_watch_event, status::Status};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rand::Rng as _;
use serde_json::{Value, json};

use super::{Context, read::include, socket};
use crate::{
    registry::{
        Resource, codec,
        selection::Selection,
        watch::{Event, EventKind, WatchRequest},
    },
    reply::{self, BoxError, Reply},
    request::{Format, Transform, negotiate::Offer, options::ListOptions},
    table::{self, Include},
};

/// Watches without timeoutSeconds end after between one and two of these.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);

/// Turns events into frames.
struct Framer {
    resource: Arc<Resource>,
    format: Format,
    transform: Transform,
    include: Include,
    columns_sent: bool,
}

/// GET with `watch=true`.
///
/// # Errors
/// 400, 406, 422, 504 before the stream begins.
pub async fn watch(context: &Context, resource: &Arc<Resource>) -> Result<Reply, Status> {
    let accepted = context.accepted_of(resource, Offer::Watch)?;
    let options = ListOptions::parse(&context.query, true)?;
    let mut selection = Selection::parse(resource, &options.label_selector, &options.field_selector)?;
    if !context.info.name.is_empty() {
        // Watching one object by its path: as if the field selector named it.
        selection = Selection::of_name(&context.info.name);
    }
    let framer = Framer {
        resource: resource.clone(),
        format: accepted.format,
        transform: accepted.transform,
        include: include(context)?,
        columns_sent: false,
    };
    let duration = if options.timeout_seconds > 0 {
        Duration::from_secs(options.timeout_seconds)
    } else {
        MIN_TIMEOUT.mul_f64(1.0 + rand::rng().random::<f64>())
    };
    let namespace = if resource.namespaced() {
        context.info.namespace.clone()
    } else {
        String::new()
    };
    let request = WatchRequest {
        resource: resource.clone(),
        namespace,
        selection,
        options,
        duration,
    };
    let events = context.server.registry.watch(request).await?;
    let frames = frames(events, framer);
    if socket::is_wanted(context) {
        return socket::send(context, frames).await;
    }
    let frames = frames.take_until(context.server.stopping.clone().cancelled_owned());
    let stream = frames.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    let mut reply = Response::new(BodyExt::boxed_unsync(StreamBody::new(stream)));
    let content_type = match accepted.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    reply
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    Ok(reply)
}

fn frames(events: impl Stream<Item = Event> + Send, mut framer: Framer) -> impl Stream<Item = Bytes> + Send {
    events.filter_map(move |event| std::future::ready(framer.frame(event)))
}

impl Framer {
    /// The bytes of an event; nothing if it cannot be written.
    fn frame(&mut self, event: Event) -> Option<Bytes> {
        let plain = self.transform == Transform::None && self.resource.conversion().is_none();
        match event {
            Event::Object { kind, item } if plain && self.format == Format::Json => {
                Some(json_frame(kind, &item.payload.value, item.payload.revision))
            }
            Event::Object { kind, item } => {
                let object = codec::decode_payload(&item.payload).ok()?;
                self.encode(kind.name(), self.shape(object))
            }
            Event::Bookmark { revision, initial_end } => {
                let object = self.bookmark(revision, initial_end);
                self.encode("BOOKMARK", object)
            }
            Event::Error(status) => self.encode("ERROR", serde_json::to_value(&*status).ok()?),
        }
        .inspect(|_| self.columns_sent = true)
    }

    fn shape(&self, mut object: Object) -> Object {
        match self.transform {
            Transform::None => {
                self.resource.to_served(&mut object);
                object
            }
            Transform::Metadata(version) => table::partial(object, version),
            Transform::Table(version) => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let row = table::row(&self.resource, object, self.include, version, jiff::Timestamp::now());
                table::table(version, metadata, self.columns(), vec![row])
            }
        }
    }

    fn columns(&self) -> Value {
        if self.columns_sent {
            Value::Null
        } else {
            table::columns(self.resource.stored.columns)
        }
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Object {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let def = self.resource.def;
        let object = json!({"kind": def.kind, "apiVersion": def.api_version(), "metadata": metadata});
        match self.transform {
            Transform::None => object,
            Transform::Metadata(version) => table::partial(object, version),
            Transform::Table(version) => {
                let list = json!({"resourceVersion": revision.to_string()});
                let row = table::row(&self.resource, object, self.include, version, jiff::Timestamp::now());
                table::table(version, list, self.columns(), vec![row])
            }
        }
    }

    fn encode(&self, kind: &str, object: Object) -> Option<Bytes> {
        if self.format == Format::Protobuf {
            return protobuf_frame(kind, &object);
        }
        let event = json!({"type": kind, "object": object});
        reply::encode(&event, Format::Json, false).ok().map(Bytes::from)
    }
}

/// A protobuf event, behind its length in four bytes.
fn protobuf_frame(kind: &str, object: &Object) -> Option<Bytes> {
    match encode_watch_event(kind, object) {
        Ok(event) => {
            let length = u32::try_from(event.len()).ok()?;
            Some([&length.to_be_bytes()[..], &event].concat().into())
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot write an event as protobuf"
            );
            None
        }
    }
}

fn json_frame(kind: EventKind, value: &[u8], revision: u64) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + 80);
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(kind.name().as_bytes());
    out.extend_from_slice(br#"","object":"#);
    codec::write_wire(&mut out, value, revision, 0);
    out.extend_from_slice(b"}\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protobuf_event_stands_behind_its_length() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}});
        let frame = protobuf_frame("BOOKMARK", &object).unwrap();
        let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
        assert_eq!(length as usize, frame.len() - 4);
        // Field 1 of the event, a text: its type.
        assert_eq!(&frame[4..14], b"\x0a\x08BOOKMARK");
    }

    #[test]
    fn a_json_event_is_one_line() {
        let frame = json_frame(EventKind::Added, br#"{"metadata":{"name":"a","uid":"u"}}"#, 9);
        assert_eq!(&frame[..], b"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\",\"resourceVersion\":\"9\"}}}\n");
    }
}
