//! The program: parses the command line, runs the command, reports its error.

use std::process::ExitCode;

use clap::Parser;
use log::Level;

use reboot_manager::cli::{Cli, Command};
use reboot_manager::commands;

fn main() -> ExitCode {
    let result = match Cli::parse().into_command() {
        Command::Serve(flags) => commands::serve(&flags),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    // The log is off until the server has started it.
    if log::log_enabled!(Level::Error) {
        log::error!("{error:#}");
    } else {
        eprintln!("error: {error:#}");
    }
    ExitCode::FAILURE
}
