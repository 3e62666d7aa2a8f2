//! Limits of this process, and its end after a defect.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Exit code after a defect, as `EX_SOFTWARE` of BSD.
const DEFECT: i32 = 70;

/// With a limit of one byte the kernel writes no core dump. With 0 it still passes one to a program that collects them.
const CORE_BYTES_MAX: u64 = 1;

/// Open files that the largest `--max-connections` needs, and more. A credential plugin inherits the limit, and some programs close as many
/// files as it allows, one by one.
const FILES_MAX: u64 = 512 * 1024;

/// Forbids core dumps, which would contain private keys, and raises the limit of open files as far as is allowed and of use.
pub(crate) fn set_limits() {
    // Not `PR_SET_DUMPABLE`: without it only root could read `/proc/PID`, also of the process of a developer.
    let core = Rlimit { current: Some(CORE_BYTES_MAX), maximum: Some(CORE_BYTES_MAX) };
    if let Err(error) = setrlimit(Resource::Core, core) {
        // The limit is lower already.
        log::debug!("the limit of core dumps stays as it is: {error}");
    }
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: Some(files.maximum.unwrap_or(FILES_MAX).min(FILES_MAX)), maximum: files.maximum };
    if files.current.is_some_and(|current| Some(current) < raised.current)
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        log::warn!("the limit of open files (ulimit -n) stays at {:?}: {error}", files.current);
    }
}

/// Ends the process after a defect, without a core dump. The cause must be logged before.
#[expect(clippy::disallowed_methods, reason = "main cannot return: this thread may be any, and state may be inconsistent")]
pub(crate) fn exit_after_defect() -> ! {
    std::process::exit(DEFECT)
}
