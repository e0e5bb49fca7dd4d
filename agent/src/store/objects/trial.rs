//! What a service heeds of what we ask it, beyond the promises of a store.

use super::settings::Service;
use super::{Action, Kind, Objects};
use crate::store::key::KeyPrefix;
use crate::store::trial::{Trials, Verdict};

impl Objects {
    /// Sends bytes under a wrong sum, once and as they are, and says what is known of objects in parts.
    pub(in crate::store) async fn try_server(&self, under: &KeyPrefix, trials: &mut Trials) {
        const WHAT: &str = "checksums";
        let shared = &self.shared;
        let key = format!("{under}wrong-sum");
        let sum = match shared.settings.service {
            Service::Google => "CRC-32C",
            Service::Azure => "MD5",
        };
        match shared.put_with_wrong_sum(&key, "other bytes than the sum says".into()).await {
            Err(failure) if matches!(failure.kind, Kind::Garbled | Kind::Refused) => {
                trials.add(WHAT, Verdict::Good, format!("bytes that do not have their {sum} are refused"));
            }
            Err(failure) => {
                let error = shared.error_at(Action::Write, shared.place(&key), failure);
                trials.add(WHAT, Verdict::Bad, error.to_string());
            }
            Ok(()) => trials.add(
                WHAT,
                Verdict::Weak,
                format!(
                    "the server takes bytes that do not have their {sum}: what is changed on its way is only found by \
                     `helenus verify`"
                ),
            ),
        }
        if shared.settings.service == Service::Google {
            trials.add(
                "objects in parts",
                Verdict::Note,
                "the service knows no condition for them: helenus looks before it puts parts together, and two machines \
                 that send the same object at the same moment may both believe to be the first",
            );
        }
    }
}
