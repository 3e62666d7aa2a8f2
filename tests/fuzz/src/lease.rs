//! The Lease and the lock in it: what was read is written so that it is read again, and every change of it is.

use jiff::Timestamp;
use reboot_manager::cluster::{Lease, NodeName, Uid};
use reboot_manager::fleetlock::GroupName;
use reboot_manager::lock::{LockState, patch, read, release};
use serde_json::Value;

use crate::merge::merged;

pub(crate) fn run(input: &[u8]) {
    let Ok(lease) = serde_json::from_slice::<Lease>(input) else { return };
    let lock = match read(&lease) {
        Ok(lock) => lock,
        Err(unreadable) => return assert!(unreadable.to_string().contains("rebootmanager/holders")),
    };
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    let is_kept = |lock: &LockState| {
        let patched = merged(object.clone(), &patch(lock, Some(&lease.version.version), now()).0);
        let written = serde_json::from_value::<Lease>(patched).expect("a Lease stays one");
        // A number that is no integer loses digits in each reading; nothing of ours is one.
        let floats = lock.extra.values().chain(lock.holders.iter().flat_map(|holder| holder.extra.values())).any(holds_a_float);
        assert!(floats || read(&written).is_ok_and(|again| again == *lock), "{lock:?} is read otherwise");
    };
    is_kept(&lock);

    let (name, uid) = (NodeName("new".to_owned()), Uid("new".to_owned()));
    let taken = lock.take(&name, &uid, &GroupName::parse("g").expect("a group"), now());
    assert!(taken.last_term >= lock.last_term, "terms go back");
    assert!(taken.holder(&uid).is_some() && taken.others(&name).all(|other| other.node != name));
    for changed in [taken.approve(&uid, "boot", now()), taken.check_in(&uid, now()), taken.free(&uid)] {
        is_kept(&changed);
    }
    assert!(taken.free(&uid).holder(&uid).is_none());
    for holder in &lock.holders {
        let _ = release(holder, None, None, now());
    }
}

fn holds_a_float(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(holds_a_float),
        Value::Object(all) => all.values().any(holds_a_float),
        Value::Number(number) => number.is_f64(),
        Value::Bool(_) | Value::Null | Value::String(_) => false,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("a moment")
}
