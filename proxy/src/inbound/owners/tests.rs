use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const OURS: u32 = 1000;
const OTHERS: u32 = 1001;

fn listening(at: &str, uid: u32, v6_only: bool) -> Listening {
    Listening {
        at: at.parse().unwrap(),
        v6_only,
        cgroup: 0,
        uid,
        inode: 0,
        cookie: 0,
    }
}

fn is_selected(sockets: &[Listening], local: &str) -> bool {
    let owners = Owners::new(Namespace::own(1).unwrap(), PathBuf::from("/sys/fs/cgroup"));
    owners.update(sockets, std::iter::empty());
    let select = Select {
        include: vec![Selector {
            uid: Some(OURS),
            ..Selector::default()
        }],
        exclude: vec![],
    };
    owners.is_selected(&select, LocalAddr::new(local.parse().unwrap()))
}

#[test]
fn a_listener_at_a_mapped_address_is_found() {
    let java = listening("[::ffff:10.0.0.1]:80", OURS, false);
    assert!(is_selected(&[java], "10.0.0.1:80"));
    assert!(!is_selected(&[java], "10.0.0.2:80"));
}

#[test]
fn another_process_at_the_port_of_the_other_family_does_not_matter() {
    let v4 = listening("0.0.0.0:80", OURS, false);
    let v6 = listening("[::]:80", OTHERS, true);
    assert!(is_selected(&[v4, v6], "10.0.0.1:80"));
    assert!(!is_selected(&[v4, v6], "[2001:db8::1]:80"));
    let both = listening("[::]:80", OTHERS, false);
    assert!(!is_selected(&[v4, both], "10.0.0.1:80"));
}

#[tokio::test]
async fn many_who_ask_cost_one_look_and_the_next_one_comes_later() {
    let owners = Owners::new(Namespace::own(1).unwrap(), PathBuf::from("/sys/fs/cgroup"));
    let looks = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (owners, looks) = (owners.clone(), Arc::clone(&looks));
        let asked = Instant::now();
        async move {
            let look = move || {
                looks.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            owners.look_since(asked, look).await.unwrap();
        }
    };
    let begun = Instant::now();
    let all: Vec<_> = (0..50).map(|_| tokio::spawn(ask())).collect();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(looks.load(Ordering::Relaxed), 1);
    ask().await;
    assert_eq!(looks.load(Ordering::Relaxed), 2);
    assert!(begun.elapsed() >= BETWEEN_LOOKS);
}
