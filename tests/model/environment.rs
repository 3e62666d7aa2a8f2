//! What others do: machines and kubelets, administrators, time, and an annotation-only manager that only knows annotations.

use std::rc::Rc;

use jiff::Timestamp;
use reboot_manager::cluster::{ReadyCondition, ResourceVersion, Status, Uid};
use reboot_manager::lock::{DrainReport, Holder};

use crate::actor::{Actor, Work};
use crate::moves::{Moves, hang_up};
use crate::setup::Event;
use crate::world::{Client, Failure, Older, Stage, World};

impl Moves<'_> {
    pub(crate) fn of_outsiders(&mut self) {
        for machine in 0..self.stage.setup.nodes {
            self.of_machine(machine);
            self.of_failures(machine);
            self.of_administrator(machine);
        }
        if self.world.lock.version.is_some() {
            self.event(Event::LeaseDeletion, format_args!("an administrator deletes the Lease"), World::delete_lease);
        }
        if self.world.annotation_lost {
            self.add(format_args!("an administrator puts the annotation of the Lease back"), |world| world.lose_annotation(false));
        } else if self.world.lock.version.is_some() {
            let what = format_args!("an administrator takes the annotation from the Lease");
            self.event(Event::LostAnnotation, what, |world| world.lose_annotation(true));
        }
        if self.stage.setup.time {
            self.add(format_args!("a minute passes"), |world| world.minutes += 1);
        }
        let may = self.stage.setup.may;
        if may.left(Event::NodeDeletion) + may.left(Event::LoneNotFound) > 0 {
            self.add(format_args!("a quarter of an hour passes"), |world| pass(world, 15));
        }
        // If the boot of an approval is not known, the check-in counts two minutes later.
        let is_unproven = |holder: &Holder| holder.checked_in.is_some() && holder.approved.is_some() && !holder.knows_boot();
        if self.world.actors.is_empty() && self.world.lock.state.holders.iter().any(is_unproven) {
            self.add(format_args!("two minutes pass"), |world| pass(world, 2));
        }
        let setup = &self.stage.setup;
        if setup.gives_back && (!setup.may_fail() || self.world.actors.is_empty()) {
            self.add(format_args!("an hour passes"), |world| pass(world, 61));
        }
        self.of_others();
    }

    fn of_machine(&mut self, machine: usize) {
        let (stage, name, state) = (self.stage, &self.stage.names[machine], &self.world.machines[machine]);
        if state.may_reboot() {
            self.add(format_args!("{name}: reboots"), |world| reboot(world, machine, stage.setup.prompt));
        }
        if state.is_unreported() {
            self.add(format_args!("{name}: its kubelet reports the boot"), |world| report(world, machine));
        }
        if state.client != Client::Approved && state.failure == Failure::None {
            self.event(Event::Crash, format_args!("{name}: crashes and starts again"), |world| {
                start_again(world, machine, stage.setup.prompt)
            });
        }
        if state.client != Client::Back && !state.failure.ends_agent() {
            self.event(Event::Restart, format_args!("{name}: its agent is restarted without a reboot"), |world| {
                hang_up(world, machine);
                world.machine(machine).client = Client::Back;
            });
        }
        if state.client == Client::Back {
            self.event(Event::Silence, format_args!("{name}: its agent never checks in"), |world| {
                hang_up(world, machine);
                world.machine(machine).client = Client::Up;
            });
        }
        let uid = state.node.as_ref().map(|node| node.meta.uid.clone());
        let drains = |holder: &&Holder| Some(&holder.uid) == uid.as_ref() && holder.approved.is_none();
        if state.pods > 0 && self.world.lock.state.holders.iter().any(|holder| drains(&holder)) {
            self.event(Event::Standstill, format_args!("{name}: its drain makes no progress for half an hour"), |world| {
                stand_still(world, machine);
            });
        }
        if state.node.is_none() && state.failure == Failure::Removed {
            return;
        }
        if state.node.is_none() {
            return self.add(format_args!("{name}: its kubelet recreates its Node"), |world| register(stage, world, machine));
        }
        self.event(Event::Arrival, format_args!("{name}: a pod comes"), |world| {
            world.machine(machine).pods += 1;
            disturb(world, machine, |actor| actor.pods_came |= actor.observed.pods.is_some());
        });
        self.event(Event::NodeDeletion, format_args!("an administrator deletes the Node {name}"), |world| delete_node(world, machine));
    }

    fn of_failures(&mut self, machine: usize) {
        let (name, state) = (&self.stage.names[machine], &self.world.machines[machine]);
        if self.world.actors.iter().any(|actor| actor.heard && actor.machine == machine) {
            self.event(Event::HangUp, format_args!("{name}: its client hangs up"), |world| hang_up(world, machine));
        }
        if state.failure != Failure::None || state.node.is_none() {
            return;
        }
        let is_approved = state.client == Client::Approved;
        let failures: [(Event, Failure, bool, &str); 6] = [
            (Event::Departure, Failure::Departed, true, "its agent stops for good"),
            (Event::Obstruction, Failure::Obstructed, state.pods > 0, "its pods can no longer be evicted"),
            (Event::KubeletFailure, Failure::KubeletDown, true, "its kubelet stops for good"),
            (Event::FailedReboot, Failure::CannotReboot, is_approved, "its reboot fails"),
            (Event::PowerLoss, Failure::PoweredOff, true, "it loses its power for good"),
            (Event::Removal, Failure::Removed, true, "the machine is removed"),
        ];
        for (event, failure, is_possible, what) in failures {
            if is_possible {
                self.event(event, format_args!("{name}: {what}"), |world| befall(self.stage, world, machine, failure));
            }
        }
    }

    fn of_administrator(&mut self, machine: usize) {
        let name = &self.stage.names[machine];
        let Some(node) = self.world.node(machine) else { return };
        // On a marked node a cordon cannot be distinguished from ours: docs/development/proof.md.
        if !node.unschedulable && node.meta.status != Status::Rebooting {
            self.event(Event::Cordon, format_args!("an administrator cordons {name}"), |world| {
                world.machine(machine).cordoned = true;
                world.change_node(machine, |node| node.unschedulable = true);
            });
        }
        if !node.unschedulable && node.meta.status != Status::Rebooting {
            self.event(Event::HandMark, format_args!("an administrator marks {name} as rebooting"), |world| {
                mark(world, machine, Status::Rebooting);
            });
        }
        if node.unschedulable {
            self.event(Event::Uncordon, format_args!("an administrator uncordons {name}"), |world| {
                let state = world.machine(machine);
                (state.cordoned, state.kept) = (false, false);
                world.change_node(machine, |node| node.unschedulable = false);
                disturb(world, machine, |actor| actor.uncordoned = true);
            });
        }
    }

    fn of_flights(&mut self) {
        for (position, flight) in self.world.flights.iter().enumerate() {
            let purpose = flight.change.purpose();
            self.add(format_args!("late: {purpose}"), |world| {
                world.apply(flight.machine, &flight.change, false);
                world.flights.remove(position);
            });
            self.add(format_args!("never done: {purpose}"), |world| drop(world.flights.remove(position)));
        }
    }

    /// Does what others have begun: late writes are done, and the annotation-only manager takes its node through its reboot.
    pub(crate) fn of_others(&mut self) {
        self.of_flights();
        if self.stage.setup.older.is_some() {
            self.of_annotation_manager(self.stage.setup.nodes);
        }
    }

    /// The annotation-only manager looks who is marked, cordons and marks its node, looks again, and goes back when one that comes
    /// before it is marked, too.
    fn of_annotation_manager(&mut self, machine: usize) {
        let name = &self.stage.names[machine];
        let others: Vec<usize> = (0..self.stage.setup.nodes).filter(|other| self.world.marked() >> other & 1 == 1).collect();
        let gives_way = others.iter().any(|other| self.stage.names[*other] < *name);
        match self.world.older {
            Older::Idle if others.is_empty() => {
                let what = format_args!("the annotation-only manager reads; no node is marked, so {name} may");
                self.event(Event::Older, what, |world| world.older = Older::Looked);
            }
            Older::Idle => {}
            Older::Looked => self.add(format_args!("the annotation-only manager marks and cordons {name}"), |world| {
                world.older = Older::Marked;
                mark(world, machine, Status::Rebooting);
            }),
            Older::Marked if gives_way => self.add(format_args!("the annotation-only manager looks again; {name} goes back"), |world| {
                world.older = Older::Idle;
                mark(world, machine, Status::Ready);
            }),
            Older::Marked => self.add(format_args!("the annotation-only manager looks again; {name} is approved"), |world| {
                world.older = Older::Approved;
                world.older_rightly = others.is_empty();
                world.machine(machine).out = true;
            }),
            Older::Approved => self.add(format_args!("{name} has rebooted; the annotation-only manager marks it ready"), |world| {
                world.older = Older::Idle;
                world.older_rightly = true;
                world.machine(machine).out = false;
                mark(world, machine, Status::Ready);
            }),
        }
    }
}

