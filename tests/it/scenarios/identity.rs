//! Who calls.

use super::{SOON, cluster, machine, served, server};

#[test]
fn nodes_whose_machine_ids_are_equal_or_invalid_are_named_and_harm_no_other() {
    let cluster = cluster();
    let one = machine(&cluster, "n1", 5);
    machine(&cluster, "n2", 5);
    cluster.fleet.node("odd", "not-a-machine-id", "b").create();
    cluster.fleet.node("empty", "", "b").create();
    let other = machine(&cluster, "n3", 6);
    let server = server(&cluster, "10s");
    for answer in [one.agent(&server).pre_reboot(), one.agent(&server).steady_state()] {
        let answer = answer.expect(404, "duplicate_id");
        assert!(answer.value.contains("n1 and n2"), "{}", answer.value);
    }
    other.until_approved(&server);
    assert_eq!(cluster.holders(), ["n3"]);
    let line = server.wait_for_log("the machine-id of these nodes is empty or invalid", SOON);
    assert!(line.contains("odd") && line.contains("empty"), "{line}");
}

#[test]
fn the_raw_machine_id_white_space_and_an_upper_case_group_are_accepted() {
    let (cluster, [one], server) = served("10s");
    for id in [format!("{:032X}", 1), format!("{}\n", one.id), format!(" {}\r\n", one.id)] {
        let mut agent = server.zincati(&id);
        agent.group = "Workers.EU-1".to_owned();
        agent.base = "//".to_owned();
        agent.pre_reboot().expect(200, "approved");
        assert_eq!(cluster.holders(), ["n1"]);
        assert_eq!(cluster.lock()["holders"][0]["group"], "Workers.EU-1");
        cluster.fleet.reboot("n1");
        agent.steady_state().expect(200, "steady_state");
        one.is_in_service(&cluster);
        cluster.wait_for_no_holder();
    }
}
