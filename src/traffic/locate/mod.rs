//! Where a client is: its address out of connection and headers, and a place for the address.

pub mod address;
pub mod prefix;
pub mod proxy_protocol;

use std::net::IpAddr;

use crate::{geo::Point, places};
use prefix::PrefixMap;

/// A record of a geo database is trusted for its coordinates only when it is accurate to less than this many kilometres:
/// beyond that it is a country's middle in disguise.
pub const LARGEST_ACCURACY_RADIUS_KM: u16 = 1000;

/// What an operator says of a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Mapping {
    /// Its clients are there; the country is for headers and logs.
    Place {
        /// Where.
        point: Point,
        /// ISO 3166-1 alpha-2 code, if known.
        country: Option<String>,
    },
    /// Its clients go to these clusters first, in that order.
    Clusters(Vec<String>),
}

/// The fields of a geo database's record that are used. The look-up itself is the caller's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeoRecord {
    /// Coordinates, if the record has valid ones.
    pub point: Option<Point>,
    /// Radius in kilometres around the coordinates in which the client probably is.
    pub accuracy_radius_km: Option<u16>,
    /// Country of the client.
    pub country: Option<String>,
    /// Country in which the address is registered.
    pub registered_country: Option<String>,
    /// Continent of the client.
    pub continent: Option<String>,
}

/// How a client was located. The order is that of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The operator's CIDR map.
    Map,
    /// A geo header of a trusted peer.
    Header,
    /// Coordinates of the geo database.
    Database,
    /// Middle of the client's country.
    Country,
    /// A point for the client's continent.
    Continent,
    /// The load balancer's own place.
    LoadBalancer,
    /// Nothing is known: clusters are used in configuration order.
    ConfigurationOrder,
}

impl Source {
    /// All sources, in the order of [`Self::index`].
    pub const ALL: [Self; 7] = [
        Self::Map,
        Self::Header,
        Self::Database,
        Self::Country,
        Self::Continent,
        Self::LoadBalancer,
        Self::ConfigurationOrder,
    ];

    /// The name in logs, headers and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Header => "header",
            Self::Database => "database",
            Self::Country => "country",
            Self::Continent => "continent",
            Self::LoadBalancer => "lb",
            Self::ConfigurationOrder => "order",
        }
    }

    /// Position in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A located client.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    /// Where, if anything is known.
    pub point: Option<Point>,
    /// ISO 3166-1 alpha-2 code of its country, if known.
    pub country: Option<String>,
    /// Clusters the operator mapped it to.
    pub clusters: Vec<String>,
    /// How.
    pub source: Source,
}

/// What a trusted peer's geo header says: `latitude,longitude`, a country code, or both separated by a semicolon
/// (`50.47,3.82`, `BE`, `50.47,3.82;BE`).
pub fn parse_geo_header(value: &str) -> Option<(Option<Point>, Option<String>)> {
    let (mut point, mut country) = (None, None);
    for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        if let Some((latitude, longitude)) = part.split_once(',') {
            point = Some(Point::checked(
                latitude.trim().parse().ok()?,
                longitude.trim().parse().ok()?,
            )?);
        } else if part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            country = Some(part.to_ascii_uppercase());
        } else {
            return None;
        }
    }
    (point.is_some() || country.is_some()).then_some((point, country))
}

/// Everything that is configured about locating.
#[derive(Debug, Clone, Default)]
pub struct Locator {
    /// The operator's CIDR map, longest prefix first.
    pub map: PrefixMap<Mapping>,
    /// Where the load balancer itself is.
    pub own_place: Option<Point>,
}

impl Locator {
    /// Locates the client at `address`; the first source that knows wins.
    ///
    /// `header` is the geo header of a trusted peer, `record` looks the address up in the geo database.
    /// The database is not asked for addresses that are nobody's in particular (private, carrier-grade NAT, loopback, link-local).
    pub fn locate(
        &self,
        address: IpAddr,
        header: Option<&str>,
        record: impl FnOnce(IpAddr) -> Option<GeoRecord>,
    ) -> Location {
        let address = address::canonical(address);
        match self.map.longest(address) {
            Some(Mapping::Place { point, country }) => {
                return Location {
                    point: Some(*point),
                    country: country.clone(),
                    clusters: Vec::new(),
                    source: Source::Map,
                };
            }
            Some(Mapping::Clusters(clusters)) => {
                let rest = self.unmapped(address, header, record);
                return Location {
                    clusters: clusters.clone(),
                    source: Source::Map,
                    ..rest
                };
            }
            None => {}
        }
        self.unmapped(address, header, record)
    }

