//! The geo database and the operator's map, reloadable while clients are located.
//!
//! A database is read into memory and verified before it is used; a file that is broken, of an unknown kind or older
//! than the one in use is refused, and the old one keeps serving. Both MaxMind's record layout and flat records with a
//! `country_code` are understood.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use maxminddb::Reader;
use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use traffic::{
    geo::Point,
    locate::{GeoRecord, Location, Locator, Mapping},
};

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is no geo database, or a broken one.
    #[error("{path} is not a sound geo database")]
    Database {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: maxminddb::MaxMindDbError,
    },
    /// It is older than the one in use.
    #[error("{path} was built at {built}, before the one in use ({in_use})")]
    Older {
        /// The file.
        path: PathBuf,
        /// When it was built, Unix time.
        built: u64,
        /// When the one in use was.
        in_use: u64,
    },
    /// The client map has a line that makes no sense.
    #[error("{path}:{line}: {reason}")]
    Map {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The networks of a local federation's clients: `curl --interface 127.2.0.1` is a client in Europe.
const LOCAL_CLIENTS: [(&str, f64, f64, &str); 5] = [
    ("127.1.0.0/16", 41.26, -95.86, "US"),
    ("127.2.0.0/16", 50.47, 3.82, "BE"),
    ("127.3.0.0/16", 35.69, 139.69, "JP"),
    ("127.4.0.0/16", -33.87, 151.21, "AU"),
    ("127.5.0.0/16", -23.55, -46.63, "BR"),
];

/// Entries of the map for the local federation's clients.
pub fn local_clients() -> impl Iterator<Item = (IpNet, Mapping)> {
    LOCAL_CLIENTS
        .iter()
        .filter_map(|(network, latitude, longitude, country)| {
            let place = Mapping::Place {
                point: Point::new(*latitude, *longitude),
                country: Some((*country).to_owned()),
            };
            Some((network.parse().ok()?, place))
        })
}

/// Parses a client map: one `NETWORK VALUE` per line, where the value is `latitude,longitude` (with `;COUNTRY` if
/// known) or names of clusters separated by commas. `#` starts a comment.
///
/// # Errors
/// When a line makes no sense.
pub fn parse_map(path: &Path, text: &str) -> Result<Vec<(IpNet, Mapping)>, Error> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |reason: String| Error::Map {
            path: path.to_owned(),
            line: index + 1,
            reason,
        };
        let (network, value) = line
            .split_once(char::is_whitespace)
            .ok_or_else(|| wrong("expected a network and a value".to_owned()))?;
        let network = parse_network(network).ok_or_else(|| wrong(format!("{network:?} is not a network")))?;
        entries.push((
            network,
            parse_mapping(value.trim())
                .ok_or_else(|| wrong(format!("{:?} is neither coordinates nor clusters", value.trim())))?,
        ));
    }
    Ok(entries)
}

/// A network, or an address as the network of itself.
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn parse_mapping(value: &str) -> Option<Mapping> {
    if let Some((Some(point), country)) = traffic::locate::parse_geo_header(value) {
        return Some(Mapping::Place { point, country });
    }
    let clusters: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    let is_name = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
    };
    // A name of digits and dots is a mistyped coordinate.
    let is_number = |name: &String| name.parse::<f64>().is_ok();
    (clusters.iter().all(is_name) && !clusters.iter().any(is_number)).then_some(Mapping::Clusters(clusters))
}

/// A database in memory.
struct Database {
    reader: Reader<Vec<u8>>,
    file: Stamp,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("type", &self.reader.metadata().database_type)
            .finish_non_exhaustive()
    }
}

/// What tells a file from its replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

fn stamp(path: &Path) -> Result<Stamp, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
    })
}

/// Everything that locates clients.
#[derive(Debug)]
pub struct Geo {
    database_path: Option<PathBuf>,
    map_path: Option<PathBuf>,
    with_local_clients: bool,
    own_place: Option<Point>,
    current: ArcSwap<Current>,
}

#[derive(Debug, Default)]
struct Current {
    database: Option<Arc<Database>>,
    locator: Arc<Locator>,
    map_file: Option<Stamp>,
    generation: u64,
}

impl Geo {
    /// Loads the files.
    ///
    /// # Errors
    /// When one of them cannot be used; at the start there is no older one to keep.
    pub fn load(
        database: Option<PathBuf>,
        map: Option<PathBuf>,
        with_local_clients: bool,
        own_place: Option<Point>,
    ) -> Result<Self, Error> {
        let geo = Self {
            database_path: database,
            map_path: map,
            with_local_clients,
            own_place,
            current: ArcSwap::default(),
        };
        geo.current.store(Arc::new(Current {
            locator: Arc::new(geo.locator(&[])),
            ..Current::default()
        }));
        geo.reload()?;
        Ok(geo)
    }

