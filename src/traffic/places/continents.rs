//! Continents.

/// Code, latitude, longitude.
pub(super) const TABLE: &[(&str, f64, f64)] = &[
    ("AF", 7.2, 21.1),
    ("AN", -80.0, 0.0),
    ("AS", 29.8, 89.9),
    ("EU", 48.7, 9.1),
    ("NA", 39.8, -98.6),
    ("OC", -27.0, 140.0),
    ("SA", -14.6, -57.7),
];
