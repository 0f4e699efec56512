//! The role that makes loads: orders come in, answers go out.

use std::{
    io::{BufRead, Write},
    net::TcpStream,
};

use super::order::{Answer, Order, Travelling};
use crate::Trouble;

/// What outlives an order.
#[derive(Default)]
pub(crate) struct Kept {
    /// Connections that are held open, until the next order.
    pub(crate) idle: Vec<TcpStream>,
}

/// Takes orders until there are no more.
pub(super) fn run(orders: impl BufRead, mut answers: impl Write) -> Result<(), Trouble> {
    let failed = |doing: &str, error: &dyn std::fmt::Display| {
        Trouble::new(format!("{doing} the process that measures"), error)
    };
    let mut kept = Kept::default();
    for line in orders.lines() {
        let line = line.map_err(|error| failed("reading an order of", &error))?;
        let order: Order =
            serde_json::from_str(&line).map_err(|error| failed("reading an order of", &error))?;
        let answer = match order.load.run(&order.to, &mut kept) {
            Ok(sample) => Answer::Sample(Travelling::pack(&sample)),
            Err(trouble) => Answer::Trouble(trouble),
        };
        let mut line = serde_json::to_vec(&answer).map_err(|error| failed("answering", &error))?;
        line.push(b'\n');
        answers
            .write_all(&line)
            .and_then(|()| answers.flush())
            .map_err(|error| failed("answering", &error))?;
    }
    Ok(())
}
