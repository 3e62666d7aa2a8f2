//! The command line, one word a line, and the settings that come of it.

use std::time::Duration;

use clap::Parser;
use reboot_manager::cli::Cli;
use reboot_manager::settings::Settings;

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Cli::try_parse_from(["reboot-manager"].into_iter().chain(text.lines())) {
        Ok(cli) => {
            let flags = cli.into_serve();
            let Ok(settings) = Settings::new(&flags) else { return };
            assert!(flags.slots >= 1 && flags.max_connections >= 2);
            assert!(flags.pre_reboot_wait <= HOUR && !flags.request_timeout.is_zero() && flags.request_timeout <= HOUR);
            assert!((1024..=65536).contains(&flags.max_head_bytes) && (1024..=65536).contains(&flags.max_body_bytes));
            assert_eq!(settings.namespace(Some("own")), flags.namespace.as_deref().unwrap_or("own"));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

const HOUR: Duration = Duration::from_secs(3600);
