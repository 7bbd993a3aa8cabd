//! Traffic decisions as pure functions: routing, locating clients, the geo-waterfall, retries, outlier ejection.
