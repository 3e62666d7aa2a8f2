//! The program: parses the command line, runs the command, reports its error.

use std::process::ExitCode;

use clap::Parser;
use log::Level;

use reboot_manager::cli::Cli;
use reboot_manager::commands;

fn main() -> ExitCode {
    let Err(error) = commands::serve(&Cli::parse().into_serve()) else { return ExitCode::SUCCESS };
    // The log is off until the server has started it.
    if log::log_enabled!(Level::Error) {
        log::error!("{error:#}");
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}
