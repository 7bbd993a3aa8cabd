//! Points on the earth and the distance between them.
//!
//! The geo-waterfall only needs an order of clusters by distance, so the earth is a sphere:
//! the error against the ellipsoid (0.5 %) is far below that of locating a client by its address.

use serde::{Deserialize, Serialize};

/// Mean radius of the earth in kilometres (IUGG).
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A point on the earth in degrees, north and east positive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Degrees north of the equator, -90 to 90.
    pub latitude: f64,
    /// Degrees east of Greenwich, -180 to 180.
    pub longitude: f64,
}

impl Point {
    /// A point known to be valid, as those of this crate's tables.
    pub const fn new(latitude: f64, longitude: f64) -> Self {
        Self { latitude, longitude }
    }

    /// A point out of input; `None` unless both numbers are finite and in range.
    pub fn checked(latitude: f64, longitude: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude))
            .then_some(Self { latitude, longitude })
    }

    /// Great-circle distance in kilometres (haversine).
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (other.longitude - self.longitude).to_radians() / 2.0;
        let a = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * a.sqrt().min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONDON: Point = Point::new(51.5142, -0.0931);

    #[test]
    fn distances_from_london_are_those_of_the_specification() {
        let km = |latitude, longitude| LONDON.distance_km(Point::new(latitude, longitude)).round();
        assert_eq!(km(50.47, 3.82), 297.0);
        assert_eq!(km(41.26, -95.86), 6896.0);
        assert_eq!(km(35.69, 139.69), 9557.0);
        assert_eq!(km(1.35, 103.82), 10846.0);
    }

    #[test]
    fn antipodes_are_half_a_circumference_apart() {
        let half = std::f64::consts::PI * EARTH_RADIUS_KM;
        assert!((Point::new(90.0, 0.0).distance_km(Point::new(-90.0, 0.0)) - half).abs() < 1e-6);
        assert!((Point::new(0.0, -180.0).distance_km(Point::new(0.0, 0.0)) - half).abs() < 1e-6);
    }

    #[test]
    fn a_point_out_of_range_is_refused() {
        assert!(Point::checked(91.0, 0.0).is_none());
        assert!(Point::checked(0.0, -180.5).is_none());
        assert!(Point::checked(f64::NAN, 0.0).is_none());
        assert!(Point::checked(-90.0, 180.0).is_some());
    }

    fn point() -> impl Strategy<Value = Point> {
        (-90.0..=90.0, -180.0..=180.0).prop_map(|(latitude, longitude)| Point::new(latitude, longitude))
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in point(), b in point(), c in point()) {
            prop_assert!(a.distance_km(a) < 1e-6);
            prop_assert!((a.distance_km(b) - b.distance_km(a)).abs() < 1e-6);
            prop_assert!(a.distance_km(c) <= a.distance_km(b) + b.distance_km(c) + 1e-6);
            prop_assert!(a.distance_km(b) <= std::f64::consts::PI * EARTH_RADIUS_KM + 1e-6);
        }
    }
}
