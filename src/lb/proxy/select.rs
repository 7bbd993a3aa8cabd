//! Choosing a cluster and an endpoint for an attempt.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use traffic::pick::unit;

use super::forward::Forwarding;
use crate::{
    model::Affinity,
    runtime::{
        Endpoint, Member,
        origin::Origin,
        snapshot::Backend,
        steer::{self, Occasion, Row},
    },
};

/// Where an attempt goes.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// Index of the cluster.
    pub(super) cluster: usize,
    /// The endpoint.
    pub(super) endpoint: Arc<Endpoint>,
}

/// What the first choice can be.
#[derive(Debug)]
pub(super) enum First {
    /// Here.
    Chosen(Choice),
    /// All clusters are full.
    Shed,
    /// Nobody serves.
    Nobody,
}

impl Forwarding<'_> {
    /// The first attempt's choice. `sticky` is what a cookie says.
    pub(super) fn first(&self, random: u64, sticky: Option<Choice>) -> First {
        let Some(origin) = self.client.origin.as_ref() else {
            return First::Nobody;
        };
        let Some(row) = self.row(origin) else {
            return First::Nobody;
        };
        row.requests.fetch_add(1, Relaxed);
        if let Some(choice) = sticky {
            return First::Chosen(choice);
        }
        let x = if self.backend.settings.affinity == Affinity::ClientIp {
            self.client.hash
        } else {
            random
        };
        let Some(cluster) = row.wheel.pick(unit(x)) else {
            return if row.wheel.is_empty() {
                First::Nobody
            } else {
                First::Shed
            };
        };
        let chosen = self
            .in_cluster(cluster, random, &[])
            .or_else(|| self.next(origin, &[cluster], &[], random));
        match chosen.or_else(|| self.desperate(cluster, origin, random)) {
            Some(choice) => First::Chosen(choice),
            None => First::Nobody,
        }
    }

    /// The choice after clusters in `tried` failed: the next one in the client's order, else an endpoint of theirs that is
    /// not to be avoided.
    pub(super) fn next(&self, origin: &Origin, tried: &[usize], avoid: &[u64], random: u64) -> Option<Choice> {
        let untried = origin
            .order
            .iter()
            .filter(|cluster| !tried.contains(cluster) && self.takes_traffic(**cluster));
        let elsewhere = untried
            .copied()
            .find_map(|cluster| self.in_cluster(cluster, random, avoid));
        elsewhere.or_else(|| {
            origin
                .order
                .iter()
                .filter(|cluster| tried.contains(cluster))
                .find_map(|&cluster| self.in_cluster(cluster, random, avoid))
        })
    }

    fn takes_traffic(&self, cluster: usize) -> bool {
        let drained = self
            .backend
            .table
            .load()
            .drained
            .get(cluster)
            .copied()
            .unwrap_or_default();
        let known = &self.snapshot.clusters[cluster];
        !known.draining && known.scaler > 0.0 && !drained
    }

    fn in_cluster(&self, cluster: usize, random: u64, avoid: &[u64]) -> Option<Choice> {
        let client = (self.backend.settings.affinity == Affinity::ClientIp).then_some(self.client.hash);
        let now = self.downstream.worker.shared.clock.now_ms();
        let endpoint = self.member(cluster)?.pick(now, random, client, avoid)?;
        Some(Choice {
            cluster,
            endpoint: Arc::clone(endpoint),
        })
    }

    /// Nothing is usable: the health checks may be wrong, so an endpoint of the planned cluster is tried all the same.
    fn desperate(&self, planned: usize, origin: &Origin, random: u64) -> Option<Choice> {
        let clusters = std::iter::once(planned).chain(origin.order.iter().copied());
        clusters.into_iter().find_map(|cluster| {
            let endpoints = &self.member(cluster)?.endpoints;
            let endpoint = endpoints.get(random as usize % endpoints.len().max(1))?;
            Some(Choice {
                cluster,
                endpoint: Arc::clone(endpoint),
            })
        })
    }

    pub(super) fn member(&self, cluster: usize) -> Option<&Member> {
        self.backend.members.get(cluster)?.as_ref()
    }

    /// The client's shares; planned now if its origin asks for the first time.
    fn row(&self, origin: &Origin) -> Option<Arc<Row>> {
        if let Some(row) = Backend::row(&self.backend.table.load(), origin) {
            return Some(row);
        }
        let origins = self.snapshot.origins.as_ref()?;
        let now = self.downstream.worker.shared.clock.now();
        steer::plan(
            &self.backend,
            self.snapshot,
            origins,
            now,
            Occasion::Replan,
            Some(origin),
        );
        Backend::row(&self.backend.table.load(), origin)
    }
}
