//! A Kubernetes API server in this process, with the controllers and the scheduler that draining a node meets.
//!
//! The server keeps whole JSON objects and simulates what a program that drains nodes, and its administrator, can observe. The controllers run
//! after every write, before its answer: the next read shows their changes. There is no kubelet: pods become Ready, and end, only through
//! the API. Nodes can be watched. Left out: other watches, validation, dry runs of deletions and evictions, admission, quotas, preemption, rollouts, and most field managers.

mod controllers;
mod defaults;
mod delete;
mod evict;
mod rbac;
mod read;
mod routes;
mod selector;
mod status;
mod store;
mod watch;
mod write;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::http::{Handler, Reply, Server};
use crate::wait::wait_for;
use routes::Answer;
use store::{Caller, Store};

/// Simulated cluster, stopped on drop.
pub struct Simulated {
    cluster: Arc<Cluster>,
    front: Option<Server>,
    address: SocketAddr,
    admin_token: String,
}

struct Cluster {
    state: Mutex<State>,
    /// Notified after a write, and when the listener closes.
    changed: Condvar,
}

struct State {
    store: Store,
    store_lost: bool,
    /// Number of times the listener was closed, which cuts open watches.
    stops: u64,
}

impl Cluster {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated {
    /// Starts a cluster without nodes, served over plain HTTP on a port of 127.0.0.1.
    pub fn start() -> Self {
        let mut store = Store::default();
        for namespace in ["default", "kube-system"] {
            store.put("namespaces", json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}}));
        }
        let admin_token = store.new_token(Caller::Admin);
        let state = State { store, store_lost: false, stops: 0 };
        let cluster = Arc::new(Cluster { state: Mutex::new(state), changed: Condvar::new() });
        let front = Server::start(None, handler(&cluster)).expect("a port of 127.0.0.1");
        let address = front.address();
        Self { cluster, front: Some(front), address, admin_token }
    }

    pub fn admin(&self) -> Api {
        Api::new(&format!("http://{}", self.address), None, Some(&self.admin_token))
    }

    /// Creates a token of a service account.
    pub fn token_for(&self, namespace: &str, service_account: &str) -> String {
        let caller = Caller::ServiceAccount { namespace: namespace.to_owned(), name: service_account.to_owned() };
        self.cluster.state().store.new_token(caller)
    }

    /// Revokes every token except the administrator's.
    pub fn revoke_tokens(&self) {
        self.cluster.state().store.revoke_tokens();
    }

    /// Answers every request as while etcd is unavailable, or no longer does.
    pub fn lose_store(&self, lost: bool) {
        self.cluster.state().store_lost = lost;
    }

    /// Closes the listener and all connections. The cluster's state is kept.
    pub fn stop(&mut self) {
        self.cluster.state().stops += 1;
        self.cluster.changed.notify_all();
        self.front = None;
    }

    /// Listens on the same port again.
    pub fn restart(&mut self) {
        self.stop();
        // An outgoing connection of another process may use the port for a moment.
        self.front = Some(wait_for("the port is free", RESTART_LIMIT, || Server::start_at(self.address, None, handler(&self.cluster))));
    }
}

fn handler(cluster: &Arc<Cluster>) -> Arc<Handler> {
    let cluster = Arc::clone(cluster);
    Arc::new(move |request| {
        let mut state = cluster.state();
        if state.store_lost {
            return Reply::Send(status::Refusal::new(500, "", "etcdserver: request timed out", &Value::Null).response());
        }
        match routes::answer(&mut state.store, request) {
            Answer::Watch(watch) => {
                let stops = state.stops;
                drop(state);
                watch.reply(&cluster, stops)
            }
            Answer::Response(response) => {
                controllers::settle(&mut state.store);
                drop(state);
                cluster.changed.notify_all();
                Reply::Send(response)
            }
        }
    })
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.stop();
    }
}

const RESTART_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
