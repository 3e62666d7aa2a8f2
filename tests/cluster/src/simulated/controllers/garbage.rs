//! What goes with what was removed: dependents of an owner, and the pods of a node. The real collectors take seconds; here it is at once.

use crate::resources::RESOURCES;
use crate::simulated::store::{Key, Removed, Store, items, text};

pub(super) fn collect(store: &mut Store, removed: &[Removed]) {
    // Pods own nothing, and most of what is removed is pods.
    let owners: Vec<&Removed> = removed.iter().filter(|removed| removed.key.plural != "pods").collect();
    if owners.is_empty() {
        return;
    }
    let mut lost = Vec::new();
    for resource in RESOURCES {
        for (key, object) in store.list(resource.plural, "") {
            let owned = items(object, "/metadata/ownerReferences");
            let orphan = owned.iter().any(|reference| owners.iter().any(|owner| text(reference, "/uid") == owner.uid));
            let stranded = resource.plural == "pods" && {
                let node = text(object, "/spec/nodeName");
                !node.is_empty() && owners.iter().any(|owner| owner.key.plural == "nodes" && owner.key.name == node)
            };
            // A node may be back under its name before this runs.
            let stranded = stranded && store.get(&Key::new("nodes", "", text(object, "/spec/nodeName"))).is_none();
            if orphan || stranded {
                lost.push(key.clone());
            }
        }
    }
    for key in lost {
        store.remove(&key);
    }
}