/// The annotation-only manager marks its node, and cordons it while it is rebooting.
fn mark(world: &mut World, machine: usize, status: Status) {
    world.change_node(machine, |node| {
        node.meta.status = status;
        node.unschedulable = status == Status::Rebooting;
    });
}

/// A machine is not back within a minute of its last request, and a request that has not come to its decision by then is
/// given up (`coordinator::perform`); one that waits for its drain has a term, by which it is recognised.
pub(crate) fn reboot(world: &mut World, machine: usize, prompt: bool) {
    let state = world.machine(machine);
    state.wants = state.wants.saturating_sub(1);
    start_again(world, machine, prompt);
}

/// The machine starts again, with or without an approval.
fn start_again(world: &mut World, machine: usize, prompt: bool) {
    hang_up(world, machine);
    end_long_requests(world, |at| at == machine);
    let state = world.machine(machine);
    state.client = Client::Back;
    state.boots += 1;
    if prompt && world.machines[machine].is_unreported() {
        report(world, machine);
    }
}

fn end_long_requests(world: &mut World, of: impl Fn(usize) -> bool) {
    world.actors.retain(|actor| !of(actor.machine) || !matches!(actor.work, Work::PreReboot(_)) || actor.drain.is_some());
}

/// A node fails for good.
fn befall(stage: &Stage, world: &mut World, machine: usize, failure: Failure) {
    let now = stage.now(world).clock;
    world.machine(machine).failure = failure;
    match failure {
        Failure::None | Failure::Obstructed => {}
        Failure::Departed => hang_up(world, machine),
        Failure::KubeletDown | Failure::PoweredOff => {
            if failure.ends_agent() {
                hang_up(world, machine);
            }
            world.change_node(machine, |node| {
                (node.readiness, node.readiness_since) = (ReadyCondition::NotReady, Some(now));
            });
        }
        // Its agent asks again: see `moves::of_agent`.
        Failure::CannotReboot => ask_again(world, machine),
        Failure::Removed => {
            hang_up(world, machine);
            delete_node(world, machine);
            world.machine(machine).came_back();
        }
    }
}

