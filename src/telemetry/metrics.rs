//! Prometheus metrics of a process.

use prometheus::{Encoder as _, IntGauge, Opts, Registry, TextEncoder, core::Collector};

use crate::process::ProcessCollector;

/// A registry with the process metrics in it. Cheap to clone; clones share the registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry with `process_*` and `federation_build_info{component}`.
    #[must_use]
    pub fn new(component: &str) -> Self {
        let metrics = Self {
            registry: Registry::new(),
        };
        metrics.register(ProcessCollector::new());
        let build = Opts::new("federation_build_info", "Version of this program, always 1")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("component", component);
        if let Ok(build) = IntGauge::with_opts(build) {
            build.set(1);
            metrics.register(build);
        }
        metrics
    }

    /// Adds a collector. One whose name is taken is left out, with a warning in the log.
    pub fn register(&self, collector: impl Collector + 'static) {
        if let Err(error) = self.registry.register(Box::new(collector)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot register a metric");
        }
    }

    /// The registry, for libraries that register on their own.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in the Prometheus text format, whose content type is [`Self::CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut body) {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot encode metrics");
        }
        body
    }

    /// Content type of [`Self::encode`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_memory_and_build() {
        let text = String::from_utf8(Metrics::new("test").encode()).unwrap();
        assert!(
            text.contains("federation_build_info{component=\"test\",version="),
            "{text}"
        );
        let memory = text
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
            .unwrap();
        assert!(memory.parse::<f64>().unwrap() > 100_000.0);
    }

    #[test]
    fn a_name_is_registered_once() {
        let metrics = Metrics::new("test");
        for _ in 0..2 {
            metrics.register(IntGauge::new("twice", "help").unwrap());
        }
        let text = String::from_utf8(metrics.encode()).unwrap();
        assert_eq!(text.matches("# TYPE twice gauge").count(), 1);
    }
}
