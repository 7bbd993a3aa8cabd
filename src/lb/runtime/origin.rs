//! Origins: clients that prefer clusters in the same order are one.
//!
//! There are few orders, however many clients there are, so demand and shares are kept per origin.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use traffic::{
    geo::Point,
    locate::Location,
    order::{self, DEFAULT_TIE_KM},
};

/// Places that are remembered; when there are more, remembering starts anew.
const MOST_PLACES: usize = 16_384;
/// Origins that are told apart; clients of further ones are treated as the first of them.
pub const MOST_ORIGINS: usize = 512;

/// Clients with one order of preference.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Position in every backend's table of shares.
    pub id: usize,
    /// Clusters, nearest tier first.
    pub tiers: Vec<Vec<usize>>,
    /// Clusters, nearest first.
    pub order: Vec<usize>,
    /// Name in metrics: the order's first clusters.
    pub name: Arc<str>,
}

/// All origins of a list of clusters.
#[derive(Debug)]
pub struct Origins {
    points: Vec<Option<Point>>,
    names: Vec<Arc<str>>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By latitude and longitude in hundredths of a degree, and mapped clusters.
    by_place: HashMap<(Option<(i32, i32)>, Vec<String>), Arc<Origin>>,
    by_tiers: HashMap<Vec<Vec<usize>>, Arc<Origin>>,
    all: Vec<Arc<Origin>>,
}

impl Origins {
    /// For clusters with these names and places.
    pub fn new(names: Vec<Arc<str>>, points: Vec<Option<Point>>) -> Self {
        Self {
            points,
            names,
            known: RwLock::default(),
        }
    }

    /// Whether the clusters are these.
    pub fn is_for(&self, names: &[Arc<str>], points: &[Option<Point>]) -> bool {
        self.names == names && self.points == points
    }

    /// The origin of a located client.
    pub fn of(&self, location: &Location) -> Arc<Origin> {
        // Places closer than a kilometre are one: more than any database resolves.
        let cell = location
            .point
            .map(|point| ((point.latitude * 100.0) as i32, (point.longitude * 100.0) as i32));
        let key = (cell, location.clusters.clone());
        if let Some(origin) = self.known.read().by_place.get(&key) {
            return Arc::clone(origin);
        }
        let first: Vec<usize> = location
            .clusters
            .iter()
            .filter_map(|name| self.names.iter().position(|known| **known == **name))
            .collect();
        let tiers = order::tiers(location.point, &self.points, &first, DEFAULT_TIE_KM);
        let mut known = self.known.write();
        if known.by_place.len() >= MOST_PLACES {
            known.by_place.clear();
        }
        let origin = self.intern(&mut known, tiers);
        known.by_place.insert(key, Arc::clone(&origin));
        origin
    }

    fn intern(&self, known: &mut Known, tiers: Vec<Vec<usize>>) -> Arc<Origin> {
        if let Some(origin) = known.by_tiers.get(&tiers) {
            return Arc::clone(origin);
        }
        if known.all.len() >= MOST_ORIGINS {
            return Arc::clone(&known.all[0]);
        }
        let order = tiers.concat();
        let nearest: Vec<&str> = order
            .iter()
            .take(3)
            .filter_map(|&cluster| self.names.get(cluster))
            .map(|name| &**name)
            .collect();
        let origin = Arc::new(Origin {
            id: known.all.len(),
            name: nearest.join(">").into(),
            order,
            tiers: tiers.clone(),
        });
        known.all.push(Arc::clone(&origin));
        known.by_tiers.insert(tiers, Arc::clone(&origin));
        origin
    }

    /// The origins met so far, by id.
    pub fn all(&self) -> Vec<Arc<Origin>> {
        self.known.read().all.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traffic::locate::Source;

    fn at(latitude: f64, longitude: f64) -> Location {
        Location {
            point: Point::checked(latitude, longitude),
            country: None,
            clusters: Vec::new(),
            source: Source::Database,
        }
    }

    fn origins() -> Origins {
        let points = vec![Some(Point::new(41.26, -95.86)), Some(Point::new(50.47, 3.82))];
        Origins::new(vec!["us".into(), "eu".into()], points)
    }

    #[test]
    fn clients_with_one_order_are_one_origin() {
        let origins = origins();
        let (london, berlin, new_york) = (
            origins.of(&at(51.5, 0.0)),
            origins.of(&at(52.5, 13.4)),
            origins.of(&at(40.7, -74.0)),
        );
        assert_eq!(london, berlin);
        assert_eq!((london.id, &*london.name, &london.order[..]), (0, "eu>us", &[1, 0][..]));
        assert_eq!((new_york.id, &*new_york.name), (1, "us>eu"));
        assert_eq!(origins.all().len(), 2);
    }

    #[test]
    fn mapped_clusters_make_their_own_origin() {
        let origins = origins();
        let mapped = Location {
            clusters: vec!["us".to_owned(), "mars".to_owned()],
            ..at(51.5, 0.0)
        };
        assert_eq!(origins.of(&mapped).tiers, [[0], [1]]);
    }
}
