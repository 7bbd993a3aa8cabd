//! Asking a member how it is.

use apimachinery::Object;
use client::{Key, Rest, error::chain, resources::NAMESPACES};

use super::{nodes::summarize, status::Probe};
use crate::members::Member;

/// Probes a member: health, version, nodes. Never fails; what went wrong is part of the answer.
pub(super) async fn member(member: &Member) -> Probe {
    let rest = &member.rest;
    match rest.probe("/healthz").await {
        Ok(body) if body.trim_ascii() == b"ok" => {}
        Ok(body) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned();
            return Probe::Unhealthy {
                message: format!("/healthz responded with {text:?}"),
            };
        }
        Err(error) => return refused(rest, &error),
    }
    let mut remark = None;
    let version = match rest.probe("/version").await {
        Ok(bytes) => serde_json::from_slice::<Object>(&bytes)
            .ok()
            .and_then(|v| Some(v["gitVersion"].as_str()?.to_owned())),
        Err(error) => {
            remark = Some(format!("/version did not answer: {}", chain(&error)));
            None
        }
    };
    let store = &member.nodes.store;
    if let Some(problem) = store.problem() {
        remark = Some(format!("its nodes cannot be listed: {problem}"));
    }
    let nodes = store.is_synced().then(|| {
        let all = store.all();
        Box::new(summarize(all.iter().map(|(_, node)| &**node)))
    });
    Probe::Healthy { version, nodes, remark }
}

/// Whether a member is another cluster than it was, behind the same address: one that was restored or made anew. What
/// is known of it is of no worth then.
pub(super) async fn is_another(member: &Member) -> bool {
    let Ok(namespace) = member.rest.get(&NAMESPACES, &Key::from("kube-system")).await else {
        return false;
    };
    let uid = apimachinery::meta::uid(&namespace);
    let known = member.identity.get_or_init(|| uid.to_owned());
    !uid.is_empty() && known != uid
}

fn refused(rest: &Rest, error: &client::Error) -> Probe {
    let text = chain(error);
    match error.code() {
        Some(401) => Probe::Unreachable {
            message: format!("cluster {} does not accept our credentials (401): {text}", rest.name()),
        },
        Some(403) => Probe::Unreachable {
            message: format!(
                "our credentials have no right to read /healthz of cluster {} (403): {text}",
                rest.name()
            ),
        },
        Some(code) => Probe::Unhealthy {
            message: format!("/healthz responded with status {code}: {text}"),
        },
        None => Probe::Unreachable {
            message: format!("cluster {} is not reachable: {text}", rest.name()),
        },
    }
}
