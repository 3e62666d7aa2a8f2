//! The command line as typed: subcommands and flags, and for each flag an environment variable.

mod connection;
mod serve;

use clap::{Parser, Subcommand};

pub use connection::Connection;
pub use serve::{LogFormat, Serve, Switch, Tls, VerifySource};

/// Lets Kubernetes nodes that update themselves reboot one after the other, drained.
///
/// A node asks before its reboot (FleetLock protocol, as Zincati speaks it). It is told yes only once it holds a slot,
/// is cordoned and has no pod left that had to go. When it is back it checks in, is uncordoned, and the next may go.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
#[command(after_help = "Without a command, `serve` runs. Logs: RUST_LOG=warn|info|debug (default info).")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer the nodes (the default).
    Serve(Serve),
}

impl Cli {
    /// The subcommand; `serve` where none is given.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_with_and_without_serve() {
        for words in [&["reboot-manager", "serve", "--slots", "2"][..], &["reboot-manager", "--slots", "2"][..]] {
            let Command::Serve(serve) = Cli::try_parse_from(words).unwrap().into_command();
            assert_eq!(serve.slots, 2);
        }
        assert!(Cli::try_parse_from(["reboot-manager", "--slots", "0"]).is_err());
    }
}
