//! Reading a list: one page from its bytes, item by item, and the query for the next.
//!
//! Never more than one item is in memory. A page that ends early, or holds anything but a list, is an error and
//! never a shorter list; whoever has read the last page may vouch for the whole.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>.

use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::error::{Failure, NoAnswer, NotUnderstood};
use crate::cluster::ResourceVersion;

/// Reads one page from `reader` and folds each item into `gathered`. `items` counts them, over all pages.
/// Returns what the page says of itself.
pub fn read_page<T, A, F>(reader: impl Read, gathered: &mut A, fold: &mut F, items: &mut usize) -> Result<PageEnd, Failure>
where
    T: DeserializeOwned,
    F: FnMut(&mut A, T),
{
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    let seed = PageSeed { gathered, fold, items, item: PhantomData };
    let page = seed.deserialize(&mut json).and_then(|page| json.end().map(|()| page));
    let page = page.map_err(|error| failure(error, |source| NotUnderstood::Item { item: *items, source }))?;
    let kind = page.kind.unwrap_or_default();
    if !page.has_items || kind == "Status" {
        let message = page.message.map(|message| format!(", \u{201c}{message}\u{201d}")).unwrap_or_default();
        return Err(Failure::NotUnderstood(NotUnderstood::NoList(format!("kind {kind:?}{message}"))));
    }
    Ok(PageEnd { next: page.next.filter(|next| !next.is_empty()), version: page.version })
}

/// What a page says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// What to continue with, if it was not the last page.
    pub next: Option<String>,
    /// The version of the whole list: all its pages are of one moment.
    pub version: ResourceVersion,
}

/// The path of a page of `path`, which may have a query already.
pub(super) fn page_path(path: &str, next: Option<&str>) -> String {
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut page = format!("{path}{joint}limit={PAGE_ITEMS}");
    if let Some(next) = next {
        page.push_str("&continue=");
        for byte in next.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => page.push(char::from(byte)),
                other => page.push_str(&format!("%{other:02X}")),
            }
        }
    }
    page
}

/// Parts an error of the parser into a cut connection and an answer of another form.
pub(super) fn failure(error: serde_json::Error, otherwise: impl FnOnce(serde_json::Error) -> NotUnderstood) -> Failure {
    if error.is_io() {
        return Failure::Lost(NoAnswer::from(ureq::Error::from(std::io::Error::from(error))));
    }
    if error.is_eof() {
        return Failure::Lost(NoAnswer::Cut(std::io::Error::from(error).into()));
    }
    Failure::NotUnderstood(otherwise(error))
}

#[derive(Default)]
struct Page {
    kind: Option<String>,
    message: Option<String>,
    next: Option<String>,
    version: ResourceVersion,
    has_items: bool,
}

struct PageSeed<'a, T, A, F> {
    gathered: &'a mut A,
    fold: &'a mut F,
    items: &'a mut usize,
    item: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, A, F: FnMut(&mut A, T)> DeserializeSeed<'de> for PageSeed<'_, T, A, F> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: DeserializeOwned, A, F: FnMut(&mut A, T)> Visitor<'de> for PageSeed<'_, T, A, F> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Page, M::Error> {
        let Self { gathered, fold, items, .. } = self;
        let mut page = Page::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Kind => page.kind = map.next_value()?,
                Key::Message => page.message = map.next_value()?,
                Key::Metadata => {
                    let metadata = map.next_value::<Option<ListMeta>>()?.unwrap_or_default();
                    (page.next, page.version) = (metadata.next, metadata.version);
                }
                Key::Items if page.has_items => return Err(serde::de::Error::duplicate_field("items")),
                Key::Items => {
                    map.next_value_seed(ItemsSeed { gathered: &mut *gathered, fold: &mut *fold, items: &mut *items, item: PhantomData })?;
                    page.has_items = true;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(page)
    }
}

struct ItemsSeed<'a, T, A, F> {
    gathered: &'a mut A,
    fold: &'a mut F,
    items: &'a mut usize,
    item: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, A, F: FnMut(&mut A, T)> DeserializeSeed<'de> for ItemsSeed<'_, T, A, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned, A, F: FnMut(&mut A, T)> Visitor<'de> for ItemsSeed<'_, T, A, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<(), S::Error> {
        // Counted before it is read, so that a message names the item that was in the way.
        loop {
            *self.items += 1;
            match sequence.next_element::<T>()? {
                Some(item) => (self.fold)(self.gathered, item),
                None => break,
            }
        }
        *self.items -= 1;
        Ok(())
    }

    /// What Go makes of a list that was never filled; an empty `PartialObjectMetadataList` comes like this.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Items,
    Kind,
    Message,
    Metadata,
    #[serde(other)]
    Other,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    version: ResourceVersion,
}

/// As kubectl and client-go ask for.
const PAGE_ITEMS: usize = 500;

#[cfg(test)]
mod tests;
