//! Pages, whole and broken.

use serde::Deserialize;

use super::*;
use crate::kube::client::TransportError;

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

const PAGE: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":1},
    "items":[{"metadata":{"name":"a","labels":{"x":"é\"]}"}},"spec":{"deep":[[{}]]}},{"metadata":{"name":"b"},"status":null}],"later":1}"#;

fn read(page: &str) -> (Vec<String>, Result<PageEnd, Failure>) {
    let (mut names, mut items) = (Vec::new(), 0);
    let result = read_page(page.as_bytes(), &mut items, |item: Item| names.push(item.metadata.name));
    assert!(result.is_err() || items == names.len());
    (names, result)
}

#[test]
fn items_are_folded_in_order_up_to_the_last_page() {
    let (names, end) = read(PAGE);
    assert_eq!(names, ["a", "b"]);
    assert_eq!(end.unwrap(), PageEnd { next: Some("abc".to_owned()), version: ResourceVersion("7".to_owned()) });
    for metadata in [r#"{}"#, r#"{"continue":""}"#, r#"{"continue":null}"#, "null"] {
        let (names, end) = read(&format!(r#"{{"items":[],"metadata":{metadata}}}"#));
        assert_eq!((names.len(), end.unwrap().next), (0, None));
    }
    assert_eq!(read(r#"{"kind":"PartialObjectMetadataList","items":null}"#).1.unwrap().next, None);
}

#[test]
fn every_truncation_is_a_cut_and_never_a_shorter_list() {
    for length in 0..PAGE.len() {
        let Some(part) = PAGE.get(..length) else { continue };
        assert!(matches!(read(part).1, Err(Failure::Transport(TransportError::Cut(_)))), "{part}");
    }
}

#[test]
fn an_answer_that_is_not_a_list_is_refused() {
    let check = |page: &str, why: &str| match read(page).1 {
        Err(Failure::Decode(error)) => {
            let said = crate::kube::error_chain(&error);
            assert!(said.contains(why), "{said}");
        }
        other => panic!("{other:?}"),
    };
    let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"etcd is away","code":500}"#;
    check(status, "expected a list, got kind \"Status\", “etcd is away”");
    check(r#"{"kind":"Pod","metadata":{"name":"a"}}"#, "expected a list, got kind \"Pod\"");
    check(r#"{"items":[],"kind":"Status"}"#, "Status");
    check(r#"[]"#, "expected a list of Kubernetes objects");
    check(r#"{"items":{}}"#, "expected the items of a list");
    check(r#"{"items":[],"items":[]}"#, "duplicate field");
    check(&format!(r#"{PAGE}{{"kind":"Status"}}"#), "trailing characters");
    check(r#"{"items":[{"metadata":{"name":"a"}},<html>"#, "at item 2");
    // An item of another form is named.
    let odd = r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":null}}]}"#;
    check(odd, "the list does not have the expected form, at item 2: invalid type: null, expected a string");
    check(r#"{"items":[null]}"#, "at item 1: invalid type: null");
    check(r#"{"items":[{"kind":"Status"}]}"#, "at item 1: missing field `metadata`");
}
