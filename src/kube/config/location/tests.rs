//! Where the API server is found.

use test_cluster::scratch::Scratch;

use super::*;
use crate::kube::error_chain;

fn config(server: &str, more: &str) -> String {
    format!(
        "current-context: {{c}}\ncontexts: [{{name: x, context: {{cluster: x, namespace: ours}}}}, {{name: y, context: {{cluster: y}}}}]\n\
         clusters: [{{name: x, cluster: {{server: '{server}'{more}}}}}, {{name: y, cluster: {{server: 'https://y'}}}}]\n"
    )
    .replace("{c}", "x")
}

/// An environment in which everything leads somewhere.
fn everything(scratch: &Scratch) -> Environment {
    scratch.file("home/.kube/config", config("https://home", ""));
    scratch.file("pod/token", "t");
    scratch.file("pod/namespace", "system\n");
    Environment {
        kubeconfig: Some(scratch.file("listed", config("https://listed", "")).display().to_string()),
        home: Some(scratch.path().join("home")),
        service_host: Some("10.96.0.1".into()),
        service_port: Some("443".into()),
        service_account: scratch.path().join("pod"),
        https_proxy: Some("http://proxy:3128".into()),
        ..Environment::default()
    }
}

#[test]
fn the_order_is_flag_variable_pod_home() {
    let scratch = Scratch::new();
    let mut given = ConnectOptions {
        kubeconfig: Some(scratch.file("flag", config("https://flag/", ""))),
        context: None,
        environment: everything(&scratch),
    };
    assert_eq!(Location::find(&given).unwrap().server, "https://flag");
    given.kubeconfig = None;
    assert_eq!(Location::find(&given).unwrap().server, "https://listed");
    given.environment.kubeconfig = Some(String::new());
    let pod = Location::find(&given).unwrap();
    assert_eq!((pod.server.as_str(), pod.namespace()), ("https://10.96.0.1:443", Some("system")));
    assert_eq!(pod.describe(), "https://10.96.0.1:443 (this pod's service account)");
    assert!(pod.route.proxy.is_none(), "a proxy must not see the pod's token");
    std::fs::remove_file(scratch.path().join("pod/token")).unwrap();
    let home = Location::find(&given).unwrap();
    assert_eq!((home.server.as_str(), home.namespace()), ("https://home", None));
    assert_eq!(home.route.proxy.unwrap().host(), "proxy");
    given.environment.home = None;
    let said = Location::find(&given).unwrap_err().to_string();
    assert!(
        said.contains("KUBECONFIG, which is not set; the pod's service account, but there is no token in")
            && said.contains("HOME is not set"),
        "{said}"
    );
}

#[test]
fn a_place_that_is_named_but_unusable_is_never_skipped() {
    let scratch = Scratch::new();
    let environment = everything(&scratch);
    let absent =
        ConnectOptions { kubeconfig: Some("/nowhere/config".into()), environment: environment.clone(), ..ConnectOptions::default() };
    assert!(error_chain(&Location::find(&absent).unwrap_err()).starts_with("cannot read the kubeconfig /nowhere/config: No such file"));
    let listed = ConnectOptions {
        environment: Environment { kubeconfig: Some("/nowhere/a:/nowhere/b".into()), ..environment.clone() },
        ..ConnectOptions::default()
    };
    assert!(Location::find(&listed).unwrap_err().to_string().contains("none of which exists"));
    let broken = ConnectOptions {
        kubeconfig: Some(scratch.file("broken", "clusters: 5")),
        environment: environment.clone(),
        ..ConnectOptions::default()
    };
    assert!(Location::find(&broken).unwrap_err().to_string().ends_with("broken is not a kubeconfig: error at line 1, column 11"));
    let context = ConnectOptions {
        context: Some("x".into()),
        environment: Environment { kubeconfig: None, ..environment },
        ..ConnectOptions::default()
    };
    assert!(Location::find(&context).unwrap_err().to_string().contains("--context needs --kubeconfig"));
}

#[test]
fn a_list_of_files_is_merged_and_absent_ones_are_left_out() {
    let scratch = Scratch::new();
    let first = scratch.file("first", "current-context: y");
    let second = scratch.file("second", config("https://x", ""));
    let list = format!("{}::/nowhere/c:{}", first.display(), second.display());
    let given =
        ConnectOptions { environment: Environment { kubeconfig: Some(list), ..Environment::default() }, ..ConnectOptions::default() };
    assert_eq!(Location::find(&given).unwrap().server, "https://y");
    let chosen = ConnectOptions { context: Some("x".into()), ..given };
    assert_eq!(Location::find(&chosen).unwrap().server, "https://x");
}

#[test]
fn an_ipv6_service_is_put_in_brackets() {
    let scratch = Scratch::new();
    let environment = Environment { kubeconfig: None, service_host: Some("fd00::1".into()), ..everything(&scratch) };
    assert_eq!(Location::find(&ConnectOptions { environment, ..ConnectOptions::default() }).unwrap().server, "https://[fd00::1]:443");
}

#[track_caller]
fn of_server(server: &str, more: &str) -> Result<Location, String> {
    let scratch = Scratch::new();
    let environment =
        Environment { https_proxy: Some("http://environment:1".into()), no_proxy: Some("10.0.0.0/8".into()), ..Environment::default() };
    Location::find(&ConnectOptions {
        kubeconfig: Some(scratch.file("config", config(server, more))),
        environment,
        ..ConnectOptions::default()
    })
    .map_err(|error| error_chain(&error))
}

#[test]
fn the_server_and_its_proxy_are_checked() {
    assert!(of_server("api.example.org", "").unwrap_err().contains("does not start with https://"));
    assert!(of_server("https://", "").unwrap_err().contains("is not"));
    let password = of_server("https://me:s3cr3t@api", "").unwrap_err();
    assert!(password.contains("holds a password") && !password.contains("s3cr3t"));
    assert_eq!(of_server("https://api/k8s/clusters/c-1/", "").unwrap().server, "https://api/k8s/clusters/c-1");
    assert!(of_server("http://api", "").unwrap().describe().contains("without verifying its certificate"));
    assert_eq!(of_server("https://api", "").unwrap().route.proxy.unwrap().host(), "environment");
    assert!(of_server("https://10.0.0.1", "").unwrap().route.proxy.is_none());
    assert_eq!(of_server("https://10.0.0.1", ", proxy-url: 'http://me:s3cr3t@named:1'").unwrap().route.proxy.unwrap().host(), "named");
    assert!(of_server("https://api", ", proxy-url: 'socks5://x'").unwrap_err().contains("kind \"socks5\"; only http:// is supported"));
    let shown = format!("{:?}", of_server("https://api", ", proxy-url: 'http://me:s3cr3t@named:1'").unwrap());
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
