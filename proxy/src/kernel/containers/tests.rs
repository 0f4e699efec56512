//! Files as the runtimes write them, shortened.

use std::fs;

use super::*;

const ID: &str = "3f5a0c9d1b7e4e2f8a6b0d9c8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f";

fn host(file: &str, text: &str) -> (tempfile::TempDir, Containers) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let containers = Containers::below(root.path().to_path_buf());
    (root, containers)
}

#[track_caller]
fn named(file: &str, text: &str) -> Vec<String> {
    let (_root, containers) = host(file, text);
    let names = containers.names(ID).expect("its file tells its name");
    assert_eq!(containers.names(&ID.replace('3', "4")), None, "another one");
    names.to_vec()
}

#[test]
fn docker_tells_a_containers_name() {
    let text = format!(
        r#"{{"StreamConfig":{{}},"State":{{"Running":true,"Pid":4242}},"ID":"{ID}",
        "Path":"nginx","Args":[],"Config":{{"Hostname":"3f5a0c9d1b7e","Image":"nginx"}},
        "Name":"/web","Driver":"overlay2","RestartCount":0}}"#
    );
    let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
    assert_eq!(named(&file, &text), ["web"]);
}

#[test]
fn podman_tells_a_containers_name() {
    let text = format!(
        r#"[{{"id":"{ID}","names":["web"],"image":"b1e1","layer":"77aa",
        "metadata":"{{\"image-name\":\"localhost/web\",\"name\":\"web\"}}",
        "created":"2026-01-01T00:00:00Z","flags":{{"MountLabel":"","ProcessLabel":""}}}}]"#
    );
    for list in [
        "overlay-containers/containers.json",
        "vfs-containers/volatile-containers.json",
    ] {
        let file = format!("var/lib/containers/storage/{list}");
        assert_eq!(named(&file, &text), ["web"], "{list}");
    }
}

#[test]
fn kubernetes_tells_a_containers_name_by_containerd_and_by_cri_o() {
    let text = r#"{"ociVersion":"1.1.0","process":{"args":["nginx"]},"annotations":{
        "io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container",
        "io.kubernetes.cri.sandbox-name":"shop-0"},"linux":{}}"#;
    let task = "run/containerd/io.containerd.runtime.v2.task";
    let file = format!("{task}/k8s.io/{ID}/config.json");
    assert_eq!(named(&file, text), ["web"]);
    let text = format!(r#"[{{"id":"{ID}","names":["k8s_web_shop-0_default_11aa_0"]}}]"#);
    let file = "var/lib/containers/storage/overlay-containers/containers.json";
    assert_eq!(named(file, &text), ["k8s_web_shop-0_default_11aa_0", "web"]);
}

#[test]
fn a_name_that_comes_later_is_found_then() {
    let list = "var/lib/containers/storage/overlay-containers/containers.json";
    let (root, containers) = host(list, "[]");
    assert_eq!(containers.names(ID), None);
    let at = root.path().join(list);
    fs::write(&at, "[{\"id\":").unwrap();
    assert_eq!(containers.names(ID), None, "while it is written");
    fs::write(&at, format!(r#"[{{"id":"{ID}","names":["web"]}}]"#)).unwrap();
    assert_eq!(
        containers.names(ID).as_deref(),
        Some(&["web".to_owned()][..])
    );
}
