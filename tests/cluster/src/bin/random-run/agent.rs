//! What the agent of a node and its machine do. Until the quiet end each of its reboots is of a kind chosen at random; then the agent is a plain
//! one that asks until it is approved.

use std::time::Duration;

use serde_json::json;

use crate::events::Event;
use crate::faults::plan_404;
use crate::machine::Agent;
use crate::random::Random;

/// Way in which an agent asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Waits for each answer.
    Waits,
    /// Hangs up after a short time, as `curl --max-time`.
    HangsUp,
    /// Waits for its slot, and hangs up during its drain.
    HangsUpDraining,
    /// Asks every half second, and hangs up.
    HalfSecond,
    /// Hangs up during its drain, and then does not ask for a while.
    Silent,
    /// Asks both replicas at the same time.
    Both,
    /// Hangs up during its drain, and is restarted: checks in.
    Restarts,
    /// Waits, and its kubelet is not Ready for a while.
    NotReady,
}

/// Behaviour of a machine after its approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Reboots,
    /// Reboots into the same image.
    KeepsImage,
    /// Asks some more times, then reboots.
    AsksAgain,
    /// Asks until its approval is withdrawn.
    Lingers,
    /// Reboots only after a while.
    Hesitates,
    /// Asks again, while the next read of its Node meets a 404 that is not of Kubernetes.
    Meets404,
    /// Checks in without a reboot.
    ChecksIn,
    /// Checks in before its kubelet is Ready.
    ReadyLate,
    /// Gets another machine-id, and checks in before its kubelet reports it. Never checks in again.
    Reinstalled,
    /// Reboots while the Node is deleted and created again.
    Deleted,
    /// Reboots while the Node is deleted, until the slot is freed.
    DeletedForLong,
}

const ASKING: [Asking; 10] = {
    use Asking::*;
    [Waits, Waits, Waits, HangsUp, HangsUpDraining, HalfSecond, Silent, Both, Restarts, NotReady]
};

const THEN: [Then; 13] = {
    use Then::*;
    [
        Reboots,
        Reboots,
        Reboots,
        KeepsImage,
        AsksAgain,
        Lingers,
        Hesitates,
        Meets404,
        ChecksIn,
        ReadyLate,
        Reinstalled,
        Deleted,
        DeletedForLong,
    ]
};

