//! Lists, read page by page and item by item.
//!
//! At most one item is in memory. A page that ends early, or is not a list, is an error and never a shorter list.
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
use crate::kube::transport::limits;
use crate::system::{backoff, clock};

impl Client {
    /// Reads a whole list, in pages if the path of `call` has a limit, and folds each item into an accumulator. Returns the accumulator
    /// and the version of the list. If the list starts over, so does the accumulator, so `fold` must store nothing outside of it.
    pub(crate) fn list<T: DeserializeOwned, A>(
        &self,
        call: &Call,
        empty: impl Fn() -> A,
        mut fold: impl FnMut(&mut A, T),
    ) -> Result<(Complete<A>, ResourceVersion), ApiError> {
        let deadline = clock::now().instant + limits::LIST;
        let mut restart = 0;
        loop {
            let mut gathered = empty();
            let stopped = match self.pages(call, deadline, |item| fold(&mut gathered, item)) {
                Ok(version) => return Ok((Complete::of_all_pages(gathered), version)),
                Err(stopped) => stopped,
            };
            restart += 1;
            let pause = BACKOFF.pause(restart, backoff::jitter());
            if !stopped.may_start_over || restart > RESTARTS_MAX || pause >= clock::left(deadline) {
                return Err(ApiError::of(call, stopped.failure));
            }
            log::debug!("starting over with {}", call.operation());
            clock::sleep(pause);
        }
    }

    fn pages<T: DeserializeOwned>(&self, call: &Call, deadline: Instant, mut take: impl FnMut(T)) -> Result<ResourceVersion, Stopped> {
        let (mut next, mut items, mut version) = (None, 0, None);
        loop {
            let path = page_path(&call.path, next.as_deref());
            let time = limits::PAGE.min(clock::left(deadline));
            let page = self.run(call, &path, None, time, Ok).map_err(|failure| Stopped {
                may_start_over: matches!(&failure, Failure::Answered(status) if status.code == 410),
                failure,
            })?;
            let body = page.into_body().into_with_config().limit(PAGE_BYTES_MAX).reader();
            let end = read_page(body, &mut items, &mut take)
                .map_err(|failure| Stopped { may_start_over: matches!(failure, Failure::Transport(_)), failure })?;
            // Pages of different versions have no common version, so the result has none that can be compared.
            version = match version {
                Some(first) if first != end.version => Some(ResourceVersion::default()),
                _ => Some(end.version),
            };
            match end.next {
                // Protects against a server whose pages lead in a circle.
                Some(following) if next.as_ref() == Some(&following) => {
                    let failure = Failure::Decode(DecodeError::NoList("the same page again".to_owned()));
                    return Err(Stopped { may_start_over: false, failure });
                }
                Some(following) => next = Some(following),
                None => return Ok(version.unwrap_or_default()),
            }
        }
    }
}

/// Reason why a page ended early.
struct Stopped {
    may_start_over: bool,
    failure: Failure,
}

/// Reads one page, and gives each item to `take`. `items` counts them, over all pages.
pub fn read_page<T: DeserializeOwned>(reader: impl Read, items: &mut usize, take: impl FnMut(T)) -> Result<PageEnd, Failure> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(reader));
    let page = json.deserialize_map(PageReader { items, take, item: PhantomData }).and_then(|page| json.end().map(|()| page));
    let page = page.map_err(|error| failure(error, |source| DecodeError::Item { item: *items, source }))?;
    let kind = page.kind.unwrap_or_default();
    if !page.has_items || kind == "Status" {
        let message = page.message.map(|message| format!(", \u{201c}{message}\u{201d}")).unwrap_or_default();
        return Err(Failure::Decode(DecodeError::NoList(format!("kind {kind:?}{message}"))));
    }
    Ok(PageEnd { next: page.end.next.filter(|next| !next.is_empty()), ..page.end })
}

/// A page's metadata.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PageEnd {
    /// The token to continue with; none on the last page.
    #[serde(rename = "continue")]
    pub next: Option<String>,
    /// The version of the whole list: all its pages are of one moment.
    #[serde(default, rename = "resourceVersion")]
    pub version: ResourceVersion,
}

/// The path of a page of `path`, which may have a query already.
fn page_path(path: &str, next: Option<&str>) -> String {
    let mut page = path.to_owned();
    if let Some(next) = next {
        page.push_str(if path.contains('?') { "&continue=" } else { "?continue=" });
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
    end: PageEnd,
    has_items: bool,
}

/// Reads a page; a reference to it reads the items of the page.
struct PageReader<'a, T, F> {
    items: &'a mut usize,
    take: F,
    item: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for PageReader<'_, T, F> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Page, M::Error> {
        let mut page = Page::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => page.kind = map.next_value()?,
                "message" => page.message = map.next_value()?,
                "metadata" => page.end = map.next_value::<Option<PageEnd>>()?.unwrap_or_default(),
                "items" if page.has_items => return Err(serde::de::Error::duplicate_field("items")),
                "items" => {
                    map.next_value_seed(&mut self)?;
                    page.has_items = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(page)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> DeserializeSeed<'de> for &mut PageReader<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for &mut PageReader<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<(), S::Error> {
        // Counted before it is read, so that an error names the item that failed.
        loop {
            *self.items += 1;
            match sequence.next_element::<T>()? {
                Some(item) => (self.take)(item),
                None => break,
            }
        }
        *self.items -= 1;
        Ok(())
    }

    /// Accepts `null`, which Go writes for a list that was never filled, as in an empty `PartialObjectMetadataList`.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// 500 objects of half a megabyte. They are not kept.
const PAGE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Restarts of a list whose version has expired. After this many, the list is too long for the compaction interval of the server.
const RESTARTS_MAX: u32 = 3;

#[cfg(test)]
mod tests;
