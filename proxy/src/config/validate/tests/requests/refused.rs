//! What cannot be used of it.

use super::*;

#[test]
fn listeners_of_requests_that_cannot_be_used() {
    for (parts, key, says) in [
        (vec![""], ".route", "does not say what is done"),
        (
            vec!["upstream = \"ap\"\n"],
            ".upstream",
            "did you mean \"app\"?",
        ),
        (
            vec![TO_APP, "http = { max_head = \"1KiB\" }\n"],
            ".http.max_head",
            "8KiB to 1MiB",
        ),
        (
            vec![TO_APP, "http = { max_head = \"64KB\" }\n"],
            ".http.max_head",
            "not a number of bytes",
        ),
        (
            vec![TO_APP, "http = { streams = 0 }\n"],
            ".http.streams",
            "from 1 to 10000",
        ),
        (
            vec![TO_APP, "http = { stall = \"off\" }\n"],
            ".http.stall",
            "cannot be off",
        ),
        (
            vec![
                TO_APP,
                ROUTE,
                TO_APP,
                "path = \"/a\"\n",
                "[[listener.route]]\nname = \"default\"\n",
                TO_APP,
            ],
            ".upstream",
            "is called so",
        ),
    ] {
        check(&file(&parts), &format!("listener[0] \"front\"{key}"), says);
    }
    let tcp = file(&[TO_APP, "http = { streams = 1 }\n"]).replace("\"http\"\n", "\"tcp\"\n");
    check(&tcp, "listener[0] \"front\".http", "mode = \"http\"");
    let tcp = file(&[TO_APP, ROUTE, TO_APP]).replace("\"http\"", "\"tcp\"");
    check(&tcp, "listener[0] \"front\".route", "has no effect");
}

#[test]
fn routes_that_cannot_be_used() {
    let answer = "answer = { status = 200 }\n";
    for (lines, key, says) in [
        ("", "", "what becomes of the requests"),
        (
            "upstream = \"app\"\nanswer = { status = 200 }\n",
            ".answer",
            "does one thing",
        ),
        (
            "upstream = \"other\"\n",
            ".upstream",
            "there is no [upstream.other]",
        ),
        ("hosts = [\"a b\"]\n", ".hosts[0]", "not a host"),
        (
            "hosts = [\"example.org:80\"]\n",
            ".hosts[0]",
            "without a port",
        ),
        ("hosts = [\"*\"]\n", ".hosts[0]", "leave hosts out"),
        (
            "path = \"/a\"\nprefix = \"/b\"\n",
            ".prefix",
            "one or the other",
        ),
        ("prefix = \"a\"\n", ".prefix", "begins with a slash"),
        ("prefix = \"/a/../b\"\n", ".prefix", "no \".\" or \"..\""),
        ("path = \"/a?b=1\"\n", ".path", "no query"),
        ("path = \"/a%2Fb\"\n", ".path", "not a path"),
        ("path = \"/é\"\n", ".path", "percent-encoded"),
        ("methods = [\"get\"]\n", ".methods[0]", "write \"GET\""),
        ("methods = [\"G T\"]\n", ".methods[0]", "not a method"),
        (
            "methods = [\"CONNECT\"]\n",
            ".methods[0]",
            "opens no tunnels",
        ),
        (
            "headers = { \"a b\" = true }\n",
            ".headers.\"a b\"",
            "not the name of a header",
        ),
        ("headers = { a = false }\n", ".headers.a", "not there"),
        (
            "headers = { a = 1 }\n",
            ".headers.a",
            "a text in quotes or true or false",
        ),
        (
            "headers = { a = \"\\n\" }\n",
            ".headers.a",
            "not the value of a header",
        ),
        (
            "allow = [\"any\"]\n",
            ".allow",
            "asks nobody for a certificate",
        ),
        ("timeout = \"1s\"\n", ".timeout", "only with upstream"),
        ("max_body = \"1MiB\"\n", ".max_body", "only with upstream"),
        (
            "rewrite = { host = \"a\" }\n",
            ".rewrite",
            "only with upstream",
        ),
    ] {
        let with = if lines.contains("upstream") || lines.is_empty() {
            vec![ROUTE, lines]
        } else {
            vec![ROUTE, answer, lines]
        };
        check(
            &file(&with),
            &format!("listener[0] \"front\".route[0] \"r\"{key}"),
            says,
        );
    }
}

