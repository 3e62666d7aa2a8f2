//! Reading a list: page by page, each from its bytes, item by item.
//!
//! Never more than one item is in memory. A page that ends early, or holds anything but a list, is an error and
//! never a shorter list.
//!
//! Specification: <https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks>.

use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;
use std::time::Instant;

use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::cluster::{Complete, ResourceVersion};
use crate::kube::client::{ApiError, BACKOFF, Call, Client, DecodeError, Failure, failure};
use crate::system::{backoff, clock};

impl Client {
    /// Reads a whole list, page by page, folding each item into an accumulator. If the list has to be started over,
    /// so is the accumulator: `fold` must keep nothing elsewhere.
    pub fn list<T, A>(&self, call: &Call<'_>, empty: impl Fn() -> A, fold: impl FnMut(&mut A, T)) -> Result<Complete<A>, ApiError>
    where
        T: DeserializeOwned,
    {
        self.list_at(call, empty, fold).map(|(items, _)| items)
    }

    /// Reads a whole list as [`Self::list`] does, with the version at which the list is complete.
    pub fn list_at<T, A>(
        &self,
        call: &Call<'_>,
        empty: impl Fn() -> A,
        mut fold: impl FnMut(&mut A, T),
    ) -> Result<(Complete<A>, ResourceVersion), ApiError>
    where
        T: DeserializeOwned,
    {
        let deadline = clock::now().instant + self.limits.list;
        let mut restart = 0;
        loop {
            let mut gathered = empty();
            let failure = match self.pages(call, &mut gathered, &mut fold, deadline) {
                Ok(version) => return Ok((Complete::of_all_pages(gathered), version)),
                Err(Stopped::ForGood(failure)) => return Err(ApiError::of(call.operation(), failure)),
                Err(Stopped::StartOver(failure)) => failure,
            };
            restart += 1;
            let pause = BACKOFF.pause(restart, backoff::jitter());
            if restart > RESTARTS_MAX || pause >= clock::left(deadline) {
                return Err(ApiError::of(call.operation(), failure));
            }
            log::debug!("starting over with {}", call.operation());
            clock::sleep(pause);
        }
    }

    fn pages<T, A, F>(&self, call: &Call<'_>, gathered: &mut A, fold: &mut F, deadline: Instant) -> Result<ResourceVersion, Stopped>
    where
        T: DeserializeOwned,
        F: FnMut(&mut A, T),
    {
        let (mut next, mut items, mut version) = (None, 0, None);
        loop {
            let path = page_path(&call.path, next.as_deref());
            let time = self.limits.page.min(clock::left(deadline));
            let page = self.run(call, &path, None, time, Ok).map_err(|failure| match failure {
                Failure::Answered(status) if status.code == 410 => Stopped::StartOver(Failure::Answered(status)),
                other => Stopped::ForGood(other),
            })?;
            let body = page.into_body().into_with_config().limit(PAGE_BYTES_MAX).reader();
            let end = read_page(body, gathered, fold, &mut items).map_err(|failure| match failure {
                Failure::Transport(cut) => Stopped::StartOver(Failure::Transport(cut)),
                other => Stopped::ForGood(other),
            })?;
            // Pages of two moments have no version in common: then it is none that can be compared.
            version = match version {
                Some(first) if first != end.version => Some(ResourceVersion::default()),
                _ => Some(end.version),
            };
            match end.next {
                // A server that sends us in a circle would never come to an end.
                Some(following) if next.as_ref() == Some(&following) => {
                    return Err(Stopped::ForGood(Failure::Decode(DecodeError::NoList("the same page again".to_owned()))));
                }
                Some(following) => next = Some(following),
                None => return Ok(version.unwrap_or_default()),
            }
        }
    }
}

/// Why the pages of a list ended before the list did.
enum Stopped {
    ForGood(Failure),
    StartOver(Failure),
}

/// Reads one page from `reader` and folds each item into `gathered`. `items` counts them, over all pages.
/// Returns the page's data about the list.
pub fn read_page<T, A, F>(reader: impl Read, gathered: &mut A, fold: &mut F, items: &mut usize) -> Result<PageEnd, Failure>
where
    T: DeserializeOwned,
    F: FnMut(&mut A, T),
{
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    let seed = PageSeed { gathered, fold, items, item: PhantomData };
    let page = seed.deserialize(&mut json).and_then(|page| json.end().map(|()| page));
    let page = page.map_err(|error| failure(error, |source| DecodeError::Item { item: *items, source }))?;
    let kind = page.kind.unwrap_or_default();
    if !page.has_items || kind == "Status" {
        let message = page.message.map(|message| format!(", \u{201c}{message}\u{201d}")).unwrap_or_default();
        return Err(Failure::Decode(DecodeError::NoList(format!("kind {kind:?}{message}"))));
    }
    Ok(PageEnd { next: page.next.filter(|next| !next.is_empty()), version: page.version })
}

/// A page's data about the list.
#[derive(Debug, PartialEq, Eq)]
pub struct PageEnd {
    /// The token to continue with; none on the last page.
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

/// 500 objects of half a megabyte. They are not kept.
const PAGE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A list that outlives its snapshot this often is too large for the server's compaction interval.
const RESTARTS_MAX: u32 = 3;

#[cfg(test)]
mod tests;
