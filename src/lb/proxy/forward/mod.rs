//! Forwarding a request: [`pending`] is the request taken apart, [`attempt`] sends it once, [`retry`] says whether to send
//! it again, [`answer`] makes the response.

mod answer;
mod attempt;
mod pending;
mod retry;

use std::{sync::Arc, time::Instant};

use http::{Request, Response, request::Parts};
use hyper::body::Incoming;

use self::{pending::first_chunk, retry::Tried};
use super::{
    client::Client,
    response::ResponseBody,
    select::{Choice, First},
    ticket::Ticket,
    upgrade,
};
use crate::{
    model::Affinity,
    runtime::{Backend, Snapshot},
    serve::conn::Downstream,
    upstream::RequestBody,
};

/// What forwarding needs to know.
pub struct Forwarding<'a> {
    /// The client's connection.
    pub downstream: &'a Arc<Downstream>,
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The service port.
    pub backend: Arc<Backend>,
    /// The client.
    pub client: Arc<Client>,
    /// Whether the peer may speak for others.
    pub trusted: bool,
    /// Host the request was routed by.
    pub host: &'a str,
}

impl Forwarding<'_> {
    /// Forwards a request and answers it.
    pub async fn run(&self, mut request: Request<Incoming>, mut ticket: Box<Ticket>) -> Response<ResponseBody> {
        let upgrade = upgrade::wanted(&mut request);
        let (parts, incoming) = request.into_parts();
        let mut pending = self.pending(parts, incoming, upgrade);
        ticket.body = pending.body.as_ref().map(RequestBody::progress);
        ticket.request_id = Some(pending.request_id.clone());
        ticket.enter(&self.backend);
        if let Err(refused) = first_chunk(&mut pending).await {
            return refused.respond(&pending.parts.headers, ticket);
        }
        let random = rand::random();
        let sticky = self.sticky(&pending.parts);
        let mut choice = match self.first(random, sticky.clone()) {
            First::Chosen(choice) => choice,
            First::Shed => return self.shed(&pending.parts, ticket),
            First::Nobody => return self.nobody(&pending.parts, ticket),
        };
        let mut tried = Tried::new(self.downstream.worker.shared.clock.now_ms());
        loop {
            ticket.attempt(&choice.endpoint);
            let began = Instant::now();
            let attempted = self.attempt(&choice.endpoint, &mut pending, &tried).await;
            let took = began.elapsed();
            let outcome = self.note(&choice, &attempted, took);
            let Some(next) = self.decide(&outcome, &pending, &mut tried, &choice, &mut ticket) else {
                return match attempted {
                    Ok(answer) => {
                        ticket.upstream = Some(took);
                        let set_cookie = sticky.is_none_or(|sticky| sticky.endpoint.id != choice.endpoint.id);
                        self.answer(answer, &choice, pending, ticket, set_cookie)
                    }
                    Err(error) => self.failed(&error, &choice.endpoint, &pending.parts, ticket),
                };
            };
            choice = next;
        }
    }

    fn sticky(&self, parts: &Parts) -> Option<Choice> {
        if self.backend.settings.affinity != Affinity::Cookie {
            return None;
        }
        let found = self
            .downstream
            .worker
            .shared
            .signer
            .find(&parts.headers, self.snapshot, &self.backend.members);
        found.map(|(cluster, endpoint)| Choice {
            cluster,
            endpoint: Arc::clone(endpoint),
        })
    }
}
