//! `mode = "http"`: each request goes where its route says.

use super::Permitted;
use crate::{
    policy::http::HttpPolicy,
    record::Record,
    refusal::{Reason, Refusal},
    relay::Moved,
};

impl Permitted<'_> {
    pub(super) async fn http(
        self,
        _http: &HttpPolicy,
        _record: &mut Record,
        _moved: &mut Moved,
    ) -> Result<(), Refusal> {
        Err(Refusal::new(Reason::Internal, "not yet built"))
    }
}
