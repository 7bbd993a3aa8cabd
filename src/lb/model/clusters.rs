//! Clusters and where they are.

use std::collections::BTreeMap;

use api::well_known::{LABEL_CLUSTER, LABEL_REGION, LABEL_ZONE};
use apimachinery::Object;
use traffic::{geo::Point, places};

use super::{Cluster, Objects, annotations, json};

/// All clusters by name: those of the API, and those that only slices know (their Cluster object is not here yet).
pub(super) fn clusters(objects: &Objects) -> Vec<Cluster> {
    let mut found: BTreeMap<String, Cluster> = BTreeMap::new();
    for object in objects.clusters.values() {
        if let Some(name) = json::text(object, "/metadata/name") {
            found.insert(name.to_owned(), cluster(name, object));
        }
    }
    for slice in objects.slices.values() {
        let Some(name) = json::label(slice, LABEL_CLUSTER) else {
            continue;
        };
        let of_labels = || {
            [LABEL_REGION, LABEL_ZONE]
                .iter()
                .find_map(|label| places::region(json::label(slice, label)?))
        };
        let known = found.entry(name.to_owned()).or_insert_with(|| Cluster {
            name: name.into(),
            point: None,
            scaler: 1.0,
            draining: false,
            offline: false,
        });
        if known.point.is_none() {
            known.point = of_labels();
        }
    }
    found.into_values().collect()
}

fn cluster(name: &str, object: &Object) -> Cluster {
    let scaler = json::annotation(object, annotations::TRAFFIC_SCALER).and_then(|value| value.parse::<f64>().ok());
    Cluster {
        name: name.into(),
        point: point(object),
        scaler: scaler
            .filter(|scaler| scaler.is_finite() && *scaler >= 0.0)
            .unwrap_or(1.0),
        draining: json::text(object, "/metadata/deletionTimestamp").is_some(),
        offline: json::list(object, "/status/conditions")
            .iter()
            .any(|condition| condition["type"] == "Offline" && condition["status"] == "True"),
    }
}

fn point(object: &Object) -> Option<Point> {
    let given = object
        .pointer("/spec/location")
        .and_then(|location| Point::checked(location["latitude"].as_f64()?, location["longitude"].as_f64()?));
    let of_region = || {
        ["/status/region", "/spec/region"]
            .iter()
            .find_map(|field| places::region(json::text(object, field)?))
    };
    let of_zone = || {
        let zones = ["/status/zones", "/spec/zones"]
            .iter()
            .flat_map(|field| json::list(object, field));
        zones.filter_map(Object::as_str).find_map(places::region)
    };
    given.or_else(of_region).or_else(of_zone)
}