    /// Locates a client.
    pub fn locate(&self, address: IpAddr, header: Option<&str>) -> Location {
        let current = self.current.load();
        current
            .locator
            .locate(address, header, |address| current.database.as_ref()?.record(address))
    }

    /// Grows whenever a reload changed something; what was located before is outdated then.
    pub fn generation(&self) -> u64 {
        self.current.load().generation
    }

    /// When the database was built, as Unix time.
    pub fn build_epoch(&self) -> Option<u64> {
        self.current
            .load()
            .database
            .as_ref()
            .map(|database| database.reader.metadata().build_epoch)
    }

    /// Reads files that changed; true if any did. What cannot be used leaves the old in place.
    ///
    /// # Errors
    /// When a changed file cannot be used.
    pub fn reload(&self) -> Result<bool, Error> {
        let current = self.current.load_full();
        let mut next = Current {
            database: current.database.clone(),
            locator: Arc::clone(&current.locator),
            map_file: current.map_file,
            generation: current.generation + 1,
        };
        let mut changed = false;
        if let Some(path) = &self.map_path {
            let file = stamp(path)?;
            if current.map_file != Some(file) {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
                    path: path.clone(),
                    source,
                })?;
                next.locator = Arc::new(self.locator(&parse_map(path, &text)?));
                next.map_file = Some(file);
                changed = true;
            }
        }
        if let Some(path) = &self.database_path
            && let Some(database) = self.changed_database(path, current.database.as_deref())?
        {
            next.database = Some(Arc::new(database));
            changed = true;
        }
        if changed {
            self.current.store(Arc::new(next));
        }
        Ok(changed)
    }

    fn locator(&self, map: &[(IpNet, Mapping)]) -> Locator {
        let local = local_clients().filter(|_| self.with_local_clients);
        Locator {
            map: local.chain(map.iter().cloned()).collect(),
            own_place: self.own_place,
        }
    }

    fn changed_database(&self, path: &Path, in_use: Option<&Database>) -> Result<Option<Database>, Error> {
        let file = stamp(path)?;
        if in_use.is_some_and(|in_use| in_use.file == file) {
            return Ok(None);
        }
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let unsound = |source| Error::Database {
            path: path.to_owned(),
            source,
        };
        let reader = Reader::from_source(bytes).map_err(unsound)?;
        reader.verify().map_err(unsound)?;
        let built = reader.metadata().build_epoch;
        if let Some(in_use) = in_use
            .map(|in_use| in_use.reader.metadata().build_epoch)
            .filter(|in_use| built < *in_use)
        {
            return Err(Error::Older {
                path: path.to_owned(),
                built,
                in_use,
            });
        }
        Ok(Some(Database { reader, file }))
    }
}

/// The fields that are read of a record, in either layout.
#[derive(Deserialize)]
struct Record<'a> {
    location: Option<Place>,
    country: Option<Coded>,
    registered_country: Option<Coded>,
    #[serde(borrow)]
    continent: Option<Continent<'a>>,
    country_code: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Deserialize)]
struct Place {
    latitude: Option<f64>,
    longitude: Option<f64>,
    accuracy_radius: Option<u16>,
}

/// A country: MaxMind's layout has an object with `iso_code`, flat ones have the code itself.
struct Coded(Option<String>);

impl<'de> Deserialize<'de> for Coded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodedVisitor)
    }
}

struct CodedVisitor;

impl<'de> Visitor<'de> for CodedVisitor {
    type Value = Coded;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a country")
    }

    fn visit_str<E>(self, code: &str) -> Result<Coded, E> {
        Ok(Coded(Some(code.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Coded, A::Error> {
        let mut code = None;
        while let Some(field) = fields.next_key::<&str>()? {
            if field == "iso_code" {
                code = Some(fields.next_value::<String>()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Coded(code))
    }
}

#[derive(Deserialize)]
struct Continent<'a> {
    code: Option<&'a str>,
}

impl Database {
    fn record(&self, address: IpAddr) -> Option<GeoRecord> {
        let record: Record<'_> = self.reader.lookup(address).ok()?.decode().ok()??;
        let point = |latitude: Option<f64>, longitude: Option<f64>| Point::checked(latitude?, longitude?);
        let place = record.location.as_ref();
        Some(GeoRecord {
            point: place
                .and_then(|place| point(place.latitude, place.longitude))
                .or_else(|| point(record.latitude, record.longitude)),
            accuracy_radius_km: place.and_then(|place| place.accuracy_radius),
            country: record
                .country
                .and_then(|country| country.0)
                .or_else(|| record.country_code.map(str::to_owned)),
            registered_country: record.registered_country.and_then(|country| country.0),
            continent: record
                .continent
                .as_ref()
                .and_then(|continent| continent.code.map(str::to_owned)),
        })
    }
}

#[cfg(test)]
mod tests;
