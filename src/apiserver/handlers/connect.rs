//! Requests that go on to a node or a pod: logs, exec, attach, port-forward and the proxies.
//!
//! An upgraded connection is spliced raw: what is spoken on it (SPDY, WebSocket) is between the client and the kubelet.

mod forward;

use apimachinery::{Object, status::Status};
use bytes::Bytes;
use http::{StatusCode, header};
use rand::seq::IndexedRandom;
use serde_json::Value;

use self::forward::{Upstream, forward};
use super::Context;
use crate::{
    errors,
    registry::{Resource, codec, metadata, selection::Selection},
    reply::{self, Reply},
    request::{Query, options::ListOptions, query::decode},
};

/// Kubelets listen here unless their node says otherwise.
const KUBELET_PORT: u16 = 10250;
/// Serves a subresource that connects; `None` if it is none.
pub async fn serve(context: &Context, resource: &Resource, bytes: &Bytes) -> Option<Result<Reply, Status>> {
    let verb = context.info.verb.as_str();
    let streams = ["get", "create"].contains(&verb);
    Some(match (resource.def.resource, context.info.subresource.as_str()) {
        ("pods", "log") if verb == "get" => logs(context, resource).await,
        ("pods", "exec" | "attach" | "portforward") if streams => stream(context, resource).await,
        ("pods", "proxy") => match pod_proxy(context, resource).await {
            Ok(upstream) => forward(context, upstream, bytes).await,
            Err(status) => Err(status),
        },
        ("nodes", "proxy") => match node_proxy(context, resource).await {
            Ok(upstream) => forward(context, upstream, bytes).await,
            Err(status) => Err(status),
        },
        ("services", "proxy") => match service_proxy(context, resource).await {
            Ok(upstream) => forward(context, upstream, bytes).await,
            Err(status) => Err(status),
        },
        _ => return None,
    })
}

async fn object(context: &Context, resource: &Resource, name: &str) -> Result<Object, Status> {
    let namespace = if resource.namespaced() {
        context.info.namespace.as_str()
    } else {
        ""
    };
    codec::decode(&context.server.registry.get(resource, namespace, name).await?)
}

/// The kubelet of a pod's node; `None` for a pod without.
async fn kubelet(context: &Context, pod: &Object, path: String) -> Result<Option<Upstream>, Status> {
    let node = pod
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if node.is_empty() {
        return Ok(None);
    }
    let Some(nodes) = context.server.registry.resource("", "v1", "nodes") else {
        return Err(errors::internal("nodes are not served"));
    };
    let node = codec::decode(&context.server.registry.get(nodes, "", node).await?)?;
    of_node(&node, path).map(Some)
}

fn of_node(node: &Object, path: String) -> Result<Upstream, Status> {
    let addresses = node
        .pointer("/status/addresses")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    // A kubelet's own preference order, less the names that only its cluster resolves.
    let preferred = ["InternalIP", "ExternalIP", "Hostname"];
    let found = preferred.iter().find_map(|kind| {
        addresses
            .iter()
            .find(|a| a["type"] == *kind)
            .and_then(|a| a["address"].as_str())
    });
    let Some(host) = found else {
        return Err(errors::internal(format!(
            "no preferred addresses found; known addresses: {}",
            Value::from(addresses.to_vec())
        )));
    };
    let port = node
        .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
        .and_then(Value::as_u64);
    let port = port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0)
        .unwrap_or(KUBELET_PORT);
    Ok(Upstream {
        tls: true,
        kubelet: true,
        host: host.to_owned(),
        port,
        path,
    })
}

/// The container a request means.
fn container(context: &Context, pod: &Object) -> Result<String, Status> {
    let name = metadata::text(pod, "name");
    let names = |key: &str| -> Vec<&str> {
        let list = pod
            .pointer(&format!("/spec/{key}"))
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(|c| c["name"].as_str()).collect()
    };
    let (main, init, ephemeral) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    let wanted = context.query.text("container");
    if wanted.is_empty() {
        return match main.as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => Err(errors::bad_request(format!(
                "a container name must be specified for pod {name}"
            ))),
            many => {
                let mut text = format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    many.join(" ")
                );
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(errors::bad_request(text))
            }
        };
    }
    if [main, init, ephemeral].iter().any(|all| all.contains(&wanted)) {
        Ok(wanted.to_owned())
    } else {
        Err(errors::bad_request(format!(
            "container {wanted} is not valid for pod {name}"
        )))
    }
}

