//! What must not outlive the process that started it: the programs of the control plane, and its folder.
//!
//! A shell reads a pipe whose other end only we hold. The kernel closes the pipe when this process ends, however it ends; the shell then
//! cleans up. (A "parent died" signal is simpler, but arrives when the *thread* that started the program ends.)

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Shell that cleans up when this value is dropped, or when this process ends in any other way.
#[derive(Debug)]
pub(super) struct Shell(Child);

impl Shell {
    /// Starts `program`, and kills it at the end. What it prints is added to the file `log`.
    pub(super) fn guard(program: &Path, arguments: &[String], log: &Path) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a writable log file");
        Self::start(Command::new("sh").args(["-c", GUARD, "guard"]).arg(program).args(arguments).stderr(log))
    }

    /// Removes a folder at the end.
    pub(super) fn sweep(folder: &Path) -> Self {
        Self::start(Command::new("sh").args(["-c", SWEEP, "sweeper"]).arg(folder).stderr(Stdio::null()))
    }

    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a shell"))
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // An error means that there is nothing left to wait for.
        let _ = self.0.wait();
    }
}

/// Runs "$@", and kills it when standard input ends. Ctrl-C is for the test, not for the guard.
const GUARD: &str = r#"
trap '' INT HUP
exec 3<&0
"$@" </dev/null >&2 3<&- & program=$!
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
