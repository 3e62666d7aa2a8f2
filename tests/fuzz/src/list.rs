//! A page of a list, as pods and as Nodes: all of it or an error.

use reboot_manager::cluster::{Member, Pod};
use reboot_manager::kube::read_page;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The items of a page, and what to continue with.
type Page<T> = (Vec<T>, Option<String>);

pub(crate) fn run(input: &[u8]) {
    check::<Pod>(input);
    check::<Member>(input);
}

fn check<T: DeserializeOwned + PartialEq + std::fmt::Debug>(input: &[u8]) {
    let Some((items, next)) = page::<T>(input) else { return };
    let whole = input.trim_ascii_end();
    for cut in 1..whole.len().min(CUTS) {
        assert!(page::<T>(&whole[..whole.len() - cut]).is_none(), "{cut} bytes too few were a page");
    }
    let Ok(object) = serde_json::from_slice::<Value>(input) else { return };
    assert_ne!(object["kind"], "Status");
    let listed = object["items"].as_array().map_or(0, Vec::len);
    assert_eq!(items.len(), listed, "items were left out");
    for (item, value) in items.iter().zip(object["items"].as_array().into_iter().flatten()) {
        assert_eq!(*item, serde_json::from_value(value.clone()).expect("an item"), "an item is read otherwise");
    }
    assert_eq!(next.as_deref(), object["metadata"]["continue"].as_str().filter(|next| !next.is_empty()));
}

fn page<T: DeserializeOwned>(bytes: &[u8]) -> Option<Page<T>> {
    let (mut items, mut count) = (Vec::new(), 0);
    let next = read_page(bytes, &mut count, |item| items.push(item)).ok()?;
    assert_eq!(count, items.len());
    Some((items, next.next))
}

/// How far an end is cut off.
const CUTS: usize = 40;
