//! Whether a Node, as just read, is still the one that a caller's id named.

use serde_json::json;

use super::*;
use crate::fleetlock::zincati_id;

fn node(uid: &str, machine: &str) -> Node {
    serde_json::from_value(json!({"metadata": {"name": "n1", "uid": uid}, "status": {"nodeInfo": {"machineID": machine}}})).unwrap()
}

#[test]
fn a_node_is_the_callers_only_with_its_uid_and_its_machine() {
    let (machine, another) = ("dfd7882acda64c34aca76193c46f5d4e", "1fd7882acda64c34aca76193c46f5d4e");
    let plain = HexId::parse(machine).unwrap();
    for id in [plain, zincati_id(MachineId(plain))] {
        let caller = Caller {
            node: NodeName("n1".to_owned()),
            uid: Uid("u1".to_owned()),
            id,
            group: GroupName::parse("default").unwrap(),
            arrived: Timestamp::UNIX_EPOCH,
        };
        assert!(caller.is(&node("u1", machine)));
        assert!(!caller.is(&node("u2", machine)), "a recreated Node");
        assert!(!caller.is(&node("u1", another)), "it is another machine now");
        assert!(!caller.is(&node("u1", "")), "its machine-id cannot be used");
    }
}
