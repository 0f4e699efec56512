use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NUMBER: LeaseNumber = LeaseNumber(7);

/// One end, and what it has sent that the other has not yet looked at.
struct End {
    lease: Lease,
    sent: VecDeque<Event>,
    terminals: usize,
}

impl End {
    fn new(role: Role) -> Self {
        Self {
            lease: Lease::new(role, NUMBER),
            sent: VecDeque::new(),
            terminals: 0,
        }
    }

    fn send(&mut self, event: Event) {
        self.terminals += usize::from(matches!(event, Event::Eof(_) | Event::Reset(..)));
        self.sent.push_back(event);
    }

    fn act(&mut self, action: u8, count: usize) {
        match action {
            0 | 1 => {
                let count = count.min(self.lease.allowance());
                if count > 0 {
                    self.lease.send_data(count);
                    self.send(Event::Data(count));
                }
            }
            // The dial ended, unless the client has gone meanwhile.
            2 if self.lease.role == Role::Server
                && self.lease.sent == Half::Open
                && self.lease.send_opened() =>
            {
                self.send(Event::Opened(NUMBER));
            }
            3 if (self.lease.role == Role::Client || self.lease.opened)
                && self.lease.send_eof() =>
            {
                self.send(Event::Eof(NUMBER));
            }
            4 => self.reset(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        if self.lease.send_reset() {
            self.send(Event::Reset(NUMBER, ResetCode::Application));
        }
    }

    fn take(&mut self, event: &Event) -> Received {
        let received = self.lease.receive(event).expect("a legal frame is refused");
        if let Received::Reset(_) = received {
            self.reset();
        }
        received
    }
}

proptest! {
    #[test]
    fn two_ends_that_keep_the_rules_never_refuse_each_other(
        steps in prop::collection::vec((any::<bool>(), 0u8..8, 1usize..40_000), 0..200)
    ) {
        let (mut client, mut server) = (End::new(Role::Client), End::new(Role::Server));
        let mut overrun = false;
        for (of_client, action, count) in steps {
            let (one, other) = if of_client {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            if action > 4 {
                if let Some(event) = other.sent.pop_front() {
                    overrun |= matches!(one.take(&event), Received::Overrun(_));
                }
            } else {
                one.act(action, count);
            }
            if overrun {
                // The tunnel is closed; nothing follows.
                return Ok(());
            }
        }
        client.reset();
        server.reset();
        while let Some(event) = client.sent.pop_front() {
            if matches!(server.take(&event), Received::Overrun(_)) { return Ok(()); }
        }
        while let Some(event) = server.sent.pop_front() {
            if matches!(client.take(&event), Received::Overrun(_)) { return Ok(()); }
        }
        prop_assert_eq!((client.terminals, server.terminals), (1, 1));
        prop_assert!(client.lease.is_over() && server.lease.is_over());
    }

    #[test]
    fn after_its_terminal_frame_a_peer_sends_nothing_for_the_lease(
        server in any::<bool>(), reset in any::<bool>(), next in 0u8..4
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let mut lease = Lease::new(role, NUMBER);
        if role == Role::Client {
            lease.receive(&Event::Opened(NUMBER)).unwrap();
        }
        lease.receive(&if reset {
            Event::Reset(NUMBER, ResetCode::Internal)
        } else {
            Event::Eof(NUMBER)
        }).unwrap();
        let event = match next {
            0 => Event::Data(1),
            1 => Event::Eof(NUMBER),
            2 => Event::Reset(NUMBER, ResetCode::Application),
            _ => Event::Opened(NUMBER),
        };
        prop_assert!(lease.receive(&event).is_err());
    }
}

#[test]
fn a_server_says_nothing_before_opened_but_reset() {
    for event in [Event::Data(1), Event::Eof(NUMBER)] {
        assert!(Lease::new(Role::Client, NUMBER).receive(&event).is_err());
    }
    let reset = Event::Reset(NUMBER, ResetCode::Refused);
    let received = Lease::new(Role::Client, NUMBER).receive(&reset);
    assert_eq!(received, Ok(Received::Reset(ResetCode::Refused)));
}

#[test]
fn a_client_sends_no_more_before_the_answer_than_it_can_replay() {
    let mut lease = Lease::new(Role::Client, NUMBER);
    lease.send_data(REPLAY_LIMIT - 1);
    assert_eq!(lease.allowance(), 1);
    lease.send_data(1);
    assert_eq!(lease.allowance(), 0);
    lease.receive(&Event::Opened(NUMBER)).unwrap();
    assert_eq!(lease.allowance(), usize::MAX);
    let mut server = Lease::new(Role::Server, NUMBER);
    server.receive(&Event::Data(REPLAY_LIMIT)).unwrap();
    assert_eq!(server.receive(&Event::Data(1)), Err(Violation::TooEager));
}

#[test]
fn close_below_an_unanswered_lease_disowns_it_and_below_an_answered_one_is_a_lie() {
    let below = Event::Close(LeaseNumber(6));
    let mut lease = Lease::new(Role::Client, NUMBER);
    assert_eq!(lease.receive(&below), Ok(Received::NotAccepted));
    let mut lease = Lease::new(Role::Client, NUMBER);
    lease.receive(&Event::Opened(NUMBER)).unwrap();
    assert!(lease.receive(&below).is_err());
    assert_eq!(
        lease.receive(&Event::Close(NUMBER)).ok(),
        None,
        "one CLOSE only"
    );
    let mut lease = Lease::new(Role::Client, NUMBER);
    assert_eq!(lease.receive(&Event::Close(NUMBER)), Ok(Received::Closing));
    assert!(lease.is_last());
    assert!(
        Lease::new(Role::Client, NUMBER)
            .receive(&Event::Close(LeaseNumber(8)))
            .is_err()
    );
}

#[test]
fn what_comes_for_an_application_that_is_gone_is_bounded() {
    let mut lease = Lease::new(Role::Client, NUMBER);
    lease.receive(&Event::Opened(NUMBER)).unwrap();
    assert!(lease.send_reset());
    let all = Event::Data(DISCARD_LIMIT);
    assert_eq!(lease.receive(&all), Ok(Received::Discard(DISCARD_LIMIT)));
    assert_eq!(lease.receive(&Event::Data(1)), Ok(Received::Overrun(1)));
}

#[test]
fn frames_of_the_other_role_or_of_another_lease_are_refused() {
    let other = LeaseNumber(8);
    for event in [
        Event::Opened(other),
        Event::Eof(other),
        Event::Reset(other, ResetCode::Application),
    ] {
        let mut lease = Lease::new(Role::Client, NUMBER);
        lease.opened = !matches!(event, Event::Opened(_));
        assert!(matches!(
            lease.receive(&event),
            Err(Violation::WrongLease { .. })
        ));
    }
    for event in [Event::Opened(NUMBER), Event::Close(NUMBER)] {
        let refused = Lease::new(Role::Server, NUMBER).receive(&event);
        assert!(matches!(refused, Err(Violation::WrongState { .. })));
    }
}
