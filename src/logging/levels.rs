//! Parser of `RUST_LOG`. No value silences the program: errors are always logged.
//!
//! `env_logger` has a parser too, but there an empty text means no log at all, and a misspelt level is the name of a module.

use log::LevelFilter;

const DEFAULT: LevelFilter = LevelFilter::Info;
// Characters of an invalid text in the warning.
const QUOTED_MAX: usize = 80;
const EXAMPLES: &str = "use error, warn, info or debug, or for one part more than for the rest info,reboot_manager::kube=debug";

/// Parsed value of `RUST_LOG`.
pub(super) struct Levels {
    /// Level of every module that is not in `modules`.
    pub(super) all: LevelFilter,
    pub(super) modules: Vec<(String, LevelFilter)>,
    /// Message about an invalid or silencing value.
    pub(super) warning: Option<String>,
}

impl Levels {
    /// Parses `level` and `module=level`, separated by commas. If any part is invalid the whole text is ignored.
    pub(super) fn of(text: &str) -> Self {
        let mut levels = Self { all: DEFAULT, modules: Vec::new(), warning: None };
        let mut silenced = false;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (module, word) = match part.split_once('=') {
                Some((module, word)) => (Some(module.trim()), word.trim()),
                None if is_ours(part) => (Some(part), "trace"),
                None => (None, part),
            };
            let Ok(level) = word.parse::<LevelFilter>() else {
                return Self::invalid(text, &format!("{:?} is not a level", clip(word)));
            };
            // `off` hides the reason why the process exits.
            silenced |= level == LevelFilter::Off;
            let level = level.max(LevelFilter::Error);
            match module {
                None => levels.all = level,
                Some(module) if is_path(module) => levels.modules.push((module.to_owned(), level)),
                Some(module) => return Self::invalid(text, &format!("{:?} is not a module", clip(module))),
            }
        }
        if silenced {
            levels.warning = Some(format!("RUST_LOG is {:?}, but errors are always logged: {EXAMPLES}", clip(text)));
        }
        levels
    }

    fn invalid(text: &str, reason: &str) -> Self {
        let warning = format!("RUST_LOG is {:?}, and {reason}; the value is ignored, the level is info: {EXAMPLES}", clip(text));
        Self { all: DEFAULT, modules: Vec::new(), warning: Some(warning) }
    }
}

/// Reports whether `word` is a module of this program. Any other word without a level is more likely a misspelt level.
fn is_ours(word: &str) -> bool {
    let name = env!("CARGO_CRATE_NAME");
    word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_path(text: &str) -> bool {
    text.split("::").all(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

fn clip(text: &str) -> String {
    text.chars().take(QUOTED_MAX).collect()
}

#[cfg(test)]
mod tests {
    use LevelFilter::{Debug, Error, Info, Trace, Warn};

    use super::*;

    #[track_caller]
    fn check(text: &str, all: LevelFilter, modules: &[(&str, LevelFilter)], warning: &str) {
        let levels = Levels::of(text);
        let modules: Vec<_> = modules.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        assert_eq!((levels.all, &levels.modules), (all, &modules), "{text:?}");
        match levels.warning {
            None => assert_eq!(warning, "", "{text:?}"),
            Some(message) => assert!(!warning.is_empty() && message.contains(warning) && message.contains("info,"), "{text:?}: {message}"),
        }
    }

    #[test]
    fn no_value_silences_and_an_invalid_value_is_explained() {
        for text in ["", " ", ",", " , "] {
            check(text, Info, &[], "");
        }
        for (text, level) in
            [("error", Error), ("WARN", Warn), (" info ", Info), ("debug,", Debug), ("trace", Trace), ("warn,debug", Debug)]
        {
            check(text, level, &[], "");
        }
        let kube = "reboot_manager::kube";
        check("reboot_manager::kube=debug", Info, &[(kube, Debug)], "");
        check("warn , reboot_manager::kube = DEBUG", Warn, &[(kube, Debug)], "");
        check("rustls=debug,error", Error, &[("rustls", Debug)], "");
        check("reboot_manager", Info, &[("reboot_manager", Trace)], "");
        check("warn,reboot_manager::kube", Warn, &[(kube, Trace)], "");
        for text in ["WARNING", "verbose", "1", "reboot-manager", "reboot_managers", "kube", "info/text", "infö"] {
            check(text, Info, &[], &format!("{text:?} is not a level"));
        }
        check("warn,reboot_manager::kube=debgu", Info, &[], "\"debgu\" is not a level");
        check("a=b=info", Info, &[], "\"b=info\" is not a level");
        check("a=", Info, &[], "\"\" is not a level");
        check("=info", Info, &[], "\"\" is not a module");
        check("a b=info", Info, &[], "\"a b\" is not a module");
        check("\u{1b}[2J", Info, &[], "\"\\u{1b}[2J\"");
        check("off", Error, &[], "errors are always logged");
        check("info,reboot_manager=off", Info, &[("reboot_manager", Error)], "errors are always logged");
        let long = Levels::of(&"x".repeat(5000)).warning.unwrap();
        assert!(long.len() < 500, "{long}");
    }
}
