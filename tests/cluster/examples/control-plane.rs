//! A control plane to play with: prints a kubeconfig and stays until standard input ends.
//!
//! `REBOOT_MANAGER_CONTROL_PLANE="$(scripts/control-plane-build | tail -n 1)" cargo run -p test-cluster --example control-plane`

#![expect(clippy::disallowed_methods, reason = "it measures the start")]

use std::io;
use std::time::Instant;

use test_cluster::kubelet::Kubelet;
use test_cluster::real::ControlPlane;

fn main() -> io::Result<()> {
    let start = Instant::now();
    let plane = ControlPlane::start();
    println!("# up in {:?}: {:?}", start.elapsed(), plane.pids());
    let _kubelet = Kubelet::start(plane.admin());
    let token = plane.admin().token().unwrap_or_default().to_owned();
    println!("export KUBECONFIG={}", plane.kubeconfig(&token).display());
    println!("# it ends with the end of standard input");
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop)
}
