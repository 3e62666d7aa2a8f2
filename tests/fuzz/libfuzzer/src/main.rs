//! libFuzzer in front of the targets. One program for all of them, so that it is built once: `FUZZ_TARGET` chooses.

#![no_main]

use std::sync::OnceLock;

use fuzz_targets::TARGETS;
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let names = TARGETS.map(|(name, _)| name).join(", ");
        let (_, target) = TARGETS.into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("FUZZ_TARGET is none of {names}"));
        CHOSEN.get_or_init(|| target);
    },
    |input: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            target(input);
        }
    }
);