#[test]
fn actions_of_routes_that_cannot_be_used() {
    for (lines, key, says) in [
        (
            "upstream = \"app\"\nrewrite = { prefix = \"/b\" }\n",
            ".rewrite.prefix",
            "about every path",
        ),
        (
            "upstream = \"app\"\npath = \"/a\"\nrewrite = { prefix = \"b\" }\n",
            ".rewrite.prefix",
            "slash",
        ),
        (
            "upstream = \"app\"\nrewrite = { host = \"a:0\" }\n",
            ".rewrite.host",
            "not a host",
        ),
        (
            "upstream = \"app\"\nmax_body = \"many\"\n",
            ".max_body",
            "not a number of bytes",
        ),
        ("redirect = { }\n", ".redirect", "where they come from"),
        (
            "redirect = { status = 302 }\n",
            ".redirect",
            "where they come from",
        ),
        (
            "redirect = { scheme = \"ftp\" }\n",
            ".redirect.scheme",
            "one of",
        ),
        (
            "redirect = { host = \"a:1\" }\n",
            ".redirect.host",
            "the port apart",
        ),
        ("redirect = { port = 0 }\n", ".redirect.port", "not a port"),
        (
            "redirect = { prefix = \"/b\" }\n",
            ".redirect.prefix",
            "about every path",
        ),
        (
            "redirect = { port = 1, status = 200 }\n",
            ".redirect.status",
            "clients elsewhere",
        ),
        (
            "answer = { body = \"x\" }\n",
            ".answer.status",
            "with what status",
        ),
        (
            "answer = { status = 101 }\n",
            ".answer.status",
            "from 200 to 599",
        ),
        (
            "answer = { status = 204, body = \"x\" }\n",
            ".answer.body",
            "has no body",
        ),
    ] {
        let key = format!("listener[0] \"front\".route[0] \"r\"{key}");
        check(&file(&[ROUTE, lines]), &key, says);
    }
}

#[test]
fn every_error_of_a_listener_is_reported_at_once() {
    let text = file(&[
        "http = { streams = 0, max_head = \"x\" }\n",
        ROUTE,
        "path = \"x\"\nmethods = [\"get\"]\nupstream = \"other\"\n",
        ROUTE,
        "answer = { status = 1 }\n",
    ]);
    let errors = errors(&text);
    assert_eq!(errors.len(), 7, "{errors:#?}");
    assert!(errors.iter().all(|error| error.line.is_some()));
}

#[test]
fn headers_that_are_not_a_routes_to_change() {
    for (headers, key, says) in [
        ("{ Host = \"a\" }", "Host", "rewrite = { host"),
        ("{ connection = false }", "connection", "one connection"),
        ("{ TE = \"trailers\" }", "TE", "one connection"),
        ("{ Content-Length = \"0\" }", "Content-Length", "ends"),
        ("{ Transfer-Encoding = false }", "Transfer-Encoding", "ends"),
        (
            "{ X-Forwarded-For = false }",
            "X-Forwarded-For",
            "told of the client",
        ),
        ("{ X_Real_IP = \"a\" }", "X_Real_IP", "told of the client"),
        (
            "{ \":path\" = \"/a\" }",
            "\":path\"",
            "not the name of a header",
        ),
        ("{ X-A = true }", "X-A", "false to remove it"),
        ("{ X-A = \"a\\nb\" }", "X-A", "on one line"),
        ("{ X-A = \"a\", x-a = \"b\" }", "x-a", "no case"),
    ] {
        for name in ["set_headers", "answer_headers"] {
            let line = format!("{name} = {headers}\n");
            let key = format!("listener[0] \"front\".route[0] \"r\".{name}.{key}");
            check(&file(&[ROUTE, TO_APP, &line]), &key, says);
        }
    }
    let set = "answer = { status = 200 }\nset_headers = { X-A = \"a\" }\n";
    let key = "listener[0] \"front\".route[0] \"r\".set_headers";
    check(&file(&[ROUTE, set]), key, "only with upstream");
}
