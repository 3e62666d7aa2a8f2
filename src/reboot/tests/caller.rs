//! Whether a Node, as just read, is still the one that a caller's id named.

use super::*;
use crate::fleetlock::zincati_id;

#[test]
fn a_node_is_the_callers_only_with_its_uid_and_its_machine() {
    let fixture = Fixture::approved();
    let machine = fixture.node.machine_id.unwrap();
    for id in [machine.0, zincati_id(machine)] {
        let caller = Caller { id, ..fixture.caller() };
        let mut recreated = fixture.node();
        recreated.meta.uid = uid("another");
        assert!(caller.is(&fixture.node()) && !caller.is(&recreated));
        for another in [Some(MachineId(HexId([2; 16]))), None] {
            assert!(!caller.is(&Node { machine_id: another, ..fixture.node() }));
        }
    }
}
