//! Each fault, as the program behind it meets it and as the API server does.

use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::Simulated;

struct Fixture {
    cluster: Simulated,
    proxy: Proxy,
    api: Api,
}

fn fixture() -> Fixture {
    let cluster = Simulated::start();
    let admin = cluster.admin();
    let proxy = Proxy::to(&admin);
    let api = Api::new(&proxy.base(), None, admin.token());
    Fixture { cluster, proxy, api }
}

impl Fixture {
    /// Creates a node over the proxy; returns the status, or `None` if the connection broke.
    fn create(&self, name: &str) -> Option<u16> {
        let body = json!({"metadata": {"name": name}});
        self.api.try_call("POST", "/api/v1/nodes", "application/json", Some(&body)).ok().map(|answer| answer.status)
    }

    fn exists(&self, name: &str) -> bool {
        self.cluster.admin().get(&format!("/api/v1/nodes/{name}")).status == 200
    }

    #[track_caller]
    fn check(&self, fault: Fault, answered: Option<u16>, done: bool) {
        self.proxy.plan(Rule::on("create", "nodes").nth(1).inject(fault));
        assert_eq!(self.create("a"), answered);
        assert_eq!(self.exists("a"), done);
        let passed = self.proxy.log().pop().unwrap();
        assert_eq!((passed.status, passed.upstream), (answered, done.then_some(201)));
        assert_eq!(self.create("b"), Some(201), "only the first is hit");
    }
}

#[test]
fn calls_without_a_fault_are_forwarded_and_counted() {
    let fixture = fixture();
    assert_eq!(fixture.create("a"), Some(201));
    fixture.api.merge("/api/v1/nodes/a?fieldManager=x", &json!({"spec": {"unschedulable": true}})).ok();
    assert_eq!(fixture.api.get("/api/v1/nodes?limit=1").ok()["items"][0]["spec"]["unschedulable"], true);
    fixture.api.delete("/api/v1/nodes/a", Some(0)).ok();
    assert_eq!(fixture.api.get("/version").status, 404);
    let log = fixture.proxy.log();
    let seen: Vec<_> = log.iter().map(|passed| (passed.n, passed.verb.as_str(), passed.resource.as_str(), passed.status)).collect();
    assert_eq!(
        seen,
        [
            (1, "create", "nodes", Some(201)),
            (2, "patch", "nodes", Some(200)),
            (3, "list", "nodes", Some(200)),
            (4, "delete", "nodes", Some(200)),
            (5, "get", "/version", Some(404)),
        ]
    );
    assert_eq!(log[1].path, "/api/v1/nodes/a?fieldManager=x");
    assert_eq!(fixture.proxy.count("list", "nodes"), 1);
}

#[test]
fn each_fault_is_met_once_with_the_call_executed_or_not() {
    fixture().check(Fault::conflict409(), Some(409), false);
    fixture().check(Fault::internal500(), Some(500), false);
    fixture().check(Fault::toomany429(7), Some(429), false);
    fixture().check(Fault::status(403, &Value::Null), Some(403), false);
    fixture().check(Fault::CutBefore, None, false);
    fixture().check(Fault::CutAfter, None, true);
    fixture().check(Fault::status_after(504), Some(504), true);
}

#[test]
fn hooks_run_before_and_after_the_api_server() {
    let fixture = fixture();
    let admin = fixture.cluster.admin();
    let watch = |seen: &Arc<AtomicU16>| {
        let (admin, seen) = (admin.clone(), Arc::clone(seen));
        move |_: &Passed| seen.store(admin.get("/api/v1/nodes/a").status, Ordering::SeqCst)
    };
    let [before, after] = [Arc::new(AtomicU16::new(0)), Arc::new(AtomicU16::new(0))];
    fixture.proxy.plan(Rule::any_write().inject(Fault::before(watch(&before))));
    fixture.proxy.plan(Rule::any().inject(Fault::after(watch(&after))));
    assert_eq!(fixture.create("a"), Some(201));
    assert_eq!((before.load(Ordering::SeqCst), after.load(Ordering::SeqCst)), (404, 200));
}

#[test]
fn occurrences_count_matching_calls_since_the_rule_was_added() {
    let fixture = fixture();
    fixture.create("x");
    fixture.proxy.plan(Rule::on("create", "nodes").from(2).inject(Fault::internal500()));
    fixture.api.get("/api/v1/nodes").ok();
    assert_eq!(["a", "b", "c"].map(|name| fixture.create(name)), [Some(201), Some(500), Some(500)]);
    fixture.proxy.clear();
    assert_eq!(fixture.create("d"), Some(201));
}
