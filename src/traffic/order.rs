//! In which order an origin prefers clusters: the operator's map first, then by distance, then as configured.

use crate::geo::Point;

/// Clusters whose distance to the client differs by no more than this many kilometres from that of a tier's first
/// member share the tier: below it, locating by address is noise.
pub const DEFAULT_TIE_KM: f64 = 100.0;

/// Tiers of indices into `clusters` for a client at `origin`, nearest first.
///
/// `first` are clusters the operator mapped the client to, in that order, each a tier of its own. Then come the
/// clusters with a known place by distance, then those without one in configuration order. Without an origin
/// the configuration order is all there is. Every cluster appears exactly once; unknown indices in `first` are ignored.
pub fn tiers(origin: Option<Point>, clusters: &[Option<Point>], first: &[usize], tie_km: f64) -> Vec<Vec<usize>> {
    let mut placed = vec![false; clusters.len()];
    let mut tiers: Vec<Vec<usize>> = Vec::new();
    for &cluster in first {
        if placed.get(cluster) == Some(&false) {
            placed[cluster] = true;
            tiers.push(vec![cluster]);
        }
    }
    let mut by_distance: Vec<(f64, usize)> = (0..clusters.len())
        .filter(|&cluster| !placed[cluster])
        .filter_map(|cluster| Some((origin?.distance_km(clusters[cluster]?), cluster)))
        .collect();
    by_distance.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut tier_starts_at = f64::NEG_INFINITY;
    for (km, cluster) in by_distance {
        placed[cluster] = true;
        match tiers.last_mut() {
            Some(tier) if km - tier_starts_at <= tie_km => tier.push(cluster),
            _ => {
                tier_starts_at = km;
                tiers.push(vec![cluster]);
            }
        }
    }
    tiers.extend(
        (0..clusters.len())
            .filter(|&cluster| !placed[cluster])
            .map(|cluster| vec![cluster]),
    );
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: Option<Point> = Some(Point::new(41.26, -95.86));
    const EU: Option<Point> = Some(Point::new(50.47, 3.82));
    const TOK: Option<Point> = Some(Point::new(35.69, 139.69));
    const SGP: Option<Point> = Some(Point::new(1.35, 103.82));
    const FRA: Option<Point> = Some(Point::new(50.11, 8.68));
    const FRA2: Option<Point> = Some(Point::new(50.05, 8.57));
    const LONDON: Option<Point> = Some(Point::new(51.5142, -0.0931));

    #[test]
    fn g1_london_orders_eu_us_tok_sgp() {
        assert_eq!(tiers(LONDON, &[US, EU, TOK, SGP], &[], 100.0), [[1], [0], [2], [3]]);
    }

    #[test]
    fn g8_without_a_place_the_configuration_order_holds() {
        assert_eq!(tiers(None, &[US, EU, TOK], &[], 100.0), [[0], [1], [2]]);
    }

    #[test]
    fn g10_the_operators_map_goes_first() {
        assert_eq!(
            tiers(LONDON, &[US, EU, TOK, SGP], &[2, 0, 2, 9], 100.0),
            [[2], [0], [1], [3]]
        );
    }

    #[test]
    fn a_mapped_cluster_never_ties_with_a_near_one() {
        assert_eq!(tiers(FRA, &[FRA, FRA2], &[1], 100.0), [[1], [0]]);
    }

    #[test]
    fn s18_two_clusters_in_frankfurt_share_a_tier() {
        assert_eq!(tiers(FRA, &[US, FRA2, FRA], &[], 100.0), vec![vec![2, 1], vec![0]]);
    }

    #[test]
    fn a_cluster_without_a_place_comes_last() {
        assert_eq!(tiers(LONDON, &[None, US, None, EU], &[], 100.0), [[3], [1], [0], [2]]);
    }

    proptest! {
        #[test]
        fn every_cluster_appears_once_and_distances_do_not_fall(
            origin in (-90.0..90.0, -180.0..180.0),
            places in prop::collection::vec(prop::option::of((-90.0..90.0, -180.0..180.0)), 0..12),
            first in prop::collection::vec(0usize..14, 0..4),
        ) {
            let origin = Point::new(origin.0, origin.1);
            let places: Vec<_> = places.into_iter().map(|place| place.map(|(lat, lon)| Point::new(lat, lon))).collect();
            let order: Vec<usize> = tiers(Some(origin), &places, &first, 100.0).concat();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..places.len()).collect::<Vec<_>>());
            let km: Vec<f64> = order.iter().filter(|cluster| !first.contains(cluster)).filter_map(|&cluster| Some(origin.distance_km(places[cluster]?))).collect();
            prop_assert!(km.is_sorted());
        }
    }
}
