//! The global L7 load balancer.
