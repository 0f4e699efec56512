use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, mpsc},
};

use super::*;
use crate::{
    addr::OriginalDst,
    record::{Carriage, ConnectionId, Direction, TlsFacts},
    refusal::{Reason, Refusal},
    relay::Moved,
};

const LONG: Duration = Duration::from_secs(60);

fn client() -> SocketAddr {
    "10.0.0.1:40000".parse().unwrap()
}

fn full(sink: &RecordSink) -> Record {
    let mut record = Record::begin(sink, Direction::Outbound, client());
    record.at = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_005);
    record.id = ConnectionId([0xab; 16]);
    record.destination = Some(OriginalDst::new("[2001:db8::1]:80".parse().unwrap()));
    record.own_identity = Some("spiffe://example.org/web".into());
    record.peer_identity = Some("cn:a b\n\u{7f}\u{9b}\u{202e}\"=\\".into());
    record.rule = Some("api".into());
    record.carriage = Carriage::TunnelReused;
    record.tls = Some(TlsFacts {
        version: "TLSv1.3",
        group: "X25519MLKEM768".into(),
        suite: "TLS13_AES_128_GCM_SHA256".into(),
        resumed: false,
    });
    record.uid = Some(0);
    record.bytes_up = 7;
    record.refuse(Refusal::new(Reason::WrongIdentity, "seen \"x\""));
    record
}

#[test]
fn a_json_record_has_the_stable_keys_in_order_and_leaves_out_what_is_absent() {
    let sink = RecordSink::memory(RecordFormat::Json);
    drop(full(&sink));
    let lines = sink.lines();
    let line = lines.first().unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let keys: Vec<_> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "time",
            "id",
            "direction",
            "source",
            "destination",
            "identity",
            "peer_identity",
            "rule",
            "carriage",
            "tls",
            "uid",
            "bytes_up",
            "bytes_down",
            "duration_ms",
            "reason",
            "detail"
        ]
    );
    assert_eq!(value["time"], "2023-11-14T22:13:20.005Z");
    assert_eq!(value["id"], "ab".repeat(16));
    assert_eq!(value["direction"], "outbound");
    assert_eq!(value["carriage"], "tunnel-reused");
    assert_eq!(value["tls"]["group"], "X25519MLKEM768");
    assert_eq!(value["reason"], "wrong-identity");
    assert_eq!(value["peer_identity"], "cn:a b\n\u{7f}\u{9b}\u{202e}\"=\\");
}

#[test]
fn what_a_peer_chose_cannot_break_a_line_or_steer_a_terminal() {
    for format in [RecordFormat::Json, RecordFormat::Text] {
        let sink = RecordSink::memory(format);
        drop(full(&sink));
        let line = sink.lines().remove(0);
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        assert!(line.bytes().all(printable), "{line:?}");
    }
}

#[test]
fn a_text_record_is_key_value_pairs_quoted_where_needed() {
    let sink = RecordSink::memory(RecordFormat::Text);
    drop(full(&sink));
    let line = sink.lines().remove(0);
    assert!(
        line.starts_with("time=2023-11-14T22:13:20.005Z id=abab"),
        "{line}"
    );
    assert!(
        line.contains(" source=10.0.0.1:40000 destination=[2001:db8::1]:80 "),
        "{line}"
    );
    assert!(
        line.contains(" tls.version=TLSv1.3 tls.group=X25519MLKEM768 "),
        "{line}"
    );
    assert!(
        line.contains(r#" peer_identity="cn:a b\n\u007f\u009b\u202e\"=\\" "#),
        "{line}"
    );
    assert!(
        line.ends_with(r#" reason=wrong-identity detail="seen \"x\"""#),
        "{line}"
    );
}

#[test]
fn a_record_writes_itself_once_and_a_dropped_one_does_not_look_clean() {
    let sink = RecordSink::memory(RecordFormat::Text);
    Record::begin(&sink, Direction::Inbound, client()).end(Moved { up: 3, down: 4 }, Ok(()));
    drop(Record::begin(&sink, Direction::Inbound, client()));
    let lines = sink.lines();
    let [ended, dropped] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(ended.contains("bytes_up=3 bytes_down=4"), "{ended}");
    assert!(
        !ended.contains("carriage") && !ended.contains("reason"),
        "{ended}"
    );
    assert!(dropped.contains("reason=drain-deadline"), "{dropped}");
}

#[test]
fn flush_waits_for_every_record_and_reopen_follows_log_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.json");
    let rotated = folder.path().join("access.json.1");
    let sink = RecordSink::file(&path, RecordFormat::Json).unwrap();
    for _ in 0..1000 {
        drop(Record::begin(&sink, Direction::Outbound, client()));
    }
    assert!(sink.flush(LONG));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1000);

    fs::rename(&path, &rotated).unwrap();
    sink.reopen().unwrap();
    drop(Record::begin(&sink, Direction::Outbound, client()));
    assert!(sink.flush(LONG));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(fs::read_to_string(&rotated).unwrap().lines().count(), 1000);
    assert_eq!(sink.lost(), 0);
}

/// A disk that hangs until it is let go.
struct Stalled(Receiver<()>, Arc<Mutex<Vec<u8>>>);

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error means that the test let go for good.
        let _ = self.0.recv();
        self.1.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stalled_writer_costs_records_that_are_counted_and_never_waits() {
    let (release, stalled) = mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    let output = Stalled(stalled, Arc::clone(&written));
    let sink = RecordSink::writer(output, None, RecordFormat::Text).unwrap();
    let total = QUEUE * 2;
    for _ in 0..total {
        drop(Record::begin(&sink, Direction::Outbound, client()));
    }
    assert!(sink.lost() > 0);
    assert!(!sink.flush(Duration::from_millis(1)));
    drop(release);
    assert!(sink.flush(LONG));
    let text = String::from_utf8(written.lock().clone()).unwrap();
    assert_eq!(text.lines().count() as u64 + sink.lost(), total as u64);
}

#[test]
fn a_failed_write_is_counted_as_lost() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = RecordSink::writer(Full, None, RecordFormat::Json).unwrap();
    drop(Record::begin(&sink, Direction::Outbound, client()));
    assert!(sink.flush(LONG));
    assert_eq!(sink.lost(), 1);
}

#[test]
fn connection_ids_do_not_repeat() {
    let ids: HashSet<_> = (0..10_000).map(|_| ConnectionId::random()).collect();
    assert_eq!(ids.len(), 10_000);
}