/// An agent that asks again is not rebooting, and must be answered before it reboots.
pub(crate) fn ask_again(world: &mut World, machine: usize) {
    let state = world.machine(machine);
    (state.client, state.out, state.kept) = (Client::Up, false, false);
}

/// The replica that drains the node reports a standstill in the Lease.
fn stand_still(world: &mut World, machine: usize) {
    let Some(uid) = world.node(machine).map(|node| node.meta.uid.clone()) else { return };
    report_drain(world, &uid, DrainReport { idle: 1_800, ..DrainReport::first("replica", Timestamp::UNIX_EPOCH) });
}

/// The replica that drains a node writes its report.
pub(crate) fn report_drain(world: &mut World, uid: &Uid, report: DrainReport) {
    world.versions += 1;
    let version = ResourceVersion(world.versions.to_string());
    let lock = Rc::make_mut(&mut world.lock);
    lock.state = lock.state.report(uid, report, false);
    if let Some(lease) = &mut lock.version {
        lease.version = version;
    }
}

/// A machine whose Node was deleted when it might reboot, and that is not back after this, is given up.
pub(crate) fn pass(world: &mut World, minutes: i64) {
    world.minutes += minutes;
    end_long_requests(world, |_| true);
    for at in 0..world.machines.len() {
        let uid = world.node(at).map(|node| &node.meta.uid);
        let holds = uid.is_some_and(|uid| world.lock.state.holder(uid).is_some());
        if world.machines[at].out && !world.machines[at].kept && !holds {
            world.machine(at).out = false;
        }
    }
}

/// The kubelet reports the boot. If it is a later one than that of the approval, the machine is back.
pub(crate) fn report(world: &mut World, machine: usize) {
    let state = world.machine(machine);
    if state.has_rebooted() {
        state.came_back();
    }
    let boots = state.boots.to_string();
    world.change_node(machine, |node| node.boot_id = boots);
}

/// An approved machine may reboot with its Node deleted, so its slot must outlive the Node; its cordon and its pods do not.
fn delete_node(world: &mut World, machine: usize) {
    let state = world.machine(machine);
    state.node = None;
    (state.kept, state.cordoned) = (false, false);
    state.pods = 0;
    world.note_marks();
}

/// A boot that it reports is evidence that the machine is back, as [`report`] says.
pub(crate) fn register(stage: &Stage, world: &mut World, machine: usize) {
    let state = world.machine(machine);
    state.generation += 1;
    state.out &= !state.has_rebooted();
    state.node = Some(stage.node(machine, state.generation, state.boots, false));
    world.note_marks();
}

fn disturb(world: &mut World, machine: usize, how: impl Fn(&mut Actor)) {
    for position in 0..world.actors.len() {
        if world.actors[position].machine == machine {
            how(world.actor(position));
        }
    }
}
