//! The program: reads the command line, runs the command, tells errors.

use std::process::ExitCode;

use clap::Parser;

use reboot_manager::cli::{Cli, Command};
use reboot_manager::{commands, logging};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let flags = match cli.command {
        Some(Command::Serve(flags)) => flags,
        None => cli.serve,
    };
    logging::start(flags.log_format);
    std::panic::set_hook(Box::new(|panic| {
        log::error!("a defect, please report it: {panic}; this process ends, to be started anew");
        std::process::abort();
    }));
    match commands::serve(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
