//! Requests of an agent, and what its machine and its Node do. Beside each request the promises are checked.

use std::time::{Duration, Instant};

use ring::hmac;
use serde_json::Value;
use test_cluster::Zincati;
use test_cluster::fleet::machine_id;
use test_cluster::zincati::{Answer, Pending};

use crate::events::Event;
use crate::furnish::node_name;
use crate::observer::holders;
use crate::random::Random;
use crate::world::World;

/// Agent and machine of a node.
pub(crate) struct Agent<'a> {
    pub(crate) world: &'a World,
    pub(crate) number: usize,
    pub(crate) node: String,
    pub(crate) machine_id: String,
    pub(crate) random: Random,
    /// Sends the machine-id itself.
    pub(crate) is_raw: bool,
    /// Goes to the other replica each time.
    pub(crate) alternates: bool,
    pub(crate) at: usize,
    /// The agent has hung up during its drain, and has not been answered since.
    pub(crate) has_hung_up: bool,
}

impl<'a> Agent<'a> {
    pub(crate) fn new(world: &'a World, number: usize) -> Self {
        let (node, machine_id) = (node_name(number), machine_id(number));
        let random = Random::new(world.settings.seed, &node);
        Self { world, number, node, machine_id, random, is_raw: false, alternates: false, at: 0, has_hung_up: false }
    }

    /// Lets a cloud controller delete the Node, and the kubelet of the next boot create it again.
    pub(crate) fn replace_node(&mut self, until_freed: bool) {
        self.recall();
        let mut cordoned = self.world.cordoned.lock().unwrap();
        self.world.note(&format!("{}: its Node is deleted", self.node));
        self.world.cluster.admin.delete(&format!("/api/v1/nodes/{}", self.node), None).ok();
        cordoned.remove(&self.node);
        drop(cordoned);
        let time = self.random.time(100, 4000);
        self.world.pause(time);
        while until_freed && !self.world.is_settling() && holders(&self.world.cluster.lock()).any(|holder| holder["node"] == self.node) {
            self.world.pause(Duration::from_millis(200));
        }
        let boot = format!("{:016x}", self.random.next());
        self.world.cluster.fleet.node(&self.node, &self.machine_id, &boot).create();
        self.world.note(&format!("{}: its Node is created", self.node));
    }

    /// Sends one pre-reboot request; after `limit` the agent hangs up, or if it `is_patient`, only once its node is being drained. An approval
    /// from before is void: an agent that asks does not reboot.
    pub(crate) fn asks(&mut self, limit: Option<Duration>, is_patient: bool) -> Option<Answer> {
        let had_hung_up = self.has_hung_up;
        self.recall();
        let answer = self.send("pre-reboot", limit, is_patient);
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            self.world.observer.promises.approve(&self.node);
            if had_hung_up {
                self.world.observer.counts.add(Event::HungUpBeforeApproval);
            }
        }
        answer
    }

    /// Asks both replicas at once. Only two approvals count: a later refusal may have withdrawn the other.
    pub(crate) fn asks_both(&mut self) -> bool {
        self.recall();
        let agents = [0, 1].map(|at| self.zincati(at));
        let sent = agents.map(|agent| agent.and_then(|agent| agent.try_send("pre-reboot")));
        let answers = sent.map(|sent| sent.and_then(Pending::try_answer));
        self.world.note(&format!("{}: asked both: {:?}", self.node, answers.each_ref().map(|answer| answer.as_ref().map(|one| &one.kind))));
        let approved = answers.iter().all(|answer| answer.as_ref().is_some_and(|answer| answer.status == 200));
        if approved {
            self.world.observer.promises.approve(&self.node);
        }
        approved
    }

    /// Checks in until the answer is 200.
    pub(crate) fn check_in(&mut self) -> bool {
        self.has_hung_up = false;
        self.recall();
        self.repeat(|agent| {
            let answer = agent.send("steady-state", None, false).filter(|answer| answer.status == 200);
            if answer.as_ref().is_some_and(|answer| answer.value.contains("no node has a machine-id")) {
                agent.world.observer.counts.add(Event::EarlyCheckIn);
            }
            answer.is_some()
        })
    }

    /// Repeats until `act` succeeds; `false` if the quiet end takes too long.
    pub(crate) fn repeat(&mut self, mut act: impl FnMut(&mut Self) -> bool) -> bool {
        while !self.world.is_late() {
            if act(self) {
                return true;
            }
            self.world.pause(Duration::from_millis(500));
        }
        false
    }

    /// Sends one request to the next replica.
    fn send(&mut self, endpoint: &str, limit: Option<Duration>, is_patient: bool) -> Option<Answer> {
        let answer = self.zincati(self.at).and_then(|agent| {
            let asking = (self.at, Instant::now());
            let pending = agent.try_send(endpoint)?;
            self.world.observer.seen.lock().unwrap().asking.insert(self.node.clone(), asking);
            while limit.is_some_and(|limit| pending.is_held(limit)) {
                let drains = |holder: &Value| holder["node"] == self.node && holder["approved"].is_null();
                self.has_hung_up = holders(&self.world.cluster.lock()).any(drains);
                if self.has_hung_up || !is_patient {
                    pending.hang_up();
                    return None;
                }
            }
            pending.try_answer()
        });
        self.world.observer.seen.lock().unwrap().asking.remove(&self.node);
        self.has_hung_up &= answer.is_none();
        let said = answer.as_ref().map_or_else(|| "no answer".to_owned(), |answer| format!("{} {}", answer.status, answer.value));
        self.world.note(&format!("{}: {endpoint} at {}: {said}", self.node, ["left", "right"][self.at]));
        // The Service has other replicas if one does not answer.
        if self.alternates || answer.is_none() {
            self.at ^= 1;
        }
        answer
    }

    fn zincati(&self, at: usize) -> Option<Zincati> {
        let id = if self.is_raw { self.machine_id.clone() } else { zincati_id(&self.machine_id) };
        Some(self.world.server(at)?.zincati(&id))
    }

    /// Records that the node no longer counts as approved.
    pub(crate) fn recall(&self) {
        self.world.observer.promises.check_in(&self.node);
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        let mut unready = self.world.unready.lock().unwrap();
        let changed = if ready { unready.remove(&self.node) } else { unready.insert(self.node.clone()) };
        if changed {
            self.world.note(&format!("{}: Ready is {ready}", self.node));
            self.world.cluster.fleet.set_ready(&self.node, ready);
        }
    }
}

/// Returns the id that Zincati makes of a machine-id.
fn zincati_id(machine_id: &str) -> String {
    let bytes = |hex: &str| u128::from_str_radix(hex, 16).unwrap_or_default().to_be_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes(machine_id));
    let tag = hmac::sign(&key, &bytes("de35106b6ec24688b63afddaa156679b"));
    let mut id = [0; 16];
    id.copy_from_slice(&tag.as_ref()[..16]);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    format!("{:032x}", u128::from_be_bytes(id))
}
