//! A Kubernetes cluster for tests: simulated in this process, or a real control plane on loopback. With it: a proxy that injects faults,
//! nodes and pods, the program under test, and clients that send what Zincati sends.
#![expect(
    missing_docs,
    reason = "names say what most items are; a doc comment says what a name cannot. Every function panics if an expectation fails."
)]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a crate for tests: it plays the outside world, which has a clock, and a broken expectation ends the test"
)]

pub mod api;
pub mod apply;
pub mod certificate;
pub mod cluster;
pub mod empty_root;
pub mod fleet;
pub mod heartbeats;
pub mod http;
pub mod kubelet;
pub mod objects;
pub mod pipe;
pub mod promises;
pub mod proxy;
pub mod real;
pub mod resources;
pub mod scratch;
pub mod secured;
pub mod server;
pub mod simulated;
pub mod wait;
pub mod webhook;
pub mod zincati;

pub use apply::apply;
pub use cluster::{Backend, TestCluster};
pub use proxy::Proxy;
pub use server::Server;
pub use simulated::Simulated;
pub use zincati::Zincati;
