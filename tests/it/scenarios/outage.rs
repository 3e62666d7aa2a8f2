//! Kubernetes is away, slow, or does not let us.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use test_cluster::objects::Placement;
use test_cluster::proxy::{Fault, Rule};
use test_cluster::server::Start;
use test_cluster::wait::wait_for;

use super::{Machine, NAMESPACE, SOON, binary, blocked, cluster, cluster_of, served, server, unblock, wait_for_readyz};

#[test]
fn an_unavailable_api_server_is_reported_and_ends_no_drain() {
    let (mut cluster, [one, two]) = cluster_of();
    blocked(&cluster, "web", 2, "n1");
    let server = cluster.server_direct(&binary()).arg("--pre-reboot-wait=120s").start();
    let is_watching = || server.page("/metrics").1.contains("reboot_manager_watch_open 1\n");
    let held = one.until_draining(&server);
    wait_for("the nodes are watched", SOON, || if is_watching() { Ok(()) } else { Err("not yet") });
    cluster.stop_api_server();
    for answer in [two.agent(&server).pre_reboot(), two.agent(&server).steady_state()] {
        let answer = answer.expect(503, "kubernetes_unavailable");
        assert!(answer.value.contains("API server"), "{}", answer.value);
    }
    assert_eq!(server.page("/healthz").0, 200);
    let page = wait_for_readyz(&server, 503, "the Lease cannot be used");
    assert!(page.contains("API server"), "{page}");
    server.wait_for_log("cannot be drained now", SOON);
    wait_for("the end of the watch is noticed", SOON, || if is_watching() { Err("open") } else { Ok(()) });
    cluster.start_api_server();
    wait_for_readyz(&server, 200, "");
    wait_for("the nodes are watched again", SOON * 2, || if is_watching() { Ok(()) } else { Err("not yet") });
    cluster.set_status("n2", "Rebooting");
    unblock(&cluster, "web");
    held.answer().expect(404, "other_rebooting");
    cluster.set_status("n2", "Ready");
    // The watch may show the other annotation for a moment longer.
    one.until_approved(&server);
    assert_eq!(one.pods(&cluster), Vec::<String>::new());
}

#[test]
fn a_second_of_delay_on_each_call_changes_only_the_time() {
    let (cluster, [one, two]) = cluster_of();
    cluster.fleet.deployment("shop", "web", 6, Placement::Free);
    let server = server(&cluster, "100s");
    cluster.proxy.plan(Rule::any().inject(Fault::Slow(Duration::from_secs(1))));
    let begun = Instant::now();
    let pending = [&one, &two].map(|machine| machine.agent(&server).send("pre-reboot"));
    let answers = pending.map(test_cluster::zincati::Pending::answer);
    let approved: Vec<&Machine> =
        [&one, &two].into_iter().zip(&answers).filter(|(_, answer)| answer.status == 200).map(|(machine, _)| machine).collect();
    assert_eq!(approved.len(), 1, "{answers:?}");
    assert_eq!(approved[0].pods(&cluster), Vec::<String>::new());
    approved[0].comes_back(&cluster, &server);
    cluster.wait_for_no_holder();
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
}

#[test]
fn a_call_that_is_never_answered_costs_one_request_its_answer_and_no_more() {
    let (cluster, [one, two], server) = served("10s");
    one.agent(&server).steady_state().expect(200, "steady_state");
    two.agent(&server).steady_state().expect(200, "steady_state");
    cluster.proxy.plan(Rule::on("get", "nodes").with_path("/n1").inject(Fault::Freeze));
    let frozen = one.agent(&server).send("steady-state");
    assert!(frozen.is_held(Duration::from_millis(300)));
    for _ in 0..5 {
        two.agent(&server).steady_state().expect(200, "steady_state");
    }
    frozen.answer().expect(503, "kubernetes_unavailable");
}

