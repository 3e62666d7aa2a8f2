//! What others do: machines and kubelets, administrators, time, and an annotation-only manager that only knows annotations.

use reboot_manager::cluster::Status;

use crate::actor::Work;
use crate::moves::{Moves, hang_up};
use crate::world::{Allowance, Client, Machine, Older, Stage, World};

impl Moves<'_> {
    pub(crate) fn of_outsiders(&mut self) {
        (0..self.stage.setup.nodes).for_each(|machine| {
            self.of_machine(machine);
            self.of_administrator(machine);
        });
        if self.world.may.lease_deletions > 0 && self.world.lock.version.is_some() {
            self.add(
                || "an administrator deletes the Lease".to_owned(),
                |world| {
                    world.may.lease_deletions -= 1;
                    world.delete_lease();
                    None
                },
            );
        }
        if self.world.annotation_lost {
            self.add(
                || "an administrator puts the annotation of the Lease back".to_owned(),
                |world| {
                    world.lose_annotation(false);
                    None
                },
            );
        } else if self.world.may.lost_annotations > 0 && self.world.lock.version.is_some() {
            self.add(
                || "an administrator takes the annotation from the Lease".to_owned(),
                |world| {
                    world.may.lost_annotations -= 1;
                    world.lose_annotation(true);
                    None
                },
            );
        }
        if self.stage.setup.time {
            self.add(
                || "a minute passes".to_owned(),
                |world| {
                    world.minutes(1);
                    None
                },
            );
        }
        let Allowance { node_deletions, lone_not_founds, .. } = self.stage.setup.may;
        if node_deletions + lone_not_founds > 0 {
            self.add(|| "a quarter of an hour passes".to_owned(), quarter);
        }
        self.of_flights();
        if let Some(machine) = self.stage.older {
            self.of_annotation_manager(machine);
        }
    }

    fn of_machine(&mut self, machine: usize) {
        let (name, state) = (&self.stage.names[machine], &self.world.machines[machine]);
        if state.client == Client::Approved {
            let prompt = self.stage.setup.prompt;
            self.add(|| format!("{name}: reboots"), |world| reboot(world, machine, prompt));
        }
        if state.node.as_ref().is_some_and(|node| node.boot_id != state.boots.to_string()) {
            self.add(
                || format!("{name}: its kubelet reports the boot"),
                |world| {
                    report(world, machine);
                    None
                },
            );
        }
        if self.world.may.restarts > 0 && state.client != Client::Back {
            self.add(
                || format!("{name}: its agent is restarted without a reboot"),
                |world| {
                    world.may.restarts -= 1;
                    hang_up(world, machine, false);
                    world.machine(machine).client = Client::Back;
                    None
                },
            );
        }
        if self.world.may.arrivals > 0 && state.node.is_some() {
            self.add(
                || format!("{name}: a pod comes"),
                |world| {
                    world.may.arrivals -= 1;
                    world.machine(machine).pods += 1;
                    disturb(world, machine, |actor| actor.pods_came |= actor.observed.pods.is_some());
                    None
                },
            );
        }
        if state.node.is_none() {
            let stage = self.stage;
            self.add(|| format!("{name}: its kubelet recreates its Node"), |world| register(stage, world, machine));
        } else if self.world.may.node_deletions > 0 {
            self.add(|| format!("an administrator deletes the Node {name}"), |world| delete_node(world, machine));
        }
    }

    fn of_administrator(&mut self, machine: usize) {
        let name = &self.stage.names[machine];
        let Some(node) = self.world.node(machine) else { return };
        // On a marked node a cordon cannot be distinguished from ours: docs/development/proof.md.
        if self.world.may.cordons > 0 && !node.unschedulable && node.meta.status != Status::Rebooting {
            self.add(
                || format!("an administrator cordons {name}"),
                |world| {
                    world.may.cordons -= 1;
                    world.machine(machine).cordoned = true;
                    world.change_node(machine, |node| node.unschedulable = true);
                    None
                },
            );
        }
        if self.world.may.uncordons > 0 && node.unschedulable {
            self.add(
                || format!("an administrator uncordons {name}"),
                |world| {
                    world.may.uncordons -= 1;
                    let state = world.machine(machine);
                    state.cordoned = false;
                    state.kept = false;
                    world.change_node(machine, |node| node.unschedulable = false);
                    disturb(world, machine, |actor| actor.uncordoned = true);
                    None
                },
            );
        }
    }

    fn of_flights(&mut self) {
        for (position, flight) in self.world.flights.iter().enumerate() {
            self.add(
                || format!("late: {}", flight.change.purpose()),
                |world| {
                    world.apply(flight.machine, &flight.change, false);
                    world.flights.remove(position);
                    None
                },
            );
            self.add(
                || format!("never done: {}", flight.change.purpose()),
                |world| {
                    world.flights.remove(position);
                    None
                },
            );
        }
    }

    /// The annotation-only manager looks who is marked, cordons and marks its node, looks again, and goes back when one that comes
    /// before it is marked, too.
    fn of_annotation_manager(&mut self, machine: usize) {
        let name = &self.stage.names[machine];
        let others: Vec<usize> = (0..self.stage.setup.nodes).filter(|other| self.world.marked() >> other & 1 == 1).collect();
        let before = others.iter().any(|other| self.stage.names[*other] < *name);
        let set = |world: &mut World, status: Status| {
            world.change_node(machine, |node| {
                node.meta.status = status;
                node.unschedulable = status == Status::Rebooting;
            });
        };
        match self.world.older {
            Older::Idle if self.world.may.older > 0 && others.is_empty() => self.add(
                || format!("the annotation-only manager reads; no node is marked, so {name} may"),
                |world| {
                    world.may.older -= 1;
                    world.older = Older::Looked;
                    None
                },
            ),
            Older::Idle => {}
            Older::Looked => self.add(
                || format!("the annotation-only manager marks and cordons {name}"),
                |world| {
                    world.older = Older::Marked;
                    set(world, Status::Rebooting);
                    None
                },
            ),
            Older::Marked if before => self.add(
                || format!("the annotation-only manager looks again; {name} goes back"),
                |world| {
                    world.older = Older::Idle;
                    set(world, Status::Ready);
                    None
                },
            ),
            Older::Marked => self.add(
                || format!("the annotation-only manager looks again; {name} is approved"),
                |world| {
                    world.older = Older::Approved;
                    world.older_rightly = others.is_empty();
                    world.machine(machine).out = true;
                    None
                },
            ),
            Older::Approved => self.add(
                || format!("{name} has rebooted; the annotation-only manager marks it ready"),
                |world| {
                    world.older = Older::Idle;
                    world.older_rightly = true;
                    world.machine(machine).out = false;
                    set(world, Status::Ready);
                    None
                },
            ),
        }
    }
}

