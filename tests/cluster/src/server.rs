//! The program under test, as a process.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::Zincati;
use crate::empty_root::EmptyRoot;
use crate::wait::wait_for;

/// Limit until the program listens.
const START_MAX: Duration = Duration::from_secs(20);

/// Running server, killed on drop.
pub struct Server {
    process: Mutex<Child>,
    log: Arc<Log>,
    pub address: String,
    pub ops: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// Command that starts a server.
pub struct Start {
    command: Vec<OsString>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Command of the shell that limits the open files.
    open_files: Option<String>,
}

impl Start {
    /// Prepares `binary` with `kubeconfig`, on free ports.
    pub fn new(binary: &Path, kubeconfig: &Path) -> Self {
        Self::of(vec![binary.into()]).arg("--kubeconfig").arg(&kubeconfig.to_string_lossy())
    }

    /// Prepares the program in this root, with the service account that is mounted there.
    pub fn in_root(root: &EmptyRoot, host: &str, port: u16) -> Self {
        Self::of(root.command()).env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", &port.to_string())
    }

    fn of(command: Vec<OsString>) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
        Self { command, arguments, environment: Vec::new(), open_files: None }
    }

    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Shows it another time of day: `clock` holds an offset as `+86400` or `-3600`, in seconds, and may be rewritten while it
    /// runs. Deadlines, which count from the start of the machine, are not changed. The binary must be linked
    /// dynamically, and libfaketime installed.
    #[must_use]
    pub fn clock(self, clock: &Path) -> Self {
        let library = ["x86_64", "aarch64"].map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1"));
        let library = library.into_iter().find(|path| Path::new(path).exists()).expect("libfaketime: apt-get install libfaketime");
        self.env("LD_PRELOAD", &library)
            .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    /// Limits the files that it may open at once (`ulimit -n`).
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(format!("ulimit -n {limit}"));
        self
    }

    /// Limits the files that it may open at once, to a limit that it may raise.
    #[must_use]
    pub fn soft_open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(format!("ulimit -Sn {limit}"));
        self
    }

    /// Starts the server and waits until it listens. Requests that wait for a slot are answered at once, unless `--max-waiting` is given.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut server = self.launch();
        server.ops = server.listening("ops: listening on ");
        server.address = server.listening("fleetlock: listening on ");
        server
    }

    /// Starts the server without waiting; its addresses are unknown.
    #[track_caller]
    pub fn launch(self) -> Server {
        let mut command = match &self.open_files {
            None => Command::new(&self.command[0]),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("{limit}; exec \"$0\" \"$@\"")).arg(&self.command[0]);
                shell
            }
        };
        command.env_clear().env("RUST_LOG", "debug").env("REBOOT_MANAGER_MAX_WAITING", "0").args(&self.command[1..]).args(&self.arguments);
        command.envs(self.environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program under test starts");
        let log = Arc::new(Log::default());
        let (reader, kept) = (process.stderr.take().expect("its log"), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                kept.lines.lock().expect("the log").push(line);
                kept.grown.notify_all();
            }
        });
        Server { process: Mutex::new(process), log, address: String::new(), ops: String::new() }
    }
}

impl Server {
    pub fn zincati(&self, id: &str) -> Zincati {
        Zincati::new(&self.address, id)
    }

    pub fn kill(&self) {
        let mut process = self.process.lock().expect("the process");
        let _ = process.kill();
        let _ = process.wait();
    }

    /// Sends a signal by its name, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs");
        assert!(sent.success(), "kill -{name} {pid}");
    }

    pub fn pid(&self) -> u32 {
        self.process.lock().expect("the process").id()
    }

    /// Waits until the server ends; returns its exit code.
    #[track_caller]
    pub fn exit_code(&self, deadline: Duration) -> Option<i32> {
        wait_for("the server ends", deadline, || {
            self.process.lock().expect("the process").try_wait().expect("its state").ok_or("it still runs")
        })
        .code()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().expect("the log").clone()
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, deadline: Duration) -> String {
        let lines = self.log.lines.lock().expect("the log");
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let (lines, _) = self.log.grown.wait_timeout_while(lines, deadline, |lines| found(lines).is_none()).expect("the log");
        let (line, all) = (found(&lines), lines.join("\n"));
        // A panic that holds the lock ends all tests.
        drop(lines);
        line.unwrap_or_else(|| panic!("no line with {text:?} in:\n{all}"))
    }

    /// Reads a page of the ops port: status and body.
    #[track_caller]
    pub fn page(&self, path: &str) -> (u16, String) {
        let mut agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent()
            .get(format!("http://{}{path}", self.ops))
            .call()
            .expect("the ops port answers");
        (agent.status().as_u16(), agent.body_mut().read_to_string().expect("a page"))
    }

    pub fn peak_rss_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    /// Returns a row of `/proc/PID/status` that is in KiB, as `VmRSS:`.
    pub fn memory_kib(&self, row: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(row)).expect("the row");
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Returns the processor time so far, including ended threads, in steps of 10 ms.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // The second field is the name, in brackets, and may hold spaces; of what follows the 12th and 13th are wanted.
        let (_, fields) = stat.rsplit_once(')').expect("the name");
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("/proc")
    }

    pub fn threads(&self) -> usize {
        self.count("task")
    }

    pub fn descriptors(&self) -> usize {
        self.count("fd")
    }

    fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{folder}", self.pid())).expect("/proc").count()
    }

    #[track_caller]
    fn listening(&self, prefix: &str) -> String {
        let line = self.wait_for_log(prefix, START_MAX);
        let (_, rest) = line.split_once(prefix).expect("the address");
        rest.split([',', ' ', '"']).next().unwrap_or_default().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the server {}\n{}", self.address, self.log().join("\n"));
        }
    }
}