impl Agent<'_> {
    /// Reboots again and again until the quiet end, and then once more.
    pub(crate) fn run(mut self, aims: &[Event]) {
        for reboot in 0.. {
            if self.world.is_settling() {
                break;
            }
            self.random = Random::new(self.world.settings.seed, &format!("{} {reboot}", self.node));
            self.has_hung_up = false;
            self.is_raw = self.random.chance(20);
            self.alternates = self.random.chance(30);
            self.at = usize::from(self.random.chance(50));
            let (asking, then) = self.choose(aims, reboot);
            self.world.note(&format!("{}: {asking:?}, then {then:?}", self.node));
            if self.until_approved(asking) {
                self.after_approval(then);
            }
            let pause = self.random.time(200, 3000);
            self.world.pause(pause);
        }
        self.alternates = false;
        self.set_ready(true);
        let approved = self.repeat(|agent| agent.asks(None, false).is_some_and(|answer| answer.status == 200));
        if approved {
            self.recall();
            self.world.cluster.fleet.reboot(&self.node);
        }
        if (!approved || !self.check_in()) && self.world.failures().is_empty() {
            self.world.fail(format!("{} did not reboot within {:?} after the faults", self.node, crate::SETTLE_MAX));
        }
    }

    /// Chooses the kind of a reboot. The first ones of all nodes serve the events that this round aims at, in turn; of the later ones more
    /// than half.
    fn choose(&mut self, aims: &[Event], reboot: usize) -> (Asking, Then) {
        let (mut asking, mut then) = (self.random.pick(&ASKING), self.random.pick(&THEN));
        let (serves, left) = (self.random.chance(60), self.world.not_reached(aims));
        let aim = match aims {
            [_, ..] if reboot == 0 => Some(aims[self.number % aims.len()]),
            _ if serves && !left.is_empty() => Some(self.random.pick(&left)),
            _ => None,
        };
        match aim {
            Some(Event::BackOffOver) => (asking, then) = (Asking::Waits, Then::KeepsImage),
            Some(Event::BothAtOnce) => asking = Asking::Both,
            Some(Event::DeletedAndFreed) => (asking, then) = (Asking::Waits, Then::DeletedForLong),
            Some(Event::EarlyCheckIn) => (asking, then) = (Asking::Waits, Then::Reinstalled),
            Some(Event::HungUpBeforeApproval) => asking = Asking::HangsUpDraining,
            Some(Event::Lone404) => (asking, then) = (Asking::Waits, Then::Meets404),
            Some(Event::Silent) => asking = Asking::Silent,
            Some(Event::Withdrawn) => (asking, then) = (Asking::Waits, Then::Lingers),
            Some(_) => asking = Asking::Waits,
            None => {}
        }
        (asking, then)
    }

    /// Asks until the answer is 200; `false` if the agent gives up, or the quiet end begins.
    fn until_approved(&mut self, asking: Asking) -> bool {
        let mut restarts = asking == Asking::Restarts;
        let is_patient = matches!(asking, Asking::HangsUpDraining | Asking::Restarts | Asking::Silent);
        while !self.world.is_settling() {
            let limit = match asking {
                Asking::HangsUp | Asking::HangsUpDraining => Some(self.random.time(500, 2500)),
                Asking::HalfSecond => Some(Duration::from_millis(500)),
                Asking::Silent => Some(self.random.time(300, 1200)),
                Asking::Restarts if restarts => Some(self.random.time(300, 3000)),
                _ => None,
            };
            if asking == Asking::NotReady {
                let unready = self.random.chance(60);
                self.set_ready(!unready);
            }
            let approved = match asking {
                Asking::Both => self.asks_both(),
                _ => self.asks(limit, is_patient).is_some_and(|answer| answer.status == 200),
            };
            if approved {
                self.set_ready(true);
                return true;
            }
            if restarts && self.has_hung_up {
                restarts = false;
                self.check_in();
            }
            if asking == Asking::Silent && self.has_hung_up {
                let silence = self.random.time(4000, 40_000);
                self.world.pause(silence);
                return false;
            }
            let pause = if asking == Asking::HalfSecond { Duration::from_millis(50) } else { self.random.time(300, 900) };
            self.world.pause(pause);
        }
        false
    }

    fn after_approval(&mut self, then: Then) {
        let fleet = &self.world.cluster.fleet;
        match then {
            Then::Reboots => {}
            Then::KeepsImage => {
                self.recall();
                fleet.reboot_without_update(&self.node);
                self.check_in();
                return;
            }
            Then::AsksAgain | Then::Lingers => {
                let mut left = if then == Then::AsksAgain { 1 + self.random.below(4) } else { u64::MAX };
                while left > 0 && !self.world.is_settling() {
                    left -= 1;
                    self.world.pause(Duration::from_millis(500));
                    if self.asks(None, false).is_some_and(|answer| answer.kind == "deferred") {
                        return;
                    }
                }
                // The last answer decides.
                if !self.until_approved(Asking::Waits) {
                    return;
                }
            }
            Then::Hesitates => {
                let time = self.random.time(3000, 15_000);
                self.world.pause(time);
            }
            Then::Meets404 => {
                plan_404(self.world, &self.node);
                if !self.until_approved(Asking::Waits) {
                    return;
                }
            }
            Then::ChecksIn => {
                self.check_in();
                return;
            }
            Then::ReadyLate => {
                self.set_ready(false);
                self.recall();
                fleet.reboot(&self.node);
                self.check_in();
                let time = self.random.time(500, 6000);
                self.world.pause(time);
                self.set_ready(true);
                return;
            }
            Then::Reinstalled => {
                self.recall();
                self.machine_id = format!("{:016x}{:016x}", self.random.next(), self.random.next());
                self.check_in();
                self.world.note(&format!("{}: its kubelet reports its new machine-id", self.node));
                let info = json!({"status": {"nodeInfo": {"machineID": self.machine_id}}});
                self.world.cluster.admin.merge(&format!("/api/v1/nodes/{}/status", self.node), &info).ok();
                fleet.reboot(&self.node);
                return;
            }
            Then::Deleted | Then::DeletedForLong => self.replace_node(then == Then::DeletedForLong),
        }
        let down = self.random.time(100, 1500);
        self.world.pause(down);
        self.recall();
        self.world.cluster.fleet.reboot(&self.node);
        self.check_in();
    }
}
