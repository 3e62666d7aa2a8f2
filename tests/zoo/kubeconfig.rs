//! Kubeconfigs, as files that `--kubeconfig` names.

use reboot_manager::kube::{ConnectOptions, Environment, Location, error_chain};
use serde_json::Value;
use test_cluster::scratch::Scratch;

use crate::text;

/// Returns the server and the identity of the kubeconfig `file`, read with the variables in `environment`.
pub(crate) fn kubeconfig(input: &Value) -> String {
    let folder = Scratch::new();
    let kubeconfig = folder.file("config", text(input, "file"));
    let environment = Environment::of(|name| input["environment"][name].as_str().map(str::to_owned));
    let found = Location::find(&ConnectOptions { kubeconfig: Some(kubeconfig), context: None, environment });
    let shown = match &found {
        Ok(location) => format!("{}, authenticated by {}", location.describe(), identity(location)),
        Err(error) => error_chain(error),
    };
    shown.replace(&format!("{}/", folder.path().display()), "")
}

/// Returns the ways in which the program says who it is. Only `Debug` shows them, without the credentials.
fn identity(location: &Location) -> String {
    let shown = format!("{location:?}");
    let (_, auth) = shown.split_once("auth: ").expect("the authentication");
    let auth = match auth.split(['(', ' ', ',']).next().unwrap_or_default() {
        "Header" => Some("a token or password"),
        "Nothing" => None,
        "Plugin" => Some("a credential plugin"),
        "TokenFile" => Some("a token file"),
        other => panic!("{other}: {shown}"),
    };
    let certificate = shown.contains("certificate: Some").then_some("a client certificate");
    let ways: Vec<&str> = auth.into_iter().chain(certificate).collect();
    if ways.is_empty() { "nothing".to_owned() } else { ways.join(" and ") }
}
