//! From the text of `RUST_LOG` to the level of each module. No text silences the program: a fatal error is always printed.
//!
//! The text is read here and not by `env_logger`, for which an empty text means nothing at all, and a word that is no level the
//! name of a module.

use log::LevelFilter;

/// The level where nothing else is asked for.
const DEFAULT: LevelFilter = LevelFilter::Info;

/// Characters of a mistaken text that are quoted.
const QUOTED_MAX: usize = 80;

/// Right values, for a person who made a mistake.
const EXAMPLES: &str = "use error, warn, info or debug, or for one part more than for the rest info,reboot_manager::kube=debug";

/// The levels that a text asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Levels {
    /// The level of every module that is not among `modules`.
    pub(super) all: LevelFilter,
    /// Modules with a level of their own.
    pub(super) modules: Vec<(String, LevelFilter)>,
    /// A message about a mistake in the text.
    pub(super) complaint: Option<String>,
}

impl Levels {
    /// Reads `level` and `module=level`, separated by commas. A text with a mistake counts for nothing: the default is used.
    pub(super) fn of(text: &str) -> Self {
        let mut levels = Self { all: DEFAULT, modules: Vec::new(), complaint: None };
        let mut silenced = false;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (module, word) = match part.split_once('=') {
                Some((module, word)) => (Some(module.trim()), word.trim()),
                None if is_ours(part) => (Some(part), "trace"),
                None => (None, part),
            };
            let Ok(level) = word.parse::<LevelFilter>() else {
                return Self::mistaken(text, &format!("{:?} is no level", clip(word)));
            };
            silenced |= level == LevelFilter::Off;
            let level = level.max(LevelFilter::Error);
            match module {
                None => levels.all = level,
                Some(module) if is_path(module) => levels.modules.push((module.to_owned(), level)),
                Some(module) => return Self::mistaken(text, &format!("{:?} is no module", clip(module))),
            }
        }
        if silenced {
            levels.complaint = Some(format!("RUST_LOG is {:?}, but errors are always logged: {EXAMPLES}", clip(text)));
        }
        levels
    }

    fn mistaken(text: &str, what: &str) -> Self {
        let complaint = format!("RUST_LOG is {:?}, and {what}; the log is as without it, at info: {EXAMPLES}", clip(text));
        Self { all: DEFAULT, modules: Vec::new(), complaint: Some(complaint) }
    }
}

/// A module of this program, as it may be written alone. Any other word alone is more likely a level misspelt.
fn is_ours(word: &str) -> bool {
    let name = env!("CARGO_CRATE_NAME");
    word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A path as Rust writes it.
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
    fn check(text: &str, all: LevelFilter, modules: &[(&str, LevelFilter)], complaint: &str) {
        let levels = Levels::of(text);
        let modules: Vec<_> = modules.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        assert_eq!((levels.all, &levels.modules), (all, &modules), "{text:?}");
        match levels.complaint {
            None => assert_eq!(complaint, "", "{text:?}"),
            Some(said) => assert!(!complaint.is_empty() && said.contains(complaint) && said.contains("info,"), "{text:?}: {said}"),
        }
    }

    #[test]
    fn no_text_silences_and_a_mistake_is_explained() {
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
            check(text, Info, &[], &format!("{text:?} is no level"));
        }
        check("warn,reboot_manager::kube=debgu", Info, &[], "\"debgu\" is no level");
        check("a=b=info", Info, &[], "\"b=info\" is no level");
        check("a=", Info, &[], "\"\" is no level");
        check("=info", Info, &[], "\"\" is no module");
        check("a b=info", Info, &[], "\"a b\" is no module");
        check("\u{1b}[2J", Info, &[], "\"\\u{1b}[2J\"");
        check("off", Error, &[], "errors are always logged");
        check("info,reboot_manager=off", Info, &[("reboot_manager", Error)], "errors are always logged");
        let long = Levels::of(&"x".repeat(5000)).complaint.unwrap();
        assert!(long.len() < 500, "{long}");
    }
}
