//! Memory, CPU, threads and file descriptors of this process, out of `/proc`.

use std::{fs, sync::LazyLock};

use prometheus::{
    Counter, Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Clock ticks per second in `/proc/*/stat`: fixed by the kernel's ABI on the architectures we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// When the system was booted, in seconds since the epoch; 0 if unknown.
static BOOT_TIME: LazyLock<f64> = LazyLock::new(|| {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines()
        .find_map(|line| line.strip_prefix("btime ")?.parse().ok())
        .unwrap_or(0.0)
});

/// Collects the `process_*` metrics that Prometheus clients agree on.
pub(crate) struct ProcessCollector {
    metrics: Option<ProcessMetrics>,
}

struct ProcessMetrics {
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    threads: Gauge,
    open_files: Gauge,
    start_time: Gauge,
}

impl ProcessMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time in seconds")?,
            resident: Gauge::new("process_resident_memory_bytes", "Resident memory in bytes")?,
            virtual_memory: Gauge::new("process_virtual_memory_bytes", "Virtual memory in bytes")?,
            threads: Gauge::new("process_threads", "Number of threads")?,
            open_files: Gauge::new("process_open_fds", "Number of open file descriptors")?,
            start_time: Gauge::new("process_start_time_seconds", "Start time in seconds since the epoch")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_memory,
            &self.threads,
            &self.open_files,
            &self.start_time,
        ]
    }

    fn refresh(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let kibibytes = |field: &str| {
                let value = status.lines().find_map(|line| line.strip_prefix(field))?;
                value.trim().trim_end_matches(" kB").parse::<f64>().ok()
            };
            self.resident.set(kibibytes("VmRSS:").unwrap_or(0.0) * 1024.0);
            self.virtual_memory.set(kibibytes("VmSize:").unwrap_or(0.0) * 1024.0);
            self.threads.set(kibibytes("Threads:").unwrap_or(0.0));
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is one of them.
            self.open_files.set(entries.count().saturating_sub(1) as f64);
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The command's name, in parentheses, may hold spaces; fields are counted from behind it.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let cpu = (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        self.start_time.set(*BOOT_TIME + ticks(19) / TICKS_PER_SECOND);
    }
}

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        Self {
            metrics: ProcessMetrics::new().ok(),
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics
            .iter()
            .flat_map(|metrics| metrics.all())
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.metrics.iter().for_each(ProcessMetrics::refresh);
        self.metrics
            .iter()
            .flat_map(|metrics| metrics.all())
            .flat_map(Collector::collect)
            .collect()
    }
}
