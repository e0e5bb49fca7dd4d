//! S3, against a server in this process that can do anything wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use helenus::store::{S3, Store};
use helenus_tests::s3_server::{Oddities, S3Server};
use helenus_tests::store_suite::conforms;

/// The suite, each story under a prefix of its own.
async fn a_server_conforms(oddities: Oddities) {
    let server = S3Server::start().await;
    server.bucket.set_oddities(oddities);
    let number = AtomicU32::new(0);
    conforms(async || {
        let prefix = format!("not there yet/{}", number.fetch_add(1, Ordering::Relaxed));
        Arc::new(S3::open(server.settings(&prefix)).await.unwrap()) as Arc<dyn Store>
    })
    .await;
    assert_eq!(server.bucket.unfinished(), 0);
    assert_eq!(server.bucket.overwritten(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_conforms() {
    a_server_conforms(Oddities::default()).await;
}
