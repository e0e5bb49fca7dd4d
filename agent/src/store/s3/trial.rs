//! What an S3 server heeds of what we ask it, beyond the promises of a store.

use super::S3;
use super::create::Mark;
use super::failure::{Action, Kind};
use super::payload::Payload;
use crate::store::key::KeyPrefix;
use crate::store::trial::{Trials, Verdict};

impl S3 {
    /// Tries conditions and checksums on objects below `under`.
    pub(in crate::store) async fn try_server(&self, under: &KeyPrefix, trials: &mut Trials) {
        let shared = &self.shared;
        let server = shared.connection.endpoint.as_deref().unwrap_or("Amazon S3");
        match shared.put_is_conditional().await {
            Err(error) => return trials.add("conditional writes", Verdict::Bad, error.to_string()),
            Ok(true) => trials.add(
                "conditional writes",
                Verdict::Good,
                format!("{server} (region {}) heeds If-None-Match", shared.connection.region),
            ),
            Ok(false) => trials.add(
                "conditional writes",
                Verdict::Weak,
                format!(
                    "{server} ignores If-None-Match: helenus looks before it writes, and two machines that write the \
                     same key at the same moment may both believe to be the first"
                ),
            ),
        }
        match shared.large().await {
            Err(error) => trials.add("objects in parts", Verdict::Bad, error.to_string()),
            Ok(large) => {
                let mut weak = Vec::new();
                if !large.is_conditional {
                    weak.push("ignores If-None-Match when parts are put together: helenus looks before");
                }
                if !large.has_full_sum {
                    weak.push("knows no checksum of an object in parts: each part has its own");
                }
                match weak[..] {
                    [] => {
                        trials.add("objects in parts", Verdict::Good, "condition and checksum of the whole are heeded")
                    }
                    _ => trials.add("objects in parts", Verdict::Weak, format!("{server} {}", weak.join(", and "))),
                }
            }
        }
        self.try_sums(under, trials).await;
    }

    /// Sends bytes under a wrong sum, once and as they are: a retry would hide the answer.
    async fn try_sums(&self, under: &KeyPrefix, trials: &mut Trials) {
        const WHAT: &str = "checksums";
        let shared = &self.shared;
        let key = format!("{under}wrong-sum");
        let body = Payload::new(vec!["other bytes than the sum says".into()]);
        let mark = Mark::new(body.length(), !body.crc32());
        match shared.put(&key, &body, &mark, false).await.map_err(|failure| (failure.kind, failure)) {
            Err((Kind::Garbled | Kind::Refused | Kind::Altered, _)) => {
                trials.add(WHAT, Verdict::Good, "bytes that do not have their CRC-32 are refused");
            }
            Err((_, failure)) => {
                let error = shared.error_at(Action::Write, shared.place(&key), failure);
                trials.add(WHAT, Verdict::Bad, error.to_string());
            }
            Ok(()) => trials.add(
                WHAT,
                Verdict::Weak,
                "the server takes bytes that do not have their CRC-32: what is changed on its way is only found by \
                 `helenus verify`",
            ),
        }
    }
}
