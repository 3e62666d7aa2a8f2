//! A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as they are released.
//!
//! There are no machines behind its Nodes: [`crate::fleet`] makes those, [`crate::kubelet`] plays their kubelets. The programs
//! come from the folder that `scripts/control-plane-build` prints. They never outlive the process that started them.

mod credentials;
mod pool;
mod program;
mod programs;
mod reset;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::{NAMESPACE, kubeconfig};
use crate::wait::poll;

use self::credentials::{AUTHORITY, Credentials};
pub use self::pool::Guard;
use self::program::Shell;
use self::programs::Layout;

/// A running control plane. Dropping it ends all of its programs and removes everything it wrote.
#[derive(Debug)]
pub struct ControlPlane {
    admin: Api,
    credentials: Credentials,
    layout: Layout,
    programs: Mutex<BTreeMap<&'static str, Shell>>,
    /// After the programs: what they write into goes last.
    _sweeper: Shell,
}

impl ControlPlane {
    /// Reports whether the environment names a folder with the programs.
    pub fn is_available() -> bool {
        programs_folder().is_some()
    }

    /// Starts a control plane and waits until its API server, scheduler and controllers work.
    pub fn start() -> Self {
        let layout = layout();
        let sweeper = Shell::sweep(&layout.folder);
        let credentials = Credentials::make(&layout.folder);
        let admin = Api::new(&layout.api_url(), Some(credentials.authority_pem.as_bytes()), Some(&credentials.admin_token));
        let plane = Self { admin, credentials, layout, programs: Mutex::default(), _sweeper: sweeper };
        plane.write_configuration();
        plane.start_etcd();
        plane.start_api_server();
        plane.wait_until_it_controls();
        plane
    }

    pub fn admin(&self) -> Api {
        self.admin.clone()
    }