fn pairs(query: &Query, names: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (from, to) in names {
        for value in query.all(from) {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(to);
            text.push('=');
            text.push_str(&encode(value));
        }
    }
    text
}

fn encode(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| {
            if keep(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

async fn logs(context: &Context, pods: &Resource) -> Result<Reply, Status> {
    let pod = object(context, pods, &context.info.name).await?;
    let container = container(context, &pod)?;
    let names = [
        "follow",
        "previous",
        "timestamps",
        "sinceSeconds",
        "sinceTime",
        "tailLines",
        "limitBytes",
        "stream",
    ];
    let query = pairs(&context.query, &names.map(|name| (name, name)));
    let path = format!(
        "/containerLogs/{}/{}/{container}{query}",
        context.info.namespace, context.info.name
    );
    match kubelet(context, &pod, path).await? {
        Some(upstream) => {
            let mut reply = forward(context, upstream, &Bytes::new()).await?;
            if reply.status() != StatusCode::OK {
                return Err(kubelet_refusal(reply).await);
            }
            reply
                .headers_mut()
                .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
            Ok(reply)
        }
        None => Ok(reply::bytes(200, "text/plain", Bytes::new())),
    }
}

/// What a kubelet says when it has no log, as the Status kube-apiserver makes of it.
async fn kubelet_refusal(reply: Reply) -> Status {
    let code = reply.status().as_u16();
    let text = http_body_util::BodyExt::collect(reply.into_body())
        .await
        .map(http_body_util::Collected::to_bytes);
    let text = text
        .map(|b| String::from_utf8_lossy(&b).trim().to_owned())
        .unwrap_or_default();
    match code {
        404 => Status::failure(
            404,
            "NotFound",
            format!("the server could not find the requested resource ({text})"),
        ),
        400 => errors::bad_request(text),
        _ => errors::internal(text),
    }
}

async fn stream(context: &Context, pods: &Resource) -> Result<Reply, Status> {
    let pod = object(context, pods, &context.info.name).await?;
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    let path = if context.info.subresource == "portforward" {
        format!(
            "/portForward/{namespace}/{name}{}",
            pairs(&context.query, &[("ports", "port")])
        )
    } else {
        let container = container(context, &pod)?;
        let mut query = String::new();
        for (from, to) in [
            ("stdin", "input"),
            ("stdout", "output"),
            ("stderr", "error"),
            ("tty", "tty"),
        ] {
            if context.query.flag(from) {
                query.push_str(&format!("&{to}=1"));
            }
        }
        let commands = pairs(&context.query, &[("command", "command")]).replacen('?', "&", 1);
        let all = format!("{query}{commands}").replacen('&', "?", 1);
        format!("/{}/{namespace}/{name}/{container}{all}", context.info.subresource)
    };
    match kubelet(context, &pod, path).await? {
        Some(upstream) => forward(context, upstream, &Bytes::new()).await,
        None => Err(errors::bad_request(format!("pod {name} does not have a host assigned"))),
    }
}

/// What follows `/proxy` in the path, with the query.
fn proxied_path(context: &Context) -> String {
    let rest = context
        .info
        .rest
        .iter()
        .map(|part| encode(part))
        .collect::<Vec<_>>()
        .join("/");
    let slash = if context.info.path.ends_with('/') && !rest.is_empty() {
        "/"
    } else {
        ""
    };
    let query = if context.raw_query.is_empty() {
        String::new()
    } else {
        format!("?{}", context.raw_query)
    };
    format!("/{rest}{slash}{query}")
}

/// `[scheme:]name[:port]`, decoded.
fn split_name(text: &str) -> (bool, String, String) {
    let text = decode(text, false);
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme @ ("http" | "https"), name, port] => (*scheme == "https", (*name).to_owned(), (*port).to_owned()),
        [name, port] => (false, (*name).to_owned(), (*port).to_owned()),
        _ => (false, text, String::new()),
    }
}

async fn pod_proxy(context: &Context, pods: &Resource) -> Result<Upstream, Status> {
    let (tls, name, port) = split_name(&context.info.name);
    let pod = object(context, pods, &name).await?;
    let host = pod
        .pointer("/status/podIP")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if host.is_empty() {
        return Err(errors::bad_request("address not allowed"));
    }
    let first = pod
        .pointer("/spec/containers/0/ports/0/containerPort")
        .and_then(Value::as_u64)
        .unwrap_or(80);
    let port = port.parse().ok().or_else(|| u16::try_from(first).ok()).unwrap_or(80);
    Ok(Upstream {
        tls,
        kubelet: false,
        host,
        port,
        path: proxied_path(context),
    })
}

async fn node_proxy(context: &Context, nodes: &Resource) -> Result<Upstream, Status> {
    let (_, name, _) = split_name(&context.info.name);
    of_node(&object(context, nodes, &name).await?, proxied_path(context))
}

/// Any ready endpoint of the Service's port.
async fn service_proxy(context: &Context, services: &Resource) -> Result<Upstream, Status> {
    let (tls, name, port) = split_name(&context.info.name);
    let service = object(context, services, &name).await?;
    let none = || {
        Status::failure(
            503,
            "ServiceUnavailable",
            format!("no endpoints available for service {:?}", context.info.name),
        )
    };
    let ports = service
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let wanted = ports.iter().find(|p| {
        port.is_empty() && ports.len() == 1
            || p["name"] == port.as_str()
            || p["port"].as_u64().is_some_and(|number| port.parse() == Ok(number))
    });
    let Some(wanted) = wanted else { return Err(none()) };
    let registry = &context.server.registry;
    let Some(slices) = registry.resource("discovery.k8s.io", "v1", "endpointslices") else {
        return Err(none());
    };
    let selection = Selection::parse(slices, &format!("kubernetes.io/service-name={name}"), "")?;
    let page = registry
        .list(slices, &context.info.namespace, &selection, &ListOptions::default())
        .await?;
    let mut found = Vec::new();
    for item in &page.items {
        let slice = codec::decode_payload(&item.payload)?;
        let number = slice["ports"].as_array().and_then(|all| {
            let unnamed = wanted["name"].as_str().unwrap_or_default();
            all.iter()
                .find(|p| p["name"].as_str().unwrap_or_default() == unnamed)
                .and_then(|p| p["port"].as_u64())
        });
        let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else {
            continue;
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
                && let Some(address) = endpoint.pointer("/addresses/0").and_then(Value::as_str)
            {
                found.push((address.to_owned(), number));
            }
        }
    }
    let (host, port) = found.choose(&mut rand::rng()).cloned().ok_or_else(none)?;
    Ok(Upstream {
        tls,
        kubelet: false,
        host,
        port,
        path: proxied_path(context),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_proxied_name_may_carry_scheme_and_port() {
        assert_eq!(split_name("web"), (false, "web".into(), String::new()));
        assert_eq!(split_name("web:8080"), (false, "web".into(), "8080".into()));
        assert_eq!(split_name("https:web:http"), (true, "web".into(), "http".into()));
    }

    #[test]
    fn a_kubelet_is_found_by_its_nodes_internal_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "127.20.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
        }});
        let upstream = of_node(&node, "/x".into()).unwrap();
        assert_eq!(
            (upstream.host.as_str(), upstream.port, upstream.tls),
            ("127.20.0.1", 10251, true)
        );
        assert_eq!(of_node(&json!({}), "/x".into()).err().map(|s| s.code), Some(500));
    }

    #[test]
    fn queries_are_passed_on_under_the_kubelets_names() {
        let query = Query::parse("command=sh&command=-c&command=echo+hi&x=1");
        assert_eq!(
            pairs(&query, &[("command", "command")]),
            "?command=sh&command=-c&command=echo%20hi"
        );
    }
}
