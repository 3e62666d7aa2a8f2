//! reboot-manager.
pub mod cluster;
pub mod fleetlock;
pub mod lock;
pub mod drain;
pub mod reboot;
pub mod kube;
pub mod metrics;
pub mod coordinator;
pub mod http;
pub mod commands;
pub mod cli;
pub mod settings;
pub mod logging;
