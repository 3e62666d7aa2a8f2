//! From a node's machine-id to the ids under which its clients may call.
//!
//! Zincati sends an application-specific id (sd_id128_get_machine_app_specific(3)), so that the machine-id itself
//! stays on the machine; `fleetlockctl` sends the machine-id.

use ring::hmac;

use crate::cluster::{HexId, MachineId};

/// Zincati's application id, `de35106b6ec24688b63afddaa156679b`.
const ZINCATI: [u8; 16] = [0xde, 0x35, 0x10, 0x6b, 0x6e, 0xc2, 0x46, 0x88, 0xb6, 0x3a, 0xfd, 0xda, 0xa1, 0x56, 0x67, 0x9b];

/// Returns the id that Zincati sends from `machine`: HMAC-SHA256 of the application id, keyed by the machine-id, cut
/// to 16 bytes and given the version and variant bits of a random UUID.
pub fn zincati_id(machine: MachineId) -> HexId {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &machine.0.0);
    let tag = hmac::sign(&key, &ZINCATI);
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    HexId(id)
}

/// Reports whether a client on `machine` may use the id `id`.
pub fn answers_to(machine: MachineId, id: HexId) -> bool {
    id == machine.0 || id == zincati_id(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_zincati_makes() {
        let cases = [
            ("1c09ca98649c4c7abc779cd04c96812e", "978a225b3d7b40e9acd7ce9b62f68444"),
            ("dfd7882acda64c34aca76193c46f5d4e", "35ba2101ae3f4d45b96e9c51f461bbff"),
        ];
        for (machine, id) in cases {
            let machine = MachineId::parse(machine).unwrap();
            assert_eq!(zincati_id(machine).to_string(), id);
            assert!(answers_to(machine, zincati_id(machine)) && answers_to(machine, machine.0));
            assert!(!answers_to(machine, HexId([7; 16])));
        }
    }
}
