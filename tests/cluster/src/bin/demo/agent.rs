//! One machine: an agent that asks as Zincati does, only more often, and reboots when it may.

use std::thread;
use std::time::{Duration, Instant};

use test_cluster::fleet::{Fleet, zincati_id};
use test_cluster::kubelet::Kubelet;
use test_cluster::{Server, Zincati};

use crate::teller::{Teller, Tone};
use crate::watch::Watch;

pub(crate) struct Agent {
    node: &'static str,
    /// The same machine, calling either replica, as behind a Service.
    replicas: [Zincati; 2],
}

impl Agent {
    pub(crate) fn new(node: &'static str, machine_id: &str, servers: &[Server; 2]) -> Self {
        let id = zincati_id(machine_id);
        Self { node, replicas: servers.each_ref().map(|server| server.zincati(&id)) }
    }

    /// Says that the machine is up. Whether it was answered with 200.
    pub(crate) fn checks_in(&self, watch: &Watch, teller: &Teller) -> bool {
        let said = teller.now();
        let answer = self.replicas[1].steady_state();
        if answer.status == 200 {
            watch.checked_in(self.node);
        }
        let tone = if answer.status == 200 { Tone::Good } else { Tone::Wait };
        teller.say_at(said, self.node, tone, &format!("checks in with b → {} {}: {}", answer.status, answer.kind, answer.value));
        answer.status == 200
    }

    /// Asks until the reboot is granted, reboots, checks in. Whether all of that came to pass in time.
    pub(crate) fn reboots_once(&self, fleet: &Fleet, kubelet: &Kubelet, watch: &Watch, teller: &Teller) -> bool {
        let begun = Instant::now();
        let in_time = || begun.elapsed() < PATIENCE;
        let mut attempt = 0;
        while !self.is_granted(attempt, watch, teller) {
            if !in_time() {
                teller.say(self.node, Tone::Bad, &format!("gives up: no reboot was granted within {PATIENCE:?}"));
                return false;
            }
            attempt += 1;
            thread::sleep(AGAIN);
        }
        teller.say(self.node, Tone::Plain, "reboots …");
        kubelet.power_off(self.node);
        fleet.set_ready(self.node, false);
        thread::sleep(BOOT);
        fleet.reboot(self.node);
        fleet.set_ready(self.node, true);
        kubelet.power_on(self.node);
        teller.say(self.node, Tone::Plain, "is up again, with another boot-id");
        while !self.checks_in(watch, teller) {
            if !in_time() {
                return false;
            }
            thread::sleep(AGAIN);
        }
        true
    }

    /// One pre-reboot, told.
    fn is_granted(&self, attempt: usize, watch: &Watch, teller: &Teller) -> bool {
        let turn = attempt % 2;
        let (replica, name) = (&self.replicas[turn], ["a", "b"][turn]);
        let asked = teller.now();
        let pending = replica.send("pre-reboot");
        let held = pending.is_held(AT_ONCE);
        if held {
            teller.say_at(
                asked,
                self.node,
                Tone::Plain,
                &format!("asks {name} for a reboot; its request is held while the node is drained"),
            );
        }
        let answer = pending.answer();
        if answer.status == 200 {
            watch.granted(self.node);
        }
        let tone = if answer.status == 200 { Tone::Good } else { Tone::Wait };
        let (at, asks) = if held { (teller.now(), "is answered".to_owned()) } else { (asked, format!("asks {name}")) };
        teller.say_at(at, self.node, tone, &format!("{asks} → {} {}: {}", answer.status, answer.kind, answer.value));
        answer.status == 200
    }
}

/// Between two requests of a refused agent; Zincati's is five minutes.
const AGAIN: Duration = Duration::from_secs(3);

/// An answer that takes longer than this is one that is being held.
const AT_ONCE: Duration = Duration::from_millis(400);

/// How long a machine is away.
const BOOT: Duration = Duration::from_secs(3);

/// A demo that takes longer than this, even on a slow machine, has failed.
const PATIENCE: Duration = Duration::from_secs(180);
