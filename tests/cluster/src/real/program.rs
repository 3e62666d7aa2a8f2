//! One program of the control plane, which cannot outlive the process that started it.
//!
//! Between the two is a shell that reads a pipe whose other end only we hold. The kernel closes it when this process
//! ends, however it ends; the shell then kills the program. (A "parent died" signal is simpler, but arrives when
//! the *thread* that started the program ends.)

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running program and its guard. Dropping it kills the program and waits until it is gone.
#[derive(Debug)]
pub(super) struct Program {
    guard: Child,
    pid: u32,
}

impl Program {
    /// Starts `binary`; what it prints is added to the file `log`.
    pub(super) fn start(binary: &Path, arguments: &[String], log: &Path) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(log).expect("a writable log file");
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .expect("a shell to start programs with");
        let mut line = String::new();
        let answer = guard.stdout.take().expect("the guard's output is piped");
        BufReader::new(answer).read_line(&mut line).expect("the guard says the program's process id");
        let pid = line.trim().parse().unwrap_or_else(|_| panic!("{} was not started: {line:?}", binary.display()));
        Self { guard, pid }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // An error means that there is nothing left to wait for.
        let _ = self.guard.wait();
    }
}

/// Removes a folder when this value is dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(super) struct Sweeper(Child);

impl Sweeper {
    pub(super) fn of(folder: &Path) -> Self {
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP, "sweeper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell to sweep with");
        Self(sweeper)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // An error means that there is nothing left to wait for.
        let _ = self.0.wait();
    }
}

/// Runs "$@", says its process id, and kills it when standard input ends. Ctrl-C is for the test, not for the guard.
const GUARD: &str = r#"
trap '' INT HUP
exec 3<&0
"$@" </dev/null >&2 3<&- & program=$!
echo "$program"
(cat <&3; kill -KILL "$program") >/dev/null 2>&1 & reader=$!
exec 3<&- </dev/null >/dev/null 2>&1
wait "$program"
kill "$reader"
"#;

/// Waits for the end of standard input, then removes the folder "$1", again while dying programs still write into it.
const SWEEP: &str = r#"
trap '' INT HUP
cat
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && sleep 0.1 && [ ! -e "$1" ] && exit
done
"#;
