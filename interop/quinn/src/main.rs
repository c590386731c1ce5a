//! `silence N`: a stock QUIC client asks N times and gets no byte back. `record FOLDER`: the
//! datagrams of sessions of STT and of stock QUIC, for a packet analyser.

mod relay;
mod silence;
mod stock;
mod traffic;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["silence", attempts] => silence::run(attempts.parse()?).await,
        ["record", folder] => traffic::record(folder.as_ref()).await,
        _ => Err("silence N, or record FOLDER".into()),
    }
}
