//! Who asks and from where, found once per connection unless a trusted proxy speaks for many.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue};
use traffic::{
    balance::mix,
    locate::{Location, address},
};

use crate::{
    runtime::{Snapshot, origin::Origin},
    serve::conn::Downstream,
};

/// A located client.
#[derive(Debug)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// The address as a header's value.
    pub address_header: HeaderValue,
    /// Where it is.
    pub location: Location,
    /// Its order of clusters; `None` as long as there is no configuration.
    pub origin: Option<Arc<Origin>>,
    /// `latitude,longitude` as a header's value.
    pub point_header: Option<HeaderValue>,
    /// Country as a header's value.
    pub country_header: Option<HeaderValue>,
    /// A hash of the address.
    pub hash: u64,
    /// Generations of configuration and geo data it was found with.
    generations: (u64, u64),
}

/// The client of a request.
pub fn identify(downstream: &Downstream, snapshot: &Snapshot, headers: &HeaderMap, trusted: bool) -> Arc<Client> {
    let shared = &downstream.worker.shared;
    let generations = (snapshot.generation, shared.geo.generation());
    let (address, geo_header) = if trusted {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let lines: Vec<&str> = forwarded.map(|line| line.to_str().unwrap_or_default()).collect();
        let geo_header = shared
            .settings
            .geo_header
            .as_ref()
            .and_then(|name| headers.get(name)?.to_str().ok());
        (
            address::client(downstream.peer, lines.into_iter(), &shared.settings.trusted_proxies),
            geo_header,
        )
    } else {
        (address::canonical(downstream.peer), None)
    };
    let known = downstream.client.lock();
    if let Some(known) = known
        .as_ref()
        .filter(|known| known.address == address && known.generations == generations && geo_header.is_none())
    {
        return Arc::clone(known);
    }
    drop(known);
    let location = shared.geo.locate(address, geo_header);
    shared.metrics.located(location.source);
    let header = |text: String| HeaderValue::try_from(text).ok();
    let client = Arc::new(Client {
        address,
        address_header: header(address.to_string()).unwrap_or_else(|| HeaderValue::from_static("")),
        origin: snapshot.origins.as_ref().map(|origins| origins.of(&location)),
        point_header: location
            .point
            .and_then(|point| header(format!("{:.4},{:.4}", point.latitude, point.longitude))),
        country_header: location.country.clone().and_then(header),
        hash: hash(address),
        location,
        generations,
    });
    *downstream.client.lock() = Some(Arc::clone(&client));
    client
}

fn hash(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    mix(bits as u64 ^ mix((bits >> 64) as u64))
}

#[cfg(test)]
impl Client {
    /// A client for tests of what is told of it.
    pub(crate) fn of_test(address: &str, location: Location) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let header = |text: String| HeaderValue::try_from(text).ok();
        Self {
            address,
            address_header: header(address.to_string()).expect("a header"),
            origin: None,
            point_header: location
                .point
                .and_then(|point| header(format!("{:.4},{:.4}", point.latitude, point.longitude))),
            country_header: location.country.clone().and_then(header),
            hash: hash(address),
            location,
            generations: (0, 0),
        }
    }
}