/// A machine is not back within a minute of its last request, and a request that has not come to its decision by then is
/// given up (`coordinator::perform`); one that waits for its drain has a term, by which it is recognised.
fn reboot(world: &mut World, machine: usize, prompt: bool) -> Option<String> {
    hang_up(world, machine, false);
    end_long_requests(world, |at| at == machine);
    let state: &mut Machine = world.machine(machine);
    state.client = Client::Back;
    state.wants = state.wants.saturating_sub(1);
    state.boots += 1;
    if prompt {
        report(world, machine);
    }
    None
}

fn end_long_requests(world: &mut World, of: impl Fn(usize) -> bool) {
    world.actors.retain(|actor| !of(actor.machine) || !matches!(actor.work, Work::PreReboot(_)) || actor.drain.is_some());
}

/// A machine whose Node was deleted when it might reboot, and that is not back after this, is given up.
fn quarter(world: &mut World) -> Option<String> {
    world.minutes(15);
    end_long_requests(world, |_| true);
    for at in 0..world.machines.len() {
        let uid = world.node(at).map(|node| &node.meta.uid);
        let holds = uid.is_some_and(|uid| world.lock.state.holder(uid).is_some());
        if world.machines[at].out && !world.machines[at].kept && !holds {
            world.machine(at).out = false;
        }
    }
    None
}

/// Records that there is evidence for the reboot of the machine, so its cordon may be removed.
fn report(world: &mut World, machine: usize) {
    let state = world.machine(machine);
    (state.out, state.kept) = (false, false);
    let boots = state.boots.to_string();
    world.change_node(machine, |node| node.boot_id = boots);
}

/// An approved machine may reboot with its Node deleted, so its slot must outlive the Node; its cordon and its pods do not.
fn delete_node(world: &mut World, machine: usize) -> Option<String> {
    world.may.node_deletions -= 1;
    let state = world.machine(machine);
    state.node = None;
    (state.kept, state.cordoned) = (false, false);
    state.pods = 0;
    world.note_marks();
    None
}

/// A boot that it reports is evidence that the machine is back, as [`report`] says.
fn register(stage: &Stage, world: &mut World, machine: usize) -> Option<String> {
    let holder = world.lock.state.holders.iter().find(|holder| holder.node == stage.names[machine]);
    let boot = holder.and_then(|holder| holder.approved.as_ref()).map(|approved| approved.boot.clone());
    let state = world.machine(machine);
    state.generation += 1;
    state.out &= boot.is_none_or(|boot| boot == state.boots.to_string());
    state.node = Some(stage.node(machine, state.generation, state.boots, false));
    world.note_marks();
    None
}

fn disturb(world: &mut World, machine: usize, how: impl Fn(&mut crate::actor::Actor)) {
    for position in 0..world.actors.len() {
        if world.actors[position].machine == machine {
            how(world.actor(position));
        }
    }
}