    /// Returns the CA of the API server, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.credentials.authority_pem
    }

    /// Creates a token of the program's account that is valid for an hour.
    pub fn token(&self) -> String {
        self.request_token(&json!({"expirationSeconds": 3600}))
    }

    /// Creates a token of an hour, and a Secret `secret` whose deletion revokes the token.
    pub fn token_bound_to(&self, secret: &str) -> String {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}});
        let made = self.admin.create(&format!("/api/v1/namespaces/{NAMESPACE}/secrets"), &object).ok();
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made["metadata"]["uid"]});
        self.request_token(&json!({"expirationSeconds": 3600, "boundObjectRef": bound}))
    }

    fn request_token(&self, spec: &Value) -> String {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/reboot-manager/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let answer = self.admin.create(&path, &request).ok();
        answer["status"]["token"].as_str().expect("a TokenRequest is answered with a token").to_owned()
    }

    /// Returns kubectl with all rights, without arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.layout.program("kubectl"));
        let kubeconfig = self.layout.folder.join(ADMIN_KUBECONFIG);
        command.env("KUBECONFIG", kubeconfig).env("HOME", &self.layout.folder);
        command
    }

    /// Starts etcd, unless it runs, and waits until the API server can use it again.
    pub fn start_etcd(&self) {
        let was_away = self.run("etcd", || programs::etcd(&self.layout));
        self.wait("etcd to listen", || UnixStream::connect(self.layout.etcd_socket()).map(drop).map_err(|error| error.to_string()));
        if was_away && self.running().contains_key("kube-apiserver") {
            self.wait_until_it_serves();
            self.renew_controllers();
        }
    }

    /// Kills etcd and keeps its data. The API server keeps running.
    pub fn stop_etcd(&self) {
        self.end("etcd");
    }

    /// Starts the API server, unless it runs, at the address it always had, and waits until it is ready. After an outage
    /// the scheduler and the controllers are restarted: left alone they may wait for a minute before they look again.
    pub fn start_api_server(&self) {
        let was_away = self.run_api_server();
        self.wait_until_it_serves();
        if was_away {
            self.renew_controllers();
        }
    }

    /// Kills the API server: no connection is closed properly, as in a crash.
    pub fn stop_api_server(&self) {
        self.end("kube-apiserver");
    }

    /// Starts the controller that distrusts a Node whose kubelet falls silent, and waits until it works.
    pub(crate) fn start_node_lifecycle(&self) {
        let ca = Some(self.credentials.authority_pem.as_bytes());
        let lifecycle = Api::new(&format!("https://127.0.0.1:{}", self.layout.lifecycle_port), ca, None);
        self.wait("the node lifecycle controller", || {
            self.run(NODE_LIFECYCLE, || programs::node_lifecycle(&self.layout, ADMIN_KUBECONFIG));
            answers(&lifecycle, "/healthz")
        });
    }

    pub(crate) fn stop_node_lifecycle(&self) {
        self.end(NODE_LIFECYCLE);
    }

    /// Returns the last lines of each program's log.
    fn log_tail(&self) -> String {
        let tail = |name| {
            let log = fs::read_to_string(self.layout.log(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
        };
        PROGRAMS.into_iter().chain([NODE_LIFECYCLE]).map(tail).collect()
    }

    /// Starts the scheduler and the controllers. They wait for the API server by themselves, whenever it is away.
    fn start_controllers(&self) {
        self.run("kube-controller-manager", || programs::controller_manager(&self.layout, ADMIN_KUBECONFIG));
        self.run("kube-scheduler", || programs::scheduler(&self.layout, SCHEDULER_CONFIGURATION));
    }

    /// Writes the files that the scheduler, the controllers and kubectl read.
    fn write_configuration(&self) {
        let user = json!({"token": self.credentials.admin_token});
        let kubeconfig =
            self.write(ADMIN_KUBECONFIG, &kubeconfig(&self.layout.api_url(), Some(&self.layout.folder.join(AUTHORITY)), &user));
        self.write(SCHEDULER_CONFIGURATION, &programs::scheduler_configuration(&kubeconfig));
    }

    /// Restarts the scheduler and the controllers if they run.
    fn renew_controllers(&self) {
        let ended: Vec<Shell> =
            ["kube-controller-manager", "kube-scheduler"].iter().filter_map(|name| self.running().remove(name)).collect();
        if !ended.is_empty() {
            drop(ended);
            self.wait_until_it_controls();
        }
    }

    /// Waits until the API server is ready, and starts it again when it could not have its port at once.
    fn wait_until_it_serves(&self) {
        self.wait("the API server to be ready", || {
            self.run_api_server();
            answers(&self.admin, "/readyz")
        });
    }

    fn run_api_server(&self) -> bool {
        self.run("kube-apiserver", || programs::api_server(&self.layout))
    }

    /// Starts the scheduler and the controllers, unless they run, and waits for the signs that pods can be created, are
    /// scheduled, and are controlled.
    fn wait_until_it_controls(&self) {
        let ca = Some(self.credentials.authority_pem.as_bytes());
        let controllers = Api::new(&format!("https://127.0.0.1:{}", self.layout.controllers_port), ca, None);
        let scheduler = Api::new(&format!("https://127.0.0.1:{}", self.layout.scheduler_port), ca, None);
        let signs = [
            (&controllers, "/healthz"),
            (&scheduler, "/readyz"),
            (&self.admin, "/api/v1/namespaces/default/serviceaccounts/default"),
            (&self.admin, "/api/v1/namespaces/default/configmaps/kube-root-ca.crt"),
        ];
        for (api, path) in signs {
            self.wait(&format!("the control plane to show {path}"), || {
                self.start_controllers();
                answers(api, path)
            });
        }
    }

    /// Starts a program unless it runs; reports whether the program was started.
    fn run(&self, name: &'static str, arguments: impl FnOnce() -> Vec<String>) -> bool {
        let mut running = self.running();
        let is_away = running.get_mut(name).is_none_or(Shell::has_ended);
        if is_away {
            let program = if name == NODE_LIFECYCLE { "kube-controller-manager" } else { name };
            running.insert(name, Shell::guard(&self.layout.program(program), &arguments(), &self.layout.log(name)));
        }
        is_away
    }

    fn end(&self, name: &str) {
        drop(self.running().remove(name));
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<&'static str, Shell>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as a start may take; after that it shows the logs.
    fn wait(&self, description: &str, look: impl FnMut() -> Result<(), String>) {
        if let Err(state) = poll(START_MAX, look) {
            panic!("waited {START_MAX:?} for {description}; last seen: {state}\n{}", self.log_tail());
        }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.layout.folder.join(name);
        fs::write(&path, content).expect("a writable folder for this run");
        path
    }
}

/// Checks that this path is answered with 200.
fn answers(api: &Api, path: &str) -> Result<(), String> {
    let answer = api.try_call("GET", path, "", None).map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
}

/// Chooses a new folder, four free ports, and the folder of the programs.
fn layout() -> Layout {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let programs = programs_folder().unwrap_or_else(|| panic!("there is no control plane to start; {HINT}"));
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !programs.join(name).is_file()).collect();
    assert!(missing.is_empty(), "{} holds no {}; {HINT}", programs.display(), missing.join(", "));
    let name = format!("control-plane-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = env::temp_dir().join(name);
    fs::create_dir_all(&folder).expect("a folder for this run");
    let [api_port, controllers_port, scheduler_port, lifecycle_port] = [(); 4].map(|()| free_port());
    Layout { programs, folder, api_port, controllers_port, scheduler_port, lifecycle_port }
}

/// A port that is free now, and that the kernel gives to no process that asks for any port: an API server that was ended finds
/// its own port free again, however many sockets other scenarios have opened since.
fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different ports.
    let first = (process::id() % 256) as u16 * 16;
    let next = |_| PORTS_FIRST + first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed)) % PORTS_COUNT;
    (0..PORTS_COUNT).map(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

fn programs_folder() -> Option<PathBuf> {
    ["REBOOT_MANAGER_CONTROL_PLANE", "KUBEBUILDER_ASSETS"]
        .into_iter()
        .find_map(|name| env::var_os(name).filter(|value| !value.is_empty()))
        .map(PathBuf::from)
}

/// The programs, in the order of their logs.
const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The one controller that the controller manager leaves out, in a process of its own.
const NODE_LIFECYCLE: &str = "node-lifecycle-controller";

/// First port, below the ports that Linux assigns (`net.ipv4.ip_local_port_range`, from 32768 on).
const PORTS_FIRST: u16 = 20_000;

const PORTS_COUNT: u16 = 4096;

/// Limit of a start; on two busy cores a start takes a sixth of it.
const START_MAX: Duration = Duration::from_secs(60);

/// Lines of each log that a failure shows.
const LOG_LINES: usize = 20;

const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

const SCHEDULER_CONFIGURATION: &str = "scheduler.json";

const HINT: &str = "run: export REBOOT_MANAGER_CONTROL_PLANE=\"$(scripts/control-plane-build | tail -n 1)\"";
