//! Helpers of the black-box journeys.