#[test]
fn a_missing_right_is_named() {
    let (cluster, [one], server) = served("2s");
    wait_for_readyz(&server, 200, "");
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/reboot-manager";
    let role = cluster.admin.get(path).ok();
    let rules: Vec<_> =
        role["rules"].as_array().into_iter().flatten().filter(|rule| rule["verbs"] != serde_json::json!(["patch"])).cloned().collect();
    cluster.admin.merge(path, &serde_json::json!({"rules": rules})).ok();
    // The API server may grant by the old rules for a moment.
    // Either of the two has to patch the node, whatever the one before has done.
    let answer = wait_for("a call is refused", SOON, || {
        let answers = [one.agent(&server).pre_reboot(), one.agent(&server).steady_state()];
        let refused = answers.iter().position(|answer| answer.status == 503);
        refused.map(|at| answers[at].clone()).ok_or_else(|| format!("{answers:?}"))
    });
    assert!(answer.value.contains("cannot patch resource"), "{}", answer.value);
    wait_for_readyz(&server, 503, "patch nodes: apply the RBAC rules of kubernetes/deployment.yaml");
    cluster.admin.merge(path, &serde_json::json!({"rules": role["rules"]})).ok();
    wait_for_readyz(&server, 200, "");
    server.wait_for_log("ready again", SOON);
    let logged = server.log().iter().filter(|line| line.contains("not ready: the service account may not patch nodes")).count();
    assert_eq!(logged, 1, "a change is logged, and not each probe");
}

/// A Lease that is not there yet, and a namespace that is not there, look alike to a read.
#[test]
fn a_namespace_that_does_not_exist_is_named_at_the_start_and_nothing_is_created() {
    let cluster = cluster();
    // With the shipped Role there is no right in another namespace.
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let named = json!({"name": "leases-everywhere"});
    let rules = json!([{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]}]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": named, "rules": rules});
    cluster.admin.create(&format!("{rbac}/clusterroles"), &role).ok();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": named,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "leases-everywhere"},
        "subjects": [{"kind": "ServiceAccount", "name": "reboot-manager", "namespace": NAMESPACE}]});
    cluster.admin.create(&format!("{rbac}/clusterrolebindings"), &binding).ok();
    let kubeconfig = cluster.kubeconfig(&cluster.proxy.base(), None);
    let server = Start::new(&binary(), &kubeconfig).arg("--namespace").arg("typo").start();
    wait_for_readyz(&server, 503, "the namespace \"typo\" of the Lease does not exist: create it, or correct --namespace");
    server.wait_for_log("not ready: the namespace \"typo\" of the Lease does not exist", SOON);
    cluster.fleet.ensure_namespace("typo");
    wait_for_readyz(&server, 200, "");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/typo/leases/reboot-manager";
    assert_eq!(cluster.admin.get(lease).status, 404, "the check creates no Lease");
    for path in ["clusterrolebindings", "clusterroles"] {
        cluster.admin.delete(&format!("{rbac}/{path}/leases-everywhere"), None).ok();
    }
}

/// The kubelet asks for both pages again and again, and ends a pod whose `/healthz` does not answer.
#[test]
fn with_three_seconds_for_each_call_the_process_is_alive_and_gets_ready() {
    let cluster = cluster();
    cluster.proxy.plan(Rule::any().inject(Fault::Slow(Duration::from_secs(3))));
    let server = server(&cluster, "10s");
    let over = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    server.page("/readyz");
                    std::thread::sleep(BETWEEN_PROBES);
                }
            });
        }
        // Nothing is asserted in here: the threads would go on for ever.
        let mut answers = Vec::new();
        while cluster.proxy.count("create", REVIEWS) < REVIEWS_MIN && answers.len() < PROBES_MAX {
            answers.push(server.page("/healthz"));
            std::thread::sleep(BETWEEN_PROBES);
        }
        over.store(true, Ordering::SeqCst);
        answers
    });
    assert!((REVIEWS_MIN..PROBES_MAX).contains(&answers.len()), "/healthz was answered {} times", answers.len());
    assert!(answers.iter().all(|answer| *answer == (200, "ok\n".to_owned())), "{answers:?}");
    wait_for_readyz(&server, 200, "");
    cluster.proxy.clear();
    let (asked, read) = (cluster.proxy.count("create", REVIEWS), cluster.proxy.count("get", "leases"));
    wait_for("the reconciler has read the Lease twice more", SOON, || {
        assert_eq!(server.page("/readyz").0, 200);
        let more = cluster.proxy.count("get", "leases") - read;
        if more >= 2 { Ok(()) } else { Err(more) }
    });
    assert_eq!(cluster.proxy.count("create", REVIEWS), asked, "rights that are granted are not asked for again and again");
}

/// Name of the questions about rights on the proxy.
const REVIEWS: &str = "selfsubjectaccessreviews";

/// Fewer than there are rights.
const REVIEWS_MIN: usize = 6;

/// With the time between them more than a minute.
const PROBES_MAX: usize = 1000;

/// A kubelet takes longer.
const BETWEEN_PROBES: Duration = Duration::from_millis(100);
