//! Names of the environment variables: that of a flag, and those that no flag reads.

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, CommandFactory, Parser};

use super::Cli;

/// Returns the variable of `arg`, if its flag is `flag`.
pub(super) fn of_flag(arg: &Arg, flag: &str) -> Option<String> {
    let is_flag = arg.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long));
    is_flag.then(|| arg.get_env()).flatten().map(|name| name.to_string_lossy().into_owned())
}

/// Returns a warning for each of the variables `names` that begins as ours do and is read by no flag. Variables of Services are left out.
pub fn unread(names: &[String]) -> Vec<String> {
    let command = Cli::command();
    let is_read = |name: &str| command.get_arguments().any(|arg| arg.get_env().is_some_and(|variable| variable == name));
    // Kubernetes sets these for each Service with an address, whose name is in front.
    let services: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("_SERVICE_HOST")).collect();
    let is_of_service = |name: &str| {
        let parts = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"];
        services.iter().filter_map(|service| name.strip_prefix(service)).any(|rest| parts.iter().any(|part| rest.starts_with(part)))
    };
    let unread = names.iter().filter(|name| name.starts_with(PREFIX) && !is_read(name) && !is_of_service(name));
    unread.map(|name| format!("the variable {name} has no effect, because there is no such setting; {}", remedy(&command, name))).collect()
}

/// Names the variable that may be meant. The parser knows it, as it knows the flag that a mistyped flag may be.
fn remedy(command: &clap::Command, name: &str) -> String {
    let flag = format!("--{}", name.trim_start_matches(PREFIX).to_lowercase().replace('_', "-"));
    let error = Cli::try_parse_from(["", &flag]).err();
    let meant = match error.as_ref().and_then(|error| error.get(ContextKind::SuggestedArg)) {
        Some(ContextValue::String(meant)) => meant,
        _ => &flag,
    };
    let meant = command.get_arguments().find_map(|arg| of_flag(arg, meant));
    meant.map_or_else(|| "remove it (--help lists all)".to_owned(), |meant| format!("did you mean {meant}?"))
}

const PREFIX: &str = "REBOOT_MANAGER_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_no_flag_reads_is_named_and_those_of_services_are_not() {
        // The variables, and the ends of the warnings.
        let cases: [(&str, &[&str]); 8] = [
            ("REBOOT_MANAGER_SLOTS REBOOT_MANAGER_SERVICE_NAME REBOOT_MANAGER_KUBECONFIG HOME REBOOT_MANAGE", &[]),
            (
                "REBOOT_MANAGER_SLOT",
                &["the variable REBOOT_MANAGER_SLOT has no effect, because there is no such setting; did you mean REBOOT_MANAGER_SLOTS?"],
            ),
            (
                "REBOOT_MANAGER_slots REBOOT_MANAGER_PRE_REBOOT_WAITS",
                &["did you mean REBOOT_MANAGER_SLOTS?", "did you mean REBOOT_MANAGER_PRE_REBOOT_WAIT?"],
            ),
            ("REBOOT_MANAGER_", &["remove it (--help lists all)"]),
            ("REBOOT_MANAGER_HELP", &["remove it (--help lists all)"]),
            (
                "REBOOT_MANAGER_SERVICE_HOST REBOOT_MANAGER_SERVICE_PORT REBOOT_MANAGER_SERVICE_PORT_HTTPS REBOOT_MANAGER_PORT \
                 REBOOT_MANAGER_PORT_443_TCP REBOOT_MANAGER_PORT_443_TCP_PROTO REBOOT_MANAGER_PORT_443_TCP_PORT \
                 REBOOT_MANAGER_PORT_443_TCP_ADDR REBOOT_MANAGER_SERVICE_NAMES",
                &["did you mean REBOOT_MANAGER_SERVICE_NAME?"],
            ),
            ("REBOOT_MANAGER_OPS_SERVICE_HOST REBOOT_MANAGER_OPS_SERVICE_PORT REBOOT_MANAGER_OPS_PORT REBOOT_MANAGER_OPS_PORT_81_UDP", &[]),
            ("REBOOT_MANAGER_PORT REBOOT_MANAGER_OPS_SERVICE_HOST", &["remove it (--help lists all)"]),
        ];
        for (names, ends) in cases {
            let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
            let warnings = unread(&names);
            let is_right = warnings.len() == ends.len() && warnings.iter().zip(ends).all(|(warning, end)| warning.ends_with(end));
            assert!(is_right, "{names:?}: {warnings:?}");
        }
    }
}
