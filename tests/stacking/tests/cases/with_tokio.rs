//! With `#[tokio::test]`.

use uml_test::uml_test;

#[uml_test]
#[tokio::test]
async fn below() {
    tokio::task::yield_now().await;
}

#[tokio::test]
#[uml_test]
async fn above() {
    tokio::task::yield_now().await;
}

#[uml_test(mem = "64M", timeout = "5s")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_below() -> Result<(), String> {
    Ok(())
}

#[tokio::test(start_paused = true)]
#[uml_test(mem = "64M")]
async fn arguments_above() -> Result<(), String> {
    Ok(())
}

#[ignore = "why"]
#[uml_test]
#[tokio::test]
#[should_panic]
async fn around_below() {
    panic!("as it should")
}

#[ignore = "why"]
#[tokio::test]
#[uml_test]
#[should_panic]
async fn around_above() {
    panic!("as it should")
}