    fn unmapped(
        &self,
        address: IpAddr,
        header: Option<&str>,
        record: impl FnOnce(IpAddr) -> Option<GeoRecord>,
    ) -> Location {
        let at = |point, country, source| Location {
            point: Some(point),
            country,
            clusters: Vec::new(),
            source,
        };
        if let Some((point, country)) = header.and_then(parse_geo_header)
            && let Some(point) = point.or_else(|| country.as_deref().and_then(places::country))
        {
            return at(point, country, Source::Header);
        }
        let record = if address::is_local(address) {
            None
        } else {
            record(address)
        }
        .unwrap_or_default();
        let country = record.country.clone().or_else(|| record.registered_country.clone());
        if let Some(point) = record.point.filter(|_| {
            record
                .accuracy_radius_km
                .is_none_or(|km| km < LARGEST_ACCURACY_RADIUS_KM)
        }) {
            return at(point, country, Source::Database);
        }
        let of_country = record
            .country
            .as_deref()
            .and_then(places::country)
            .or_else(|| record.registered_country.as_deref().and_then(places::country));
        if let Some(point) = of_country {
            return at(point, country, Source::Country);
        }
        if let Some(point) = record.continent.as_deref().and_then(places::continent) {
            return at(point, country, Source::Continent);
        }
        match self.own_place {
            Some(point) => at(point, country, Source::LoadBalancer),
            None => Location {
                point: None,
                country,
                clusters: Vec::new(),
                source: Source::ConfigurationOrder,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Point = Point::new(10.0, 20.0);

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn locator() -> Locator {
        Locator {
            map: PrefixMap::default(),
            own_place: Some(HERE),
        }
    }

    fn london() -> GeoRecord {
        GeoRecord {
            point: Point::checked(51.5142, -0.0931),
            accuracy_radius_km: Some(100),
            country: Some("GB".to_owned()),
            ..GeoRecord::default()
        }
    }

    #[test]
    fn g1_an_accurate_record_gives_its_coordinates() {
        let location = locator().locate(ip("81.2.69.142"), None, |_| Some(london()));
        assert_eq!((location.source, location.point), (Source::Database, london().point));
        assert_eq!(location.country.as_deref(), Some("GB"));
    }

    #[test]
    fn g6_an_inaccurate_record_gives_its_country() {
        let record = GeoRecord {
            point: Point::checked(37.751, -97.822),
            accuracy_radius_km: Some(1000),
            country: Some("US".to_owned()),
            ..GeoRecord::default()
        };
        let location = locator().locate(ip("149.101.100.1"), None, |_| Some(record));
        assert_eq!(
            (location.source, location.point),
            (Source::Country, places::country("US"))
        );
    }

    #[test]
    fn g8_an_empty_record_or_a_private_address_gives_the_own_place() {
        let location = locator().locate(ip("214.1.1.1"), None, |_| Some(GeoRecord::default()));
        assert_eq!((location.source, location.point), (Source::LoadBalancer, Some(HERE)));
        let location = locator().locate(ip("10.0.0.1"), None, |_| panic!("a private address is not looked up"));
        assert_eq!(location.source, Source::LoadBalancer);
        let nowhere = Locator::default().locate(ip("214.1.1.1"), None, |_| None);
        assert_eq!((nowhere.source, nowhere.point), (Source::ConfigurationOrder, None));
    }

    #[test]
    fn the_registered_country_and_the_continent_are_the_last_resorts_of_a_record() {
        let registered = GeoRecord {
            registered_country: Some("FR".to_owned()),
            ..GeoRecord::default()
        };
        let location = locator().locate(ip("81.2.69.1"), None, |_| Some(registered));
        assert_eq!(
            (location.source, location.point),
            (Source::Country, places::country("FR"))
        );
        let continent = GeoRecord {
            continent: Some("AS".to_owned()),
            ..GeoRecord::default()
        };
        assert_eq!(
            locator().locate(ip("81.2.69.1"), None, |_| Some(continent)).source,
            Source::Continent
        );
    }

    #[test]
    fn the_longest_prefix_of_the_operators_map_wins_over_everything() {
        let mut locator = locator();
        locator.map.insert(
            "81.0.0.0/8".parse().expect("a network"),
            Mapping::Place {
                point: HERE,
                country: None,
            },
        );
        locator.map.insert(
            "81.2.69.0/24".parse().expect("a network"),
            Mapping::Clusters(vec!["tok".to_owned(), "us".to_owned()]),
        );
        let mapped = locator.locate(ip("81.2.69.142"), Some("1,1"), |_| Some(london()));
        assert_eq!(
            (mapped.source, mapped.clusters),
            (Source::Map, vec!["tok".to_owned(), "us".to_owned()])
        );
        assert_eq!(
            mapped.point,
            Some(Point::new(1.0, 1.0)),
            "what follows the mapped clusters is still ordered by distance"
        );
        assert_eq!(locator.locate(ip("::ffff:81.3.0.1"), None, |_| None).point, Some(HERE));
    }

    #[test]
    fn a_geo_header_wins_over_the_database_and_nonsense_is_ignored() {
        let location = locator().locate(ip("81.2.69.142"), Some("be"), |_| Some(london()));
        assert_eq!(
            (location.source, location.point),
            (Source::Header, places::country("BE"))
        );
        for nonsense in ["", "Belgium", "91,0", "1,2,3", "x,y", ";"] {
            assert_eq!(
                locator()
                    .locate(ip("81.2.69.142"), Some(nonsense), |_| Some(london()))
                    .source,
                Source::Database,
                "{nonsense:?}"
            );
        }
        assert_eq!(
            parse_geo_header("50.47, 3.82;BE"),
            Some((Point::checked(50.47, 3.82), Some("BE".to_owned())))
        );
    }

    #[test]
    fn a_nat64_address_is_located_as_the_address_it_carries() {
        let location = locator().locate(ip("64:ff9b::5102:458e"), None, |address| {
            assert_eq!(address, ip("81.2.69.142"));
            Some(london())
        });
        assert_eq!(location.source, Source::Database);
    }
}
