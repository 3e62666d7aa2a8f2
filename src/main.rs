//! The program: parses the command line, runs the command, reports its error.

use std::ffi::OsString;
use std::process::ExitCode;

use log::Level;

use reboot_manager::cli::Cli;
use reboot_manager::commands;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let flags = Cli::read(&arguments).unwrap_or_else(|error| error.exit()).into_serve();
    let Err(error) = commands::serve(&flags) else { return ExitCode::SUCCESS };
    // The log is off until the server has started it.
    if log::log_enabled!(Level::Error) {
        log::error!("{error:#}");
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}
