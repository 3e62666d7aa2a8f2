//! Pages, whole and broken.

use serde::Deserialize;

use super::*;
use crate::kube::client::TransportError;

#[derive(Debug, PartialEq, Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Metadata {
    name: String,
}

const PAGE: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc","remainingItemCount":1},
    "items":[{"metadata":{"name":"a","labels":{"x":"é\"]}"}},"spec":{"deep":[[{}]]}},{"metadata":{"name":"b"},"status":null}],"later":1}"#;

fn read_whole(page: &str) -> (Vec<String>, usize, Result<PageEnd, Failure>) {
    let (mut names, mut items) = (Vec::new(), 0);
    let result = read_page(page.as_bytes(), &mut items, |item: Item| names.push(item.metadata.name));
    (names, items, result)
}

fn read(page: &str) -> (Vec<String>, usize, Result<Option<String>, Failure>) {
    let (names, items, result) = read_whole(page);
    (names, items, result.map(|end| end.next))
}

#[track_caller]
fn refused(page: &str) -> String {
    match read(page).2 {
        Err(Failure::Decode(error)) => crate::kube::error_chain(&error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn items_are_folded_in_order() {
    let (names, items, next) = read(PAGE);
    assert_eq!((names, items), (vec!["a".to_owned(), "b".to_owned()], 2));
    assert_eq!(next.unwrap().as_deref(), Some("abc"));
    assert_eq!(read_whole(PAGE).2.unwrap().version, ResourceVersion("7".to_owned()));
}

#[test]
fn the_last_page_has_nothing_to_continue_with() {
    for metadata in [r#"{}"#, r#"{"continue":""}"#, r#"{"continue":null}"#, "null"] {
        let (names, _, next) = read(&format!(r#"{{"items":[],"metadata":{metadata}}}"#));
        assert!(names.is_empty());
        assert_eq!(next.unwrap(), None);
    }
    assert_eq!(read(r#"{"kind":"PartialObjectMetadataList","items":null}"#).2.unwrap(), None);
}

#[test]
fn every_truncation_is_a_cut_and_never_a_shorter_list() {
    for length in 0..PAGE.len() {
        let Some(part) = PAGE.get(..length) else { continue };
        assert!(matches!(read(part).2, Err(Failure::Transport(TransportError::Cut(_)))), "{part}");
    }
}

#[test]
fn an_answer_that_is_not_a_list_is_refused() {
    assert_eq!(
        refused(r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"etcd is away","code":500}"#),
        "expected a list, got kind \"Status\", “etcd is away”"
    );
    assert_eq!(refused(r#"{"kind":"Pod","metadata":{"name":"a"}}"#), "expected a list, got kind \"Pod\"");
    assert!(refused(r#"{"items":[],"kind":"Status"}"#).contains("Status"));
    assert!(refused(r#"[]"#).contains("expected a list of Kubernetes objects"));
    assert!(refused(r#"{"items":{}}"#).contains("expected the items of a list"));
    assert!(refused(r#"{"items":[],"items":[]}"#).contains("duplicate field"));
    assert!(refused(&format!(r#"{PAGE}{{"kind":"Status"}}"#)).contains("trailing characters"));
    assert!(refused(r#"{"items":[{"metadata":{"name":"a"}},<html>"#).contains("at item 2"));
}

#[test]
fn an_item_of_another_form_is_named() {
    let said = refused(r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":null}}]}"#);
    assert!(said.starts_with("the list does not have the expected form, at item 2: invalid type: null, expected a string"), "{said}");
    assert!(refused(r#"{"items":[null]}"#).contains("at item 1: invalid type: null"));
    assert!(refused(r#"{"items":[{"kind":"Status"}]}"#).contains("at item 1: missing field `metadata`"));
}

#[test]
fn a_page_is_requested_in_the_query() {
    assert_eq!(page_path("/api/v1/nodes", None), "/api/v1/nodes?limit=500");
    assert_eq!(
        page_path("/api/v1/pods?fieldSelector=a%3Db", Some("x+/=&y-_.~9")),
        "/api/v1/pods?fieldSelector=a%3Db&limit=500&continue=x%2B%2F%3D%26y-_.~9"
    );
}
