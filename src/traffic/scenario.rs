//! Scenarios of `kubefed traffic`: clusters and origins in, shares out. The formats are fixed interfaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::{
    geo::Point,
    order, places,
    waterfall::{self, Capacity, Cluster, Options, Origin, Overload, Panic, State},
};

/// Why a scenario cannot be computed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// A name occurs twice.
    #[error("{kind} {name:?} is given twice")]
    Duplicate {
        /// `cluster` or `origin`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// An origin's tier or map, or `previouslyDrained`, names a cluster that is not there.
    #[error("{place} names the unknown cluster {name:?}")]
    UnknownCluster {
        /// Where the name is.
        place: String,
        /// The name.
        name: String,
    },
    /// A number is out of its range.
    #[error("{place}: {field} is {value}, must be {range}")]
    OutOfRange {
        /// Which object.
        place: String,
        /// Which field.
        field: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// Latitude without longitude, or the other way round.
    #[error("{place}: latitude and longitude go together")]
    HalfAPoint {
        /// Which object.
        place: String,
    },
}

/// A whole scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    clusters: Vec<ClusterInput>,
    origins: Vec<OriginInput>,
    #[serde(default)]
    options: OptionsInput,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterInput {
    name: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
    /// Instead of coordinates: a well-known cloud region.
    region: Option<String>,
    healthy: Option<f64>,
    total: Option<f64>,
    capacity_per_endpoint: Option<f64>,
    capacity: Option<f64>,
    load: Option<f64>,
    utilization: Option<f64>,
    scaler: Option<f64>,
    ramp: Option<f64>,
    #[serde(default)]
    state: StateInput,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateInput {
    #[default]
    Ready,
    Draining,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OriginInput {
    name: String,
    demand: Option<f64>,
    tiers: Option<Vec<Vec<String>>>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    /// The operator's map: these clusters first, in this order.
    #[serde(default)]
    map: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OptionsInput {
    overprovisioning: Option<f64>,
    #[serde(default)]
    overload: OverloadInput,
    #[serde(default)]
    panic: PanicInput,
    tie_km: Option<f64>,
    drain_below: Option<f64>,
    restore_at: Option<f64>,
    #[serde(default)]
    previously_drained: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OverloadInput {
    #[default]
    Spread,
    Shed,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PanicInput {
    #[default]
    Nearest,
    Fail,
}

/// Who is served where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// By origin (in input order), then by cluster (in order of preference); clusters that get nothing are left out.
    pub shares: Map<String, serde_json::Value>,
    /// By origin: the refused part.
    pub shed: Map<String, serde_json::Value>,
    /// `overload`, `panic`, `no-backend`, `drained:NAME,…`.
    pub flags: Vec<String>,
}

/// Digits that are kept: enough for any reader, few enough to hide rounding.
const DECIMALS: f64 = 1e9;

/// Computes a scenario.
///
/// # Errors
/// When names or numbers make no sense.
pub fn run(scenario: &Scenario) -> Result<Answer, Error> {
    let names = Names::of(&scenario.clusters)?;
    let clusters = scenario.clusters.iter().map(cluster).collect::<Result<Vec<_>, _>>()?;
    let points = scenario
        .clusters
        .iter()
        .map(|cluster| {
            let place = format!("cluster {:?}", cluster.name);
            let given = point(&place, cluster.latitude, cluster.longitude)?;
            Ok(given.or_else(|| places::region(cluster.region.as_deref()?)))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let tie_km = at_least_zero("options", "tieKm", scenario.options.tie_km, order::DEFAULT_TIE_KM)?;
    let mut origins = Vec::new();
    for (index, input) in scenario.origins.iter().enumerate() {
        if scenario.origins[..index].iter().any(|other| other.name == input.name) {
            return Err(Error::Duplicate {
                kind: "origin",
                name: input.name.clone(),
            });
        }
        origins.push(origin(input, &names, &points, tie_km)?);
    }
    let drained = names.indices("options.previouslyDrained", &scenario.options.previously_drained)?;
    let drained_before: Vec<bool> = (0..clusters.len()).map(|index| drained.contains(&index)).collect();
    let plan = waterfall::plan(&clusters, &origins, &options(&scenario.options)?, &drained_before);
    Ok(answer(scenario, &plan))
}

fn answer(scenario: &Scenario, plan: &waterfall::Plan) -> Answer {
    let rounded = |part: f64| serde_json::Value::from((part * DECIMALS).round() / DECIMALS);
    let (mut shares, mut shed) = (Map::new(), Map::new());
    for (origin, served) in scenario.origins.iter().zip(&plan.origins) {
        let parts: Map<_, _> = served
            .shares
            .iter()
            .map(|share| (scenario.clusters[share.cluster].name.clone(), rounded(share.part)))
            .collect();
        shares.insert(origin.name.clone(), parts.into());
        shed.insert(origin.name.clone(), rounded(served.shed));
    }
    let mut flags = Vec::new();
    for (raised, flag) in [
        (plan.overload(), "overload"),
        (plan.panic(), "panic"),
        (plan.no_backend(), "no-backend"),
    ] {
        if raised {
            flags.push(flag.to_owned());
        }
    }
    let drained: Vec<&str> = scenario
        .clusters
        .iter()
        .zip(&plan.drained)
        .filter(|(_, drained)| **drained)
        .map(|(cluster, _)| cluster.name.as_str())
        .collect();
    if !drained.is_empty() {
        flags.push(format!("drained:{}", drained.join(",")));
    }
    Answer { shares, shed, flags }
}

struct Names<'a>(BTreeMap<&'a str, usize>);

impl<'a> Names<'a> {
    fn of(clusters: &'a [ClusterInput]) -> Result<Self, Error> {
        let mut names = BTreeMap::new();
        for (index, cluster) in clusters.iter().enumerate() {
            if names.insert(cluster.name.as_str(), index).is_some() {
                return Err(Error::Duplicate {
                    kind: "cluster",
                    name: cluster.name.clone(),
                });
            }
        }
        Ok(Self(names))
    }

    fn indices(&self, place: &str, names: &[String]) -> Result<Vec<usize>, Error> {
        names
            .iter()
            .map(|name| {
                self.0.get(name.as_str()).copied().ok_or_else(|| Error::UnknownCluster {
                    place: place.to_owned(),
                    name: name.clone(),
                })
            })
            .collect()
    }
}

fn cluster(input: &ClusterInput) -> Result<Cluster, Error> {
    let place = format!("cluster {:?}", input.name);
    let zero_or_more = |field, value, otherwise| at_least_zero(&place, field, value, otherwise);
    let total = zero_or_more("total", input.total, input.healthy.unwrap_or(1.0))?;
    let healthy = zero_or_more("healthy", input.healthy, total)?;
    if healthy > total {
        return Err(Error::OutOfRange {
            place,
            field: "healthy",
            value: healthy,
            range: "at most total",
        });
    }
    let capacity = match (input.capacity_per_endpoint, input.capacity, input.utilization) {
        (Some(_), ..) => Capacity::PerEndpoint(zero_or_more("capacityPerEndpoint", input.capacity_per_endpoint, 0.0)?),
        (None, Some(_), _) => Capacity::Total(zero_or_more("capacity", input.capacity, 0.0)?),
        (None, None, Some(_)) => Capacity::Utilization {
            load: zero_or_more("load", input.load, 0.0)?,
            utilization: zero_or_more("utilization", input.utilization, 0.0)?,
        },
        (None, None, None) => Capacity::Unknown,
    };
    let state = match input.state {
        StateInput::Ready => State::Ready,
        StateInput::Draining => State::Draining,
    };
    let scaler = zero_or_more("scaler", input.scaler, 1.0)?;
    let ramp = zero_or_more("ramp", input.ramp, 1.0)?;
    Ok(Cluster {
        healthy,
        total,
        capacity,
        scaler,
        ramp,
        state,
    })
}

fn origin(input: &OriginInput, names: &Names<'_>, points: &[Option<Point>], tie_km: f64) -> Result<Origin, Error> {
    let place = format!("origin {:?}", input.name);
    let demand = at_least_zero(&place, "demand", input.demand, 1.0)?;
    let point = point(&place, input.latitude, input.longitude)?;
    let first = names.indices(&place, &input.map)?;
    let tiers = match &input.tiers {
        Some(tiers) => tiers
            .iter()
            .map(|tier| names.indices(&place, tier))
            .collect::<Result<_, _>>()?,
        None => order::tiers(point, points, &first, tie_km),
    };
    Ok(Origin { demand, tiers })
}

fn options(input: &OptionsInput) -> Result<Options, Error> {
    let defaults = Options::default();
    let part = |field, value: Option<f64>, otherwise| {
        let value = value.unwrap_or(otherwise);
        let valid = (0.0..=1.0).contains(&value);
        valid.then_some(value).ok_or_else(|| Error::OutOfRange {
            place: "options".to_owned(),
            field,
            value,
            range: "between 0 and 1",
        })
    };
    Ok(Options {
        overprovisioning: at_least_zero(
            "options",
            "overprovisioning",
            input.overprovisioning,
            defaults.overprovisioning,
        )?,
        overload: match input.overload {
            OverloadInput::Spread => Overload::Spread,
            OverloadInput::Shed => Overload::Shed,
        },
        panic: match input.panic {
            PanicInput::Nearest => Panic::Nearest,
            PanicInput::Fail => Panic::Fail,
        },
        drain_below: part("drainBelow", input.drain_below, defaults.drain_below)?,
        restore_at: part("restoreAt", input.restore_at, defaults.restore_at)?,
    })
}

fn point(place: &str, latitude: Option<f64>, longitude: Option<f64>) -> Result<Option<Point>, Error> {
    match (latitude, longitude) {
        (None, None) => Ok(None),
        (Some(latitude), Some(longitude)) => match Point::checked(latitude, longitude) {
            Some(point) => Ok(Some(point)),
            None if !(-90.0..=90.0).contains(&latitude) => Err(Error::OutOfRange {
                place: place.to_owned(),
                field: "latitude",
                value: latitude,
                range: "between -90 and 90",
            }),
            None => Err(Error::OutOfRange {
                place: place.to_owned(),
                field: "longitude",
                value: longitude,
                range: "between -180 and 180",
            }),
        },
        _ => Err(Error::HalfAPoint {
            place: place.to_owned(),
        }),
    }
}

fn at_least_zero(place: &str, field: &'static str, value: Option<f64>, otherwise: f64) -> Result<f64, Error> {
    let value = value.unwrap_or(otherwise);
    let valid = value.is_finite() && value >= 0.0;
    valid.then_some(value).ok_or_else(|| Error::OutOfRange {
        place: place.to_owned(),
        field,
        value,
        range: "0 or more",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run_json(scenario: Value) -> Result<Value, Error> {
        let scenario: Scenario = serde_json::from_value(scenario).expect("a scenario");
        run(&scenario).map(|answer| serde_json::to_value(answer).expect("an answer"))
    }

    fn world() -> Value {
        json!([
            {"name": "us", "latitude": 41.26, "longitude": -95.86, "healthy": 10, "total": 10},
            {"name": "eu", "region": "europe-west1", "healthy": 10, "total": 10},
            {"name": "tok", "latitude": 35.69, "longitude": 139.69, "healthy": 10, "total": 10},
            {"name": "sgp", "latitude": 1.35, "longitude": 103.82, "healthy": 10, "total": 10},
        ])
    }

    #[test]
    fn shares_are_printed_as_the_interface_says() {
        let answer = run_json(json!({
            "clusters": [
                {"name": "eu", "healthy": 5, "total": 10, "capacityPerEndpoint": 100},
                {"name": "us", "healthy": 10, "total": 10, "capacityPerEndpoint": 100},
            ],
            "origins": [{"name": "LON", "demand": 800, "tiers": [["eu"], ["us"]]}],
        }));
        assert_eq!(
            answer,
            Ok(json!({"shares": {"LON": {"eu": 0.625, "us": 0.375}}, "shed": {"LON": 0.0}, "flags": []}))
        );
    }

    #[test]
    fn coordinates_and_the_map_order_the_clusters() {
        let answer = run_json(json!({"clusters": world(), "origins": [
            {"name": "LON", "latitude": 51.5142, "longitude": -0.0931},
            {"name": "mapped", "latitude": 51.5142, "longitude": -0.0931, "map": ["tok", "us"]},
            {"name": "nowhere"},
        ]}));
        let shares = answer.expect("valid")["shares"].clone();
        assert_eq!(
            shares,
            json!({"LON": {"eu": 1.0}, "mapped": {"tok": 1.0}, "nowhere": {"us": 1.0}})
        );
    }

    #[test]
    fn flags_tell_what_happened() {
        let clusters = json!([{"name": "eu", "healthy": 2, "total": 10}, {"name": "us", "healthy": 1, "total": 10}]);
        let flags = |options: Value, clusters: &Value| {
            run_json(json!({"clusters": clusters, "origins": [{"name": "LON", "tiers": [["eu"], ["us"]]}], "options": options})).expect("valid")["flags"].clone()
        };
        assert_eq!(flags(json!({}), &clusters), json!(["overload", "drained:us"]));
        let dead = json!([{"name": "eu", "healthy": 0, "total": 10}, {"name": "us", "state": "draining"}]);
        assert_eq!(flags(json!({}), &dead), json!(["panic"]));
        assert_eq!(flags(json!({"panic": "fail"}), &dead), json!(["no-backend"]));
        let returning = json!([{"name": "eu", "healthy": 3, "total": 10}, {"name": "us", "healthy": 10, "total": 10}]);
        assert_eq!(
            flags(json!({"previouslyDrained": ["eu"]}), &returning),
            json!(["drained:eu"])
        );
        assert_eq!(flags(json!({}), &returning), json!([]));
    }

    #[test]
    fn nonsense_is_named() {
        let of = |cluster: Value, origin: Value| {
            run_json(json!({"clusters": [{"name": "us"}, cluster], "origins": [origin]}))
                .expect_err("nonsense")
                .to_string()
        };
        let origin = json!({"name": "o"});
        assert_eq!(
            of(json!({"name": "us"}), origin.clone()),
            r#"cluster "us" is given twice"#
        );
        assert_eq!(
            of(json!({"name": "eu"}), json!({"name": "o", "tiers": [["mars"]]})),
            r#"origin "o" names the unknown cluster "mars""#
        );
        assert_eq!(
            of(json!({"name": "eu", "healthy": 3, "total": 2}), origin.clone()),
            r#"cluster "eu": healthy is 3, must be at most total"#
        );
        assert_eq!(
            of(json!({"name": "eu", "latitude": 3}), origin.clone()),
            r#"cluster "eu": latitude and longitude go together"#
        );
        assert_eq!(
            of(json!({"name": "eu", "latitude": 93, "longitude": 0}), origin),
            r#"cluster "eu": latitude is 93, must be between -90 and 90"#
        );
        assert_eq!(
            of(json!({"name": "eu"}), json!({"name": "o", "demand": -1})),
            r#"origin "o": demand is -1, must be 0 or more"#
        );
    }
}
