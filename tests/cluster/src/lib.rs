//! A Kubernetes cluster for tests: simulated in this process, or a real control plane on loopback.
pub mod api;
