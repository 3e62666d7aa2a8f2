#![doc = include_str!("../ARCHITECTURE.md")]

pub mod cluster;
pub mod fleetlock;

pub mod access;
pub mod drain;
pub mod lock;
pub mod reboot;

pub mod kube;
pub mod metrics;
mod system;

pub mod certificate;
pub mod coordinator;
pub mod http;

pub mod cli;
pub mod commands;
mod logging;
pub mod settings;
