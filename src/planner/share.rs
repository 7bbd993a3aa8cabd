//! What one cluster gets of a federated object, in numbers.

use std::fmt::Write as _;

/// Numbers of a federated object, or of its share in one cluster. `None` does not apply, or is left to the member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Share {
    /// `spec.replicas`, or `spec.parallelism` of a Job.
    pub replicas: Option<i64>,
    /// `spec.completions` of a Job.
    pub completions: Option<i64>,
    /// First ordinal of a StatefulSet.
    pub start: Option<i64>,
    /// `spec.minReplicas` of an autoscaler.
    pub min: Option<i64>,
    /// `spec.maxReplicas` of an autoscaler.
    pub max: Option<i64>,
}

impl Share {
    /// A share of replicas.
    #[must_use]
    pub fn of(replicas: i64) -> Self {
        Self {
            replicas: Some(replicas),
            ..Self::default()
        }
    }

    /// Whether nothing runs under this share.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.completions == Some(0) || (self.completions.is_none() && self.replicas == Some(0))
    }

    /// A text that differs for different shares, for hashing.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        let parts = [
            ('r', self.replicas),
            ('c', self.completions),
            ('s', self.start),
            ('m', self.min),
            ('x', self.max),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                let _ = write!(text, "{name}{value}");
            }
        }
        text
    }
}
